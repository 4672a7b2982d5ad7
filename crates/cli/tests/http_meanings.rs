//! Odd requests that a balancer may pass on: exactly one request with one meaning leaves for each.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;

use support::net::{end_writes, read_exactly};
use support::raw_web::{Client, Request, Web, balancer, echo};

/// Sends `request`, which is to be answered, and hands out what has left for it: exactly one request.
fn sent_on(listen: &str, web: &Web, request: &str) -> Request {
    let mut client = Client::connect(listen);
    let answer = client.ask(request);
    assert_eq!((answer.status, answer.is_whole), (200, true), "{request:?}");
    let mut requests = web.take();
    assert_eq!(requests.len(), 1, "{request:?}: {requests:#?}");
    requests.remove(0)
}

#[test]
fn the_authority_of_a_url_wins_over_the_host_field() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let cases = [
        ("GET http://a.example/x?y HTTP/1.1\r\nHost: b.example\r\n\r\n", "/x?y", "a.example"),
        ("GET http://a.example:81/x HTTP/1.1\r\nHost: b.example:82\r\n\r\n", "/x", "a.example:81"),
        ("GET http://a.example HTTP/1.1\r\nHost: b.example\r\n\r\n", "/", "a.example"),
        ("GET http://a.example?x HTTP/1.1\r\nHost: b.example\r\n\r\n", "/?x", "a.example"),
        ("GET HTTP://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", "/", "a.example"),
        ("GET http://a.example/x HTTP/1.0\r\n\r\n", "/x", "a.example"),
        ("GET //b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", "//b.example/x", "a.example"),
        ("GET /http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", "/http://b.example/x", "a.example"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "*", "a.example"),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "/", "[::1]:80"),
    ];
    for (request, path, host) in cases {
        let sent = sent_on(&listen, &web, request);
        assert_eq!((sent.path(), sent.field("host")), (path, vec![host]), "{request:?}");
        assert_eq!(sent.field("x-forwarded-host"), [host], "{request:?}");
    }
    towpath.stop(cases.len());
}

#[test]
fn a_request_of_http_1_0_without_a_host_leaves_with_one_host_field() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let mut client = Client::connect(&listen);
    client.send("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.assert_closed();
    let sent = web.take().remove(0);
    assert_eq!((sent.asks(), sent.field("host").len()), ("GET /x", 1), "{sent:?}");
    towpath.stop(1);
}

#[test]
fn a_connection_field_cannot_hide_what_servers_must_see() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "forwarded_fields = \"both\"", "");
    let names = "X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Forwarded";
    for connection in [
        format!("Connection: {names}\r\n"),
        format!("Connection: close, {names}\r\n").to_lowercase(),
        names.split(", ").map(|name| format!("Connection: {name}\r\n")).collect(),
    ] {
        let lies = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: evil\r\nForwarded: for=192.0.2.1\r\n";
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lies}{connection}\r\n");
        let sent = sent_on(&listen, &web, &request);
        assert_eq!(sent.field("x-forwarded-for"), ["127.0.0.1"], "{connection:?}");
        assert_eq!(sent.field("x-forwarded-host"), ["a.example"], "{connection:?}");
        assert_eq!(sent.field("x-forwarded-proto"), ["http"], "{connection:?}");
        let forwarded = sent.field("forwarded");
        assert!(forwarded.len() == 1 && !forwarded[0].contains("192.0.2.1"), "{forwarded:?}");
        assert_eq!(sent.field("connection"), [""; 0], "{connection:?}");
    }
    for name in ["Host", "Content-Length", "Transfer-Encoding", "Content-Length, Host, close, upgrade"] {
        let request = format!("Host: a.example\r\nConnection: {name}\r\nContent-Length: 5\r\n\r\nhello");
        let sent = sent_on(&listen, &web, &format!("POST / HTTP/1.1\r\n{request}"));
        assert_eq!((sent.body.as_str(), sent.field("host")), ("hello", vec!["a.example"]), "{name}");
        let request =
            format!("Connection: {name}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let sent = sent_on(&listen, &web, &format!("POST / HTTP/1.1\r\nHost: a.example\r\n{request}"));
        assert_eq!((sent.body.as_str(), sent.field("host")), ("hello", vec!["a.example"]), "{name}");
    }
    towpath.stop(11);
}

