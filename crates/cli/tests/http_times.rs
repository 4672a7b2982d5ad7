//! Bodies that pause and clients that leave: who is late, who is only slow, and whose fault it is.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use support::PATIENCE;
use support::frames::{self, Frames, GOAWAY, Outcome};
use support::net::{Server, connect, end_writes, narrow, read_exactly, read_to_end, reset};
use support::proxies::read_head;
use support::raw_web::{Client, Web, balancer, echo};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// The head of a request with a body of so many bytes.
fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n")
}

/// A server that takes connections and never reads, with little room for what comes.
fn unreading() -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(16).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    address
}

/// One of HTTP/2 that opens no window for bodies.
fn unreading_h2() -> String {
    let server = Server::start();
    let address = server.address();
    thread::spawn(move || {
        let mut server = Frames::welcome(server.accept());
        while server.next().is_some() {}
    });
    address
}

#[test]
fn a_server_that_takes_no_more_of_a_body_is_late_and_not_its_client() {
    for (server, pool) in [(unreading(), ""), (unreading_h2(), "http_version = \"2\"")] {
        let (listen, towpath) = balancer(&[&server], "body_timeout = \"400ms\"", pool);
        let mut client = Client::connect(&listen);
        client.send(post(10) + "begun");
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (408, vec!["close"]), "{pool}: {answer:?}");
        drop(client);
        // More than any buffer on the way takes.
        let body = vec![b'a'; 32 << 20];
        let mut client = Client::connect(&listen);
        let mut writer = client.stream().try_clone().unwrap();
        let upload = thread::spawn(move || {
            // It is answered before its end.
            let _ = writer.write_all(&[post(body.len()).as_bytes(), &body].concat());
        });
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (504, vec!["close"]), "{pool}: {answer:?}");
        // What it sends in vain may have been answered with a reset by now.
        let _ = client.stream().shutdown(Shutdown::Both);
        upload.join().unwrap();
        towpath.stop(2);
    }
}

/// Sixteen megabytes.
fn large() -> (usize, Web) {
    let body = "a".repeat(16 << 20);
    (body.len(), Web::saying(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())))
}

#[test]
fn a_reader_that_is_slow_is_not_late() {
    let (length, web) = large();
    let (listen, towpath) = balancer(&[&web.address], "body_timeout = \"400ms\"", "");
    let mut client = narrow(&listen);
    client.write_all(GET.as_bytes()).unwrap();
    assert!(read_head(&mut client).is_some());
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_millis(1500) {
        count += read_exactly(&mut client, 8192).len();
        // sleep: the pace of the reader, at which the answer would take more than a minute.
        thread::sleep(Duration::from_millis(40));
    }
    assert!(count < 1 << 20, "{count} bytes");
    // What is left comes whole, as fast as it is read.
    read_exactly(&mut client, length - count);
    drop(client);
    assert_eq!(towpath.stop(1)[0].text("end"), "served");
}

#[test]
fn a_reader_that_stops_is_late() {
    let (length, web) = large();
    let (listen, towpath) = balancer(&[&web.address], "body_timeout = \"400ms\"", "");
    let mut client = narrow(&listen);
    client.write_all(GET.as_bytes()).unwrap();
    let record = towpath.record();
    assert!(record.text("end").contains("idle") && record.seconds() < 10.0, "{record:?}");
    let (got, _) = read_to_end(&mut client);
    assert!(got.len() < length, "it is cut off");
    towpath.stop(1);
}

#[test]
fn a_client_that_has_ended_its_half_gets_an_answer_that_comes_late() {
    let (heard, hears) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let goes = std::sync::Mutex::new(goes);
    let web = Web::answering(move |request, stream| {
        heard.send(()).unwrap();
        goes.lock().unwrap().recv().unwrap();
        stream.write_all(&echo(request)).is_ok()
    });
    let (listen, towpath) = balancer(&[&web.address], "", "");
    for request in [GET.to_owned(), post(5) + "hello"] {
        let mut client = Client::connect(&listen);
        client.send(&request);
        end_writes(client.stream());
        hears.recv_timeout(PATIENCE).unwrap();
        // sleep: nothing tells when towpath has seen the end; an answer that comes sooner shows less.
        thread::sleep(Duration::from_millis(200));
        go.send(()).unwrap();
        let answer = client.answer();
        assert_eq!((answer.status, answer.is_whole), (200, true), "{request:?}: {answer:?}");
        client.assert_closed();
    }
    assert_eq!(web.take_asked(), ["GET /", "POST /"]);
    towpath.stop(2);
}

#[test]
fn requests_of_half_closed_clients_that_nobody_answers_put_no_server_out() {
    let webs: Vec<Web> = (0..2)
        .map(|_| {
            Web::answering(|_, stream| {
                read_to_end(stream);
                false
            })
        })
        .collect();
    let addresses: Vec<&str> = webs.iter().map(|web| web.address.as_str()).collect();
    let (listen, towpath) = balancer(
        &addresses,
        "answer_timeout = \"300ms\"",
        "eject_after = 1\nmax_ejected = 100\nretries = 0\nhold = \"off\"",
    );
    for count in 1..=3 {
        let mut client = connect(&listen);
        client.write_all(GET.as_bytes()).unwrap();
        end_writes(&client);
        read_to_end(&mut client);
        towpath.records(count);
    }
    let log = towpath.stderr.so_far().join("\n");
    assert!(!log.contains("is out"), "{log}");
    // Of one that stays the server is to blame.
    assert_eq!(Client::connect(&listen).ask(GET).status, 504);
    towpath.stderr.wait_for("is out");
    towpath.stop(4);
}

/// Over a unix socket a server can end what it reads alone, and its client learns of it.
#[test]
fn a_client_that_goes_after_its_server_stopped_taking_the_body_is_missed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let listener = UnixListener::bind(&path).unwrap();
    let (listen, towpath) = balancer(&[&format!("unix:{}", path.display())], "", "");
    let mut client = connect(&listen);
    client.write_all(post(64 << 20).as_bytes()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        server.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    server.shutdown(Shutdown::Read).unwrap();
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Until nobody takes it any more.
    assert!(client.write_all(&vec![b'a'; 64 << 20]).is_err());
    assert!(towpath.stdout.so_far().is_empty(), "the server may still answer");
    let gone = Instant::now();
    reset(client);
    let record = towpath.record();
    assert!(gone.elapsed() < Duration::from_secs(10), "{:?}", gone.elapsed());
    assert_eq!((record.text("end"), record.0["status"].is_null()), ("client reset", true), "{record:?}");
    drop(server);
    towpath.stop(1);
}

#[test]
fn a_client_of_http_2_that_asks_now_and_then_is_not_asked_to_leave() {
    let web = Web::start();
    let (listen, _towpath) = balancer(&[&web.address], "keepalive_timeout = \"500ms\"", "");
    let mut client = Frames::connect(&listen, &[]);
    for number in 0..30 {
        client.get(2 * number + 1, frames::GET);
        let outcome = client.outcome(2 * number + 1);
        assert!(matches!(outcome, Outcome::Answered { status: 200, .. }), "request {number}: {outcome:?}");
        // sleep: the pace of the client; three times as long as one without a request is kept, all in all.
        thread::sleep(Duration::from_millis(50));
    }
    // And then it says nothing.
    let last: Vec<_> = std::iter::from_fn(|| client.next()).map(|frame| frame.kind).collect();
    assert!(last.contains(&GOAWAY), "{last:?}");
}
