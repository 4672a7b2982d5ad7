//! Servers behind the far end of a tunnel that are not there, or not yet: their clients fare as they would without a tunnel.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::middle::Middle;
use support::net::{End, Server, assert_echo, connect, echo_server, end_writes, read_exactly, read_to_end};
use support::odd;
use support::ports::free_address;
use support::towpath::Towpath;
use support::tunnel::{Tunnel, exchange, far};

#[test]
fn clients_are_held_until_a_server_is_there() {
    for is_silent in [true, false] {
        let address = free_address();
        let tunnel = Tunnel::to(&address, "lanes=1", &[]);
        let mut client = connect(&tunnel.listen);
        if !is_silent {
            client.write_all(b"early").unwrap();
        }
        // It is refused at the far end before the server comes.
        tunnel.far.records(1);
        Server::on(&address).echo();
        if !is_silent {
            assert_eq!(read_exactly(&mut client, 5), b"early");
        }
        assert_echo(&mut client, "served");
    }
}

#[test]
fn servers_that_refuse_are_passed_over_whatever_clients_send() {
    let (nobody, echo) = (free_address(), echo_server());
    let tunnel = Tunnel::to(&format!("{nobody},{echo}"), "lanes=1", &[]);
    for start in 0..4 {
        exchange(connect(&tunnel.listen), 60_000, start);
    }
}

#[test]
fn servers_that_say_nothing_are_passed_over() {
    let ((hole, _full), echo) = (odd::silent(), echo_server());
    let hole = hole.local_addr().unwrap().as_socket().unwrap();
    let targets = format!("{hole},{echo}");
    let tunnel = Tunnel::to(&targets, "lanes=1", &["--connect-timeout", "2s"]);
    let served = |words: &[u8]| {
        let begun = Instant::now();
        let mut client = connect(&tunnel.listen);
        client.write_all(words).unwrap();
        assert_eq!(read_exactly(&mut client, words.len()), words);
        begun.elapsed()
    };
    // The beginning of a ClientHello may be sent to two; anything else waits for what the far end has to say.
    let times = [(); 2].map(|()| served(&[0x16, 3, 1]));
    assert!(times.iter().all(|time| *time < Duration::from_millis(1500)), "{times:?}");
    let times = [(); 2].map(|()| served(b"hi"));
    assert!(times.iter().all(|time| *time < Duration::from_secs(4)), "{times:?}");
}

#[test]
fn what_a_client_sends_comes_to_one_server_alone() {
    let ((hole, _full), second) = (odd::silent(), Server::start());
    let hole = hole.local_addr().unwrap().as_socket().unwrap();
    let targets = [&format!("{hole},{}", second.address()), "--connect-timeout", "1s"];
    let tunnel = Tunnel::with("tcp", &targets, "lanes=1", &["--connect-timeout", "30s"]);
    let mut clients = [(); 2].map(|()| connect(&tunnel.listen));
    clients.iter_mut().for_each(|client| client.write_all(b"pay 10").unwrap());
    let mut served = second.accept();
    assert_eq!(read_exactly(&mut served, 6), b"pay 10");
    served.write_all(b"paid").unwrap();
    drop(served);
    // The bytes of the other may be with the silent server, as far as anybody knows.
    let mut answers = clients.map(|mut client| read_to_end(&mut client));
    answers.sort_by_key(|(answer, _)| answer.len());
    assert_eq!(answers, [(Vec::new(), End::Reset), (b"paid".to_vec(), End::Fin)]);
    let records = tunnel.far.stop(2);
    let reached = records.iter().filter(|record| record.text("stage") == "relay");
    assert_eq!(reached.count(), 1, "{records:?}");
}

#[test]
fn a_tunnel_that_takes_long_to_be_there_brings_bytes_to_one_server_alone() {
    let (far_listen, listen, servers) = (free_address(), free_address(), [Server::start(), Server::start()]);
    let _far = far(&far_listen, &["--plain"]);
    // A second attempt begins before there is a lane.
    let middle = Middle::with_delay(&far_listen, Duration::from_millis(300));
    let targets = servers.iter().map(Server::address).collect::<Vec<_>>().join(",");
    let url = format!("towpath://{}?plain&lanes=1", middle.address);
    let _near = Towpath::tcp(&listen, &targets, &["--via", &url]);
    let mut client = connect(&listen);
    client.write_all(b"pay 10").unwrap();
    end_writes(&client);
    let had = servers.map(|server| {
        thread::spawn(move || {
            let mut served = server.accept();
            let (bytes, _) = read_to_end(&mut served);
            bytes
        })
    });
    let mut had = had.map(|had| had.join().unwrap());
    had.sort();
    assert_eq!(had, [Vec::new(), b"pay 10".to_vec()]);
}

#[test]
fn requests_are_held_and_told_that_nobody_came() {
    let tunnel = Tunnel::with("http", &[&free_address(), "--hold", "1s"], "lanes=1", &[]);
    let begun = Instant::now();
    let mut client = connect(&tunnel.listen);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let (answer, _) = read_to_end(&mut client);
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn records_tell_what_the_far_end_has_told() {
    for target in [free_address(), "127.0.0.3:80".to_owned()] {
        let tunnel =
            Tunnel::with("tcp", &[&target, "--hold", "100ms"], "lanes=1", &["--deny-dest", "127.0.0.3"]);
        let (answer, end) = read_to_end(&mut connect(&tunnel.listen));
        assert_eq!((answer.len(), end), (0, End::Reset));
        let record = tunnel.near.record();
        assert!(record.end().starts_with("connect: hop 1: the far end"), "{record:?}");
    }
}