#[test]
fn what_is_for_one_hop_stays_there() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "forwarded_fields = \"off\"", "");
    let fields = "X-One: 1\r\nX-Two: 2\r\nX-Kept: 3\r\nTE: trailers, gzip\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nUpgrade: other\r\n\
                  Trailer: X-Sum\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
                  Connection: x-one ,X-TWO,, ,keep-alive, HTTP2-Settings\r\nAuthorization: Basic eA==\r\n";
    let sent = sent_on(&listen, &web, &format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"));
    let names: Vec<String> =
        sent.lines()[1..].iter().map(|line| line.split_once(':').unwrap().0.to_lowercase()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "trailer").collect();
    assert_eq!(names, ["authorization", "host", "x-kept"], "{sent:?}");
    towpath.stop(1);
}

/// The backend would answer in HTTP/2 on a connection that nobody looks at any more.
#[test]
fn nobody_is_upgraded_to_http_2_behind_the_back_of_the_balancer() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    for upgrade in ["h2c", "H2C", "websocket, h2c", "h2c,websocket"] {
        for names in ["upgrade, HTTP2-Settings", "Upgrade"] {
            let fields =
                format!("Connection: {names}\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n");
            let sent = sent_on(&listen, &web, &format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"));
            let upgrades = sent.field("upgrade").concat().to_lowercase();
            assert!(!upgrades.contains("h2c"), "{upgrade}: {sent:?}");
            assert_eq!(sent.field("http2-settings"), [""; 0], "{upgrade}: {sent:?}");
        }
    }
    towpath.stop(8);
}

/// What follows a request to go over is a request where the server stays, and of the new protocol where it goes.
#[test]
fn what_is_behind_an_upgrade_waits_for_its_answer() {
    let web = Web::answering(|request, stream| {
        if request.path() != "/goes" {
            return stream.write_all(&echo(request)).is_ok();
        }
        let over = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
        stream.write_all(over.as_bytes()).unwrap();
        let got = read_exactly(stream, SECOND.len());
        stream.write_all(&got).unwrap();
        false
    });
    const SECOND: &str = "GET /second HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let upgrade = |path| {
        format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
    };
    let mut client = Client::connect(&listen);
    client.send(upgrade("/stays") + SECOND);
    assert_eq!([client.answer().body, client.answer().body], ["GET /stays ", "GET /second "]);
    assert_eq!(web.take_asked(), ["GET /stays", "GET /second"]);
    client.send(upgrade("/goes") + SECOND);
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.rest(), SECOND);
    assert_eq!(web.take_asked(), ["GET /goes"], "the rest is no request of HTTP");
    // One with a body, and one of HTTP/1.0, are not to go over at all.
    for request in [
        upgrade("/body").replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\nab"),
        upgrade("/old").replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let sent = sent_on(&listen, &web, &request);
        assert_eq!(sent.field("upgrade"), [""; 0], "{request:?}");
    }
    towpath.stop(5);
}

