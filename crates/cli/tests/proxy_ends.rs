//! How requests through a proxy end, and what their records say of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{BufReader, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use support::net::{End, Server, connect, narrow, read_to_end, reset};
use support::ports::free_address;
use support::proc::unacknowledged;
use support::proxies::{Target, proxy, read_head};
use support::raw_web::read_answer;
use support::towpath::Towpath;
use support::wait_for;

/// A proxy that keeps little for its clients, with more lines for its listener.
fn small(lines: &str) -> (String, Towpath) {
    let listen = free_address();
    let towpath = Towpath::file(&format!(
        "[[listener]]\nname = \"in\"\nmode = \"proxy\"\nbind = \"{listen}\"\nallow_dest = \"127.0.0.0/8\"\n\
         send_buffer = \"16KiB\"\n{lines}"
    ));
    (listen, towpath)
}

fn ask(client: &mut TcpStream, server: &Server, more: &str) {
    let request = format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\n{more}\r\n", server.address());
    client.write_all(request.as_bytes()).unwrap();
}

/// Answers with so many bytes of body, as far as they are taken.
fn answer(server: &mut TcpStream, length: usize) {
    read_head(server).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let _ = server.write_all(&[head.as_bytes(), &vec![b'a'; length]].concat());
}

#[test]
fn an_answer_that_its_client_does_not_wait_for_is_not_served() {
    let (listen, towpath) = small("");
    let server = Server::start();
    let mut client = narrow(&listen);
    ask(&mut client, &server, "");
    let mut server = server.accept();
    // More than the client has room for, and less than is kept for it on the way.
    answer(&mut server, 300_000);
    wait_for("the answer on its way", || (unacknowledged(&server) == Some(0)).then_some(()));
    read_head(&mut client).unwrap();
    reset(client);
    assert_eq!(towpath.record().end(), "answer: client reset");
    towpath.stop(1);
}

#[test]
fn a_client_that_takes_none_of_its_answer_is_left_in_time() {
    for length in [300_000, 8_000_000] {
        let (listen, towpath) = small("idle_timeout = \"1s\"\n");
        let server = Server::start();
        let mut client = narrow(&listen);
        ask(&mut client, &server, "");
        let mut server = server.accept();
        let answering = std::thread::spawn(move || answer(&mut server, length));
        assert_eq!(towpath.record().end(), "answer: idle", "{length} bytes");
        let (got, _) = read_to_end(&mut client);
        assert!(got.len() < length, "{} of {length} bytes", got.len());
        answering.join().unwrap();
        towpath.stop(1);
    }
}

#[test]
fn an_answer_with_trailers_is_served() {
    let (listen, towpath) = proxy(&[]);
    let server = Server::start();
    let mut client = connect(&listen);
    ask(&mut client, &server, "TE: trailers\r\nConnection: close\r\n");
    let mut server = server.accept();
    read_head(&mut server).unwrap();
    let head = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.write_all(format!("{head}3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n").as_bytes()).unwrap();
    let (got, end) = read_to_end(&mut client);
    assert!(got.ends_with(b"\r\n\r\n") && end == End::Fin, "{}", String::from_utf8_lossy(&got));
    assert_eq!(towpath.stop(1)[0].end(), "answer: served");
}

#[test]
fn requests_that_meet_the_end_of_their_proxy_are_answered() {
    const MANY: usize = 32;
    let (listen, towpath) = proxy(&[]);
    let target = Target::start();
    let request = target.get("");
    let mut clients: Vec<TcpStream> = (0..MANY).map(|_| connect(&listen)).collect();
    for client in &mut clients {
        client.write_all(request.as_bytes()).unwrap();
        assert!(read_answer(&mut BufReader::new(client), "GET").is_some());
    }
    // They rest, and ask again at the moment of the signal.
    towpath.while_stopped(|| {
        towpath.signal(Signal::TERM);
        clients.iter_mut().for_each(|client| client.write_all(request.as_bytes()).unwrap());
    });
    for (number, client) in clients.iter_mut().enumerate() {
        let (got, end) = read_to_end(client);
        let got = String::from_utf8_lossy(&got);
        assert!(
            got.starts_with("HTTP/1.1 200 ") && end == End::Fin,
            "client {number}: {end:?} after {got:?}"
        );
    }
    towpath.stop_drained(2 * MANY);
}
