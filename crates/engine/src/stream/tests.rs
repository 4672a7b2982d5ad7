//! Streams over real sockets: how fast the kernel lets them send.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::task::Waker;

use towpath_sys::options::choose_congestion;

use super::*;

/// A connection over loopback under a congestion control, and its other end; `None` where the kernel has not that.
fn pair(congestion: &str) -> Option<(OwnedFd, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    choose_congestion(&socket, congestion).ok()?;
    Some((socket.into(), listener.accept().unwrap().0))
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
    let Some((socket, _peer)) = pair("bbr") else { return };
    let mut cx = Context::from_waker(Waker::noop());
    let mut stream = Stream::tcp(socket);
    assert_eq!(stream.try_send(&mut cx, b"little", false).unwrap(), 6);
    assert_eq!(congestion(&stream), "bbr", "little is not worth the call");
    assert_ne!(after_a_wait(stream), "bbr");
    for wanted in [
        Segments { congestion: Some("bbr".into()), ..Segments::default() },
        Segments { pacing_rate: Some(1_000_000_000), ..Segments::default() },
    ] {
        let (socket, _peer) = pair("bbr").unwrap();
        assert_eq!(after_a_wait(Stream::tcp(socket).cut(Some(&wanted))), "bbr", "{wanted:?}");
    }
}
