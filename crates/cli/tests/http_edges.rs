//! Where one thing of HTTP meets another: bodies behind refusals, servers that die after an upgrade, times of the whole request.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::net::{End, connect, end_writes, read_exactly, read_to_end};
use support::ports::free_address;
use support::raw_web::{Client, Web, balancer};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A server that reads the head of one request on each connection and goes on as `then` says.
fn server(then: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        thread::scope(|scope| {
            for stream in listener.incoming() {
                let (mut stream, then) = (stream.unwrap(), &then);
                scope.spawn(move || {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        match stream.read(&mut byte) {
                            Ok(1) => head.push(byte[0]),
                            _ => return,
                        }
                    }
                    then(stream);
                });
            }
        });
    });
    address
}

/// One that reads and says nothing.
fn mute() -> String {
    server(|mut stream| drop(read_to_end(&mut stream)))
}

#[test]
fn a_body_behind_an_unasked_101_is_no_request() {
    let unasked = server(|mut stream| {
        let _ = stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        read_to_end(&mut stream);
    });
    let (listen, towpath) = balancer(&[&unasked], "", "");
    let mut client = connect(&listen);
    client.write_all(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 57\r\n\r\n").unwrap();
    let mut answer = read_exactly(&mut client, 12);
    assert_eq!(answer, b"HTTP/1.1 502");
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\nX-More: abcdef\r\n\r\n";
    let _ = client.write_all(smuggled);
    answer.extend(read_to_end(&mut client).0);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    towpath.stop(1);
}

#[test]
fn what_has_left_http_goes_to_no_other_server() {
    let dying = server(|mut stream| {
        stream.write_all(b"HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
        // It says nothing in the other protocol.
        let _ = stream.read_exact(&mut [0]);
        support::net::reset(stream);
    });
    let other = Web::start();
    let (listen, towpath) = balancer(&[&dying, &other.address], "", "hold = \"1s\"\nreplay = \"always\"\n");
    for _ in 0..2 {
        let mut client = connect(&listen);
        client
            .write_all(b"GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            .unwrap();
        let _ = client.write_all(GET.replace(" / ", " /raw ").as_bytes());
        end_writes(&client);
        let (answer, end) = read_to_end(&mut client);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(end == End::Reset || answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // Whatever it has got was a request.
    let requests = other.take();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.field("x-forwarded-for"), ["127.0.0.1"], "{request:?}");
    }
    drop(towpath);
}

#[test]
fn a_request_that_is_late_in_all_costs_no_other_server_anything() {
    let (quick, slow) = (Web::start(), mute());
    let (listen, towpath) = balancer(
        &[&slow, &quick.address],
        "request_timeout = \"500ms\"\nanswer_timeout = \"5s\"\n",
        "eject_after = 1\n",
    );
    let mut late = 0;
    for _ in 0..6 {
        match Client::connect(&listen).ask(GET).status {
            504 => late += 1,
            status => assert_eq!(status, 200),
        }
    }
    assert!(late >= 1, "one of both says nothing");
    let records = towpath.stop(6);
    for record in &records {
        assert_eq!(record.0["attempts"], 1, "{record:?}");
    }
    assert_eq!(quick.take().len(), 6 - late, "the other was asked for those that it answered");
}

#[test]
fn the_time_of_a_request_counts_while_a_server_is_looked_for() {
    let nobody = free_address();
    let (listen, towpath) = balancer(&[&nobody], "request_timeout = \"500ms\"\n", "hold = \"20s\"\n");
    let begun = Instant::now();
    assert_eq!(Client::connect(&listen).ask(GET).status, 504);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    towpath.stop(1);
}

#[test]
fn an_upload_goes_on_beside_an_answer_for_as_long_as_it_moves() {
    let early = server(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok").unwrap();
        let mut body = [0; 10];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"!!").unwrap();
        read_to_end(&mut stream);
    });
    let (listen, towpath) = balancer(&[&early], "body_timeout = \"1s\"\n", "");
    let mut client = connect(&listen);
    client.write_all(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\n").unwrap();
    let mut answer = read_exactly(&mut client, 15);
    for _ in 0..10 {
        // sleep: the upload takes far longer than it may pause.
        thread::sleep(Duration::from_millis(250));
        client.write_all(b"a").unwrap();
    }
    answer.extend(read_to_end(&mut client).0);
    assert!(answer.ends_with(b"ok!!"), "{}", String::from_utf8_lossy(&answer));
    towpath.stop(1);
}

#[test]
fn a_client_without_a_host_is_no_fault_of_servers_of_http_2() {
    let (one, other) = (mute(), mute());
    let (listen, towpath) =
        balancer(&[&one, &other], "", "http_version = \"2\"\neject_after = 1\nhold = \"1s\"\n");
    for _ in 0..4 {
        let mut client = connect(&listen);
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        assert!(read_to_end(&mut client).0.starts_with(b"HTTP/1.0 400"));
    }
    towpath.signal(rustix::process::Signal::TERM);
    let log = towpath.wait().stderr;
    assert!(!log.contains("is out"), "{log}");
}
