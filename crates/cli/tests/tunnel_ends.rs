//! Ends of a tunnel that end: what was sent arrives, and nobody waits for who will not come back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::data::Data;
use support::middle::Middle;
use support::net::{
    End, Server, assert_echo, connect, echo_server, end_writes, pair, read_exactly, read_to_end,
};

use support::ports::free_address;
use support::proxies::read_head;
use support::towpath::Towpath;
use support::tunnel::{Tunnel, far};

#[test]
fn an_end_that_is_cut_short_tells_the_other() {
    let server = Server::start();
    for near_ends in [true, false] {
        let tunnel = Tunnel::to(&server.address(), "lanes=2", &[]);
        let (mut client, mut served) = {
            let mut client = connect(&tunnel.listen);
            client.write_all(b"here").unwrap();
            let mut served = server.accept();
            assert_eq!(read_exactly(&mut served, 4), b"here");
            (client, served)
        };
        let ending = if near_ends { &tunnel.near } else { &tunnel.far };
        ending.signal(Signal::TERM);
        ending.stderr.wait_for("draining");
        let asked = Instant::now();
        ending.signal(Signal::TERM);
        assert_eq!(read_to_end(&mut served), (Vec::new(), End::Reset));
        assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
}

#[test]
fn what_was_sent_before_a_drain_arrives() {
    const ONE_WAY: Duration = Duration::from_millis(150);
    let (far_listen, listen, server) = (free_address(), free_address(), Server::start());
    let _far = far(&far_listen, &["--plain"]);
    let middle = Middle::with_delay(&far_listen, ONE_WAY);
    let url = format!("towpath://{}?plain&lanes=2", middle.address);
    let near = Towpath::tcp(&listen, &server.address(), &["--via", &url]);
    let (mut client, mut served) = pair(&listen, &server);
    let bytes = Data::new(5).take(500_000);
    let reads = thread::spawn(move || {
        let answer = read_to_end(&mut served);
        end_writes(&served);
        answer
    });
    client.write_all(&bytes).unwrap();
    end_writes(&client);
    near.signal(Signal::TERM);
    let (came, end) = reads.join().unwrap();
    assert_eq!((came.len(), end), (bytes.len(), End::Fin));
    assert!(came == bytes);
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Fin));
    assert_eq!(near.wait().status.code(), Some(0));
}

#[test]
fn ends_leave_at_once_though_requests_left_connections_behind() {
    for near_ends in [true, false] {
        let tunnel = Tunnel::with("http", &[&served_pages()], "lanes=2", &[]);
        let mut client = connect(&tunnel.listen);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let (answer, _) = read_to_end(&mut client);
        assert!(answer.ends_with(b"page"), "{}", String::from_utf8_lossy(&answer));
        drop(client);
        let (ending, _other) = if near_ends { (tunnel.near, tunnel.far) } else { (tunnel.far, tunnel.near) };
        let asked = Instant::now();
        ending.signal(Signal::TERM);
        assert_eq!(ending.wait().status.code(), Some(0));
        assert!(asked.elapsed() < Duration::from_millis(1800), "{near_ends}: {:?}", asked.elapsed());
    }
}

/// A server of one page whose connections stay.
fn served_pages() -> String {
    let server = Server::start();
    let address = server.address();
    thread::spawn(move || {
        loop {
            let mut served = server.accept();
            thread::spawn(move || {
                while read_head(&mut served).is_some() {
                    served.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage").unwrap();
                }
            });
        }
    });
    address
}

#[test]
fn clients_that_come_while_the_far_end_begins_to_leave_are_served() {
    const ONE_WAY: Duration = Duration::from_millis(200);
    let (far_listen, listen) = (free_address(), free_address());
    let first = far(&far_listen, &["--plain"]);
    let middle = Middle::with_delay(&far_listen, ONE_WAY);
    let url = format!("towpath://{}?plain&lanes=1", middle.address);
    let _near = Towpath::tcp(&listen, &echo_server(), &["--via", &url]);
    assert_echo(&mut connect(&listen), "before");
    first.signal(Signal::TERM);
    first.stderr.wait_for("draining");
    // What the far end has said is on its way for longer than that.
    assert_echo(&mut connect(&listen), "in between");
    assert_eq!(first.wait().status.code(), Some(0));
    let _second = far(&far_listen, &["--plain"]);
    assert_echo(&mut connect(&listen), "behind");
}
