//! Streams over real sockets: how fast the kernel lets them send.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::task::Waker;

use towpath_sys::options::{choose_congestion, sends_without_delay};

use super::*;

/// A connection over loopback under BBR, and its other end.
fn pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    choose_congestion(&socket, "bbr").expect("BBR, which root may load: run it as root");
    (socket.into(), listener.accept().unwrap().0)
}

fn congestion(stream: &Stream) -> String {
    stream.facts(&Segments::default()).unwrap().congestion
}

/// The congestion control of a stream after a write that had to wait.
fn after_a_wait(mut stream: Stream) -> String {
    let mut cx = Context::from_waker(Waker::noop());
    while stream.try_send(&mut cx, &[0; 100_000], false).unwrap() > 0 {}
    assert!(stream.poll_send(&mut cx, &[0]).is_pending());
    congestion(&stream)
}

#[tokio::test]
async fn bulk_that_stays_on_the_machine_is_not_paced_unless_that_is_wanted() {
    let mut cx = Context::from_waker(Waker::noop());
    let (socket, _peer) = pair();
    let mut stream = Stream::tcp(socket);
    assert_eq!(stream.try_send(&mut cx, b"little", false).unwrap(), 6);
    assert_eq!(congestion(&stream), "bbr", "little is not worth the call");
    assert_ne!(after_a_wait(stream), "bbr");
    let (socket, _peer) = pair();
    let wanted = Segments { congestion: Some("bbr".into()), ..Segments::default() };
    assert_eq!(after_a_wait(Stream::tcp(socket).cut(Some(&wanted))), "bbr");
    let (socket, _peer) = pair();
    let lane = Stream::tcp(socket);
    lane.prepare_lane(&SocketOptions { nodelay: true, keepalive: None, user_timeout: None, segments: None });
    assert_eq!(after_a_wait(lane), "bbr");
}

#[test]
fn the_delay_of_small_writes_ends_before_the_second_that_leaves_by_itself() {
    for (writes, expected) in [
        (&[][..], false),
        (&[false], false),
        (&[false, false], true),
        (&[true], false),
        (&[true, false], false),
        (&[true, false, false], true),
        (&[false, true], false),
    ] {
        let (socket, _peer) = pair();
        let mut plain = Plain::tcp(socket);
        plain.dispel_delay();
        for has_more in writes {
            plain.try_send(b"bytes", *has_more).unwrap();
        }
        assert_eq!(sends_without_delay(&plain).unwrap(), expected, "more to follow: {writes:?}");
    }
}
