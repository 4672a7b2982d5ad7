//! Ends of a tunnel that end: what was sent arrives, and nobody waits for who will not come back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::data::Data;
use support::middle::Middle;
use support::net::{End, Server, connect, end_writes, pair, read_exactly, read_to_end};
use support::ports::free_address;
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