#[test]
fn what_is_behind_a_body_is_no_part_of_it() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let inner = "GET /inner HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let length = inner.len();
    let cases = [
        format!("POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n{inner}"),
        format!("POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length:\t {length} \t\r\n\r\n{inner}"),
        format!("POST /a HTTP/1.1\r\nHost: a.example\r\ncontent-length: 000{length}\r\n\r\n{inner}"),
        format!("GET /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n{inner}"),
        format!("DELETE /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n{inner}"),
        format!(
            "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: cHuNkEd\r\n\r\n\
             {length:X};a=\"\\\"0\";b\r\n{inner}\r\n0;c\r\nX-Sum: 1\r\n\r\n"
        ),
        format!("\r\nPOST /a HTTP/1.1\r\nHost:a.example\r\nContent-Length:{length}\r\n\r\n{inner}"),
    ];
    for case in &cases {
        let mut client = Client::connect(&listen);
        client.send(format!("{case}GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        let bodies = [client.answer().body, client.answer().body];
        let first = format!("{} /a {inner}", case.trim_start().split(' ').next().unwrap());
        assert!(bodies[0].starts_with(&first), "{case:?}: {bodies:?}");
        assert_eq!(bodies[1], "GET /next ", "{case:?}");
        let requests = web.take();
        assert_eq!(requests.len(), 2, "{case:?}: {requests:#?}");
        assert_eq!(requests[0].body.trim_end_matches("|x-sum: 1"), inner, "{case:?}");
    }
    towpath.stop(2 * cases.len());
}

#[test]
fn trailers_cannot_say_what_heads_say() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let trailers = "X-Sum: 1\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\nHost: b.example\r\n\
                    X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nAuthorization: Basic eA==\r\n\
                    Connection: close\r\n";
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sent = sent_on(&listen, &web, &format!("{head}1\r\na\r\n0\r\n{trailers}\r\n"));
    assert_eq!(sent.body.to_lowercase(), "a|x-sum: 1");
    towpath.stop(1);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let mut client = Client::connect(&listen);
    let request = |number: usize| match number % 3 {
        0 => format!("GET /{number} HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        1 => format!("POST /{number} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody"),
        _ => format!(
            "POST /{number} HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        ),
    };
    client.send((0..300).map(request).collect::<String>());
    for number in 0..300 {
        let expected =
            if number % 3 == 0 { format!("GET /{number} ") } else { format!("POST /{number} body") };
        assert_eq!(client.answer().body, expected);
    }
    let numbers: Vec<usize> = web.take().iter().map(|request| request.path()[1..].parse().unwrap()).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    // Behind one that says that it is the last, nothing is read.
    client
        .send("GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n".to_owned() + &request(0));
    assert_eq!(client.answer().field("connection"), ["close"]);
    client.assert_closed();
    assert_eq!(web.take_asked(), ["GET /last"]);
    towpath.stop(301);
}

#[test]
fn requests_in_two_pieces_and_byte_by_byte() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "forwarded_fields = \"off\"", "");
    let request = "\r\nPOST /a?b HTTP/1.1\r\nHost: a.example\r\nX: a  b\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4;x=y\r\nbody\r\nA\r\nmore of it\r\n0\r\nX-Sum: 1\r\n\r\n";
    let mut client = Client::connect(&listen);
    let expected = ("POST /a?b", "bodymore of it|x-sum: 1".to_owned());
    let check = |client: &mut Client, how: &str| {
        assert_eq!(client.answer().status, 200, "{how}");
        let requests = web.take();
        assert_eq!(requests.len(), 1, "{how}: {requests:#?}");
        assert_eq!((requests[0].asks(), requests[0].body.to_lowercase()), expected, "{how}");
        assert_eq!(requests[0].field("x"), ["a  b"], "{how}");
    };
    for at in 1..request.len() {
        client.send(&request[..at]);
        // Two segments, most often read one by one; nothing depends on it.
        thread::yield_now();
        client.send(&request[at..]);
        check(&mut client, &format!("in two at {at}"));
    }
    for byte in request.bytes() {
        client.send([byte]);
        thread::yield_now();
    }
    check(&mut client, "byte by byte");
    end_writes(client.stream());
    client.assert_closed();
    towpath.stop(request.len());
}

#[test]
fn an_expectation_is_met_before_the_body() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let mut client = Client::connect(&listen);
    // The backend answers without looking at it, so whoever waits for the 100 must not wait for ever.
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.send(head.to_owned() + "hello");
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, "POST / hello"));
    assert_eq!(web.take()[0].body, "hello");
    towpath.stop(1);
}
