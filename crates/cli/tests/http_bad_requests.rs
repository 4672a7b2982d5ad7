//! Requests to a balancer that are none: each is refused with its status, and no backend hears of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::Duration;

use support::net::{End, connect, end_writes, read_to_end, reset};
use support::raw_web::{Answer, Client, Web, balancer, read_answer};

/// What must never be taken for a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// What is a request beyond doubt.
const FINE: &str = "GET /fine HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A POST with more fields, and what is behind its head.
fn post(fields: &str, body: &str) -> String {
    format!("POST /bad HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n{body}")
}

/// A GET with more fields.
fn get(fields: &str) -> String {
    format!("GET /bad HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

/// Sends everything at once, keeps the connection open, and returns the answers before the other end closes in order.
fn answers(listen: &str, bytes: &[u8]) -> Vec<Answer> {
    let mut client = connect(listen);
    // It may be sent away before it has said everything.
    let _ = client.write_all(bytes);
    let (answers, end) = read_to_end(&mut client);
    let text = String::from_utf8_lossy(bytes);
    let text = &text[..text.len().min(300)];
    assert_eq!(end, End::Fin, "{text:?}: {}", String::from_utf8_lossy(&answers));
    let reader = &mut answers.as_slice();
    std::iter::from_fn(|| read_answer(reader, "GET")).collect()
}

/// Each is refused as the first request of a client and as its second, and the connection ends with it.
fn assert_refused(bad: &[(u16, String)]) {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    for (status, request) in bad {
        let shown = &request[..request.len().min(300)];
        let both = format!("{request}{HIDDEN}");
        let refused = answers(&listen, both.as_bytes());
        let statuses: Vec<u16> = refused.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [*status], "{shown:?}: {refused:?}");
        assert_eq!(web.take(), [], "{shown:?}");
        let refused = answers(&listen, format!("{FINE}{both}").as_bytes());
        let statuses: Vec<u16> = refused.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, *status], "{shown:?}: {refused:?}");
        assert_eq!(web.take_asked(), ["GET /fine"], "{shown:?}");
    }
    let records = towpath.stop(3 * bad.len());
    let refused = records.iter().filter(|record| record.text("stage") == "ask");
    assert_eq!(refused.count(), 2 * bad.len(), "{records:#?}");
}

#[test]
fn framings_that_two_servers_could_read_in_two_ways() {
    let long = "9".repeat(30);
    let bad = [
        (400, post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n")),
        (400, post("Content-Length: 6\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\nG")),
        (400, post("Content-Length: 1\r\nContent-Length: 2\r\n", "ab")),
        (400, post("Content-Length: 1\r\ncontent-length: 1\r\n", "a")),
        (400, post("Content-Length: 1, 2\r\n", "ab")),
        (400, post("Content-Length: 1,\r\n", "a")),
        (400, post("Content-Length:\r\n", "")),
        (400, post("Content-Length: +1\r\n", "a")),
        (400, post("Content-Length: -1\r\n", "a")),
        (400, post("Content-Length: 1 1\r\n", "a")),
        (400, post("Content-Length: 0x1\r\n", "a")),
        (400, post("Content-Length: 1a\r\n", "a")),
        (400, post("Content-Length: 1.0\r\n", "a")),
        (400, post("Content-Length: \"1\"\r\n", "a")),
        (400, post("Content-Length: \u{661}\r\n", "a")),
        (400, post("Content-Length: 9223372036854775808\r\n", "a")),
        (400, post("Content-Length: 18446744073709551617\r\n", "a")),
        (400, post(&format!("Content-Length: {long}\r\n"), "a")),
        (400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding:\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: identity\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: chun ked\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: chunkeḍ\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n")),
        (400, post("X: a\r\n Transfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("1.1", "1.0")),
    ];
    assert_refused(&bad);
}

#[test]
fn heads_that_are_none() {
    let with_host = |host: &str| format!("GET /bad HTTP/1.1\r\n{host}\r\n");
    let line = |line: &str| format!("{line}\r\nHost: a.example\r\n\r\n");
    let bad = [
        (400, get("X: a\rb\r\n")),
        (400, get("X: a\r\r\n")),
        (400, get("X: a\nY: b\r\n")),
        (400, get("X: a\n")),
        (400, get("X: a\0b\r\n")),
        (400, get("\0: a\r\n")),
        (400, get("X: a\x7fb\r\n")),
        (400, get("X: a\x08b\r\n")),
        (400, get("X: a\r\n b\r\n")),
        (400, get("X: a\r\n\tb\r\n")),
        (400, get("X : a\r\n")),
        (400, get("X\t: a\r\n")),
        (400, get(": a\r\n")),
        (400, get("X\r\n")),
        (400, get("X(: a\r\n")),
        (400, get("X\u{e4}: a\r\n")),
        (400, "GET /bad HTTP/1.1\r\n X: a\r\nHost: a.example\r\n\r\n".to_owned()),
        (400, get("").replace("\r\n", "\n")),
        (400, with_host("")),
        (400, with_host("Host:\r\n")),
        (400, with_host("Host: a.example\r\nHost: a.example\r\n")),
        (400, with_host("Host: a.example\r\nhost: b.example\r\n")),
        (400, with_host("Host: a.example, b.example\r\n")),
        (400, with_host("Host: a.example/b\r\n")),
        (400, with_host("Host: b@a.example\r\n")),
        (400, with_host("Host: a.example:x\r\n")),
        (400, with_host("Host: a b\r\n")),
        (400, with_host("Host: [::1\r\n")),
        (400, line("GET  /bad HTTP/1.1")),
        (400, line("GET /bad  HTTP/1.1")),
        (400, line("GET\t/bad HTTP/1.1")),
        (400, line(" GET /bad HTTP/1.1")),
        (400, line("GET /bad HTTP/1.1 ")),
        (400, line("GET /bad x HTTP/1.1")),
        (400, line("GET /bad\0 HTTP/1.1")),
        (400, line("GET /b\u{e4}d HTTP/1.1")),
        (400, line("G(T /bad HTTP/1.1")),
        (400, line("GET /bad http/1.1")),
        (400, line("GET /bad HTTPS/1.1")),
        (400, line("GET /bad")),
        (400, "\x16\x03\x01\x02\0\x01\0\r\n\r\n".to_owned()),
        (505, line("GET /bad HTTP/2.0")),
        (505, line("GET /bad HTTP/1.2")),
        (505, line("GET /bad HTTP/0.9")),
    ];
    assert_refused(&bad);
}

#[test]
fn targets_that_are_none() {
    let line = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let bad = [
        (400, line("")),
        (400, line("bad")),
        (400, line("a.example:80")),
        (400, line("*")),
        (400, line("/bad#fragment")),
        (400, line("http://")),
        (400, line("http:///bad")),
        (400, line("http:/bad")),
        (400, line("http://user@a.example/bad")),
        (400, line("http://user:password@a.example/bad")),
        (400, line("http://a.example:99999/bad")),
        (400, line("http://a.example#fragment")),
        (400, line("http://a.example\\@b.example/")),
        (400, "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n".to_owned()),
        (400, "CONNECT /bad HTTP/1.1\r\nHost: a.example:80\r\n\r\n".to_owned()),
    ];
    assert_refused(&bad);
}

#[test]
fn heads_beyond_the_limits() {
    let fields = |count: usize| (1..count).map(|number| format!("X-{number}: 1\r\n")).collect::<String>();
    let of_length = |length: usize| get(&format!("X: {}\r\n", "a".repeat(length - get("X: \r\n").len())));
    let long = "a".repeat(8 * 1024);
    let bad = [
        (414, format!("GET /{long} HTTP/1.1\r\nHost: a.example\r\n\r\n")),
        (414, format!("GET http://a.example/{long} HTTP/1.1\r\nHost: a.example\r\n\r\n")),
        (431, of_length(16 * 1024 + 1)),
        (431, of_length(1024 * 1024)),
        (431, get(&fields(101))),
        (431, get(&"X: 1\r\n".repeat(100_000))),
    ];
    assert_refused(&bad);
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let mut client = Client::connect(&listen);
    for request in [of_length(16 * 1024), get(&fields(100))] {
        assert_eq!(client.ask(&request).status, 200);
    }
    let sizes: Vec<usize> = web.take().iter().map(|request| request.field("x").concat().len()).collect();
    assert_eq!(sizes, [16 * 1024 - get("X: \r\n").len(), 0]);
    towpath.stop(2);
}

#[test]
fn the_limit_of_heads_is_the_files_to_say() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "header_max = \"1KiB\"", "");
    let of_length = |length: usize| get(&format!("X: {}\r\n", "a".repeat(length - get("X: \r\n").len())));
    assert_eq!(answers(&listen, of_length(1025).as_bytes())[0].status, 431);
    assert_eq!(Client::connect(&listen).ask(&of_length(1024)).status, 200);
    assert_eq!(web.take().len(), 1);
    towpath.stop(2);
}

#[test]
fn chunks_that_are_none_get_one_answer_and_never_become_a_request() {
    let extension = "a".repeat(4 << 20);
    let trailers = "X: 1\r\n".repeat(200_000);
    let bad = [
        "+1\r\na\r\n0\r\n\r\n".to_owned(),
        "-1\r\na\r\n0\r\n\r\n".to_owned(),
        " 1\r\na\r\n0\r\n\r\n".to_owned(),
        "1 \r\na\r\n0\r\n\r\n".to_owned(),
        "0x1\r\na\r\n0\r\n\r\n".to_owned(),
        "1_0\r\na\r\n0\r\n\r\n".to_owned(),
        "\r\na\r\n0\r\n\r\n".to_owned(),
        ";a=b\r\na\r\n0\r\n\r\n".to_owned(),
        "g\r\na\r\n0\r\n\r\n".to_owned(),
        "10000000000000001\r\na\r\n0\r\n\r\n".to_owned(),
        "ffffffffffffffff\r\na\r\n0\r\n\r\n".to_owned(),
        "8000000000000000\r\na\r\n0\r\n\r\n".to_owned(),
        format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(100_000)),
        format!("1;{extension}\r\na\r\n0\r\n\r\n"),
        format!("1;a=\"{extension}\"\r\na\r\n0\r\n\r\n"),
        "1;a\0\r\na\r\n0\r\n\r\n".to_owned(),
        "1;a\nb\r\na\r\n0\r\n\r\n".to_owned(),
        "1\na\r\n0\r\n\r\n".to_owned(),
        "1\ra\r\n0\r\n\r\n".to_owned(),
        "1\r\nab\r\n0\r\n\r\n".to_owned(),
        "1\r\na\n0\r\n\r\n".to_owned(),
        "1\r\na0\r\n\r\n".to_owned(),
        "1\r\na\r\n0\n\r\n".to_owned(),
        "1\r\na\r\n0\r\n\n".to_owned(),
        "1\r\na\r\n0\r\nX\r\n\r\n".to_owned(),
        "1\r\na\r\n0\r\nX : 1\r\n\r\n".to_owned(),
        "1\r\na\r\n0\r\nX: 1\r\n 2\r\n\r\n".to_owned(),
        "1\r\na\r\n0\r\nX: 1\nY: 2\r\n\r\n".to_owned(),
        "1\r\na\r\n0\r\nX: \x01\r\n\r\n".to_owned(),
        format!("1\r\na\r\n0\r\n{trailers}\r\n"),
        format!("1\r\na\r\n0\r\nX: {extension}\r\n\r\n"),
    ];
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    for body in &bad {
        let shown = &body[..body.len().min(60)];
        let refused =
            answers(&listen, post("Transfer-Encoding: chunked\r\n", &(body.clone() + HIDDEN)).as_bytes());
        let statuses: Vec<u16> = refused.iter().map(|answer| answer.status).collect();
        assert!(matches!(statuses[..], [400 | 431]), "{shown:?}: {refused:?}");
    }
    // Whatever of them has reached the backend is told as cut off.
    let records = towpath.stop(bad.len());
    assert!(records.iter().all(|record| record.text("end").starts_with("bad request")), "{records:#?}");
    assert_eq!(web.take(), []);
}

#[test]
fn bodies_beyond_their_limit() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "body_max = \"10B\"", "");
    let chunked = |count: usize| format!("{count:x}\r\n{}\r\n0\r\n\r\n", "a".repeat(count));
    for request in [
        post("Content-Length: 11\r\n", "aaaaaaaaaaa"),
        post("Content-Length: 11\r\n", ""),
        post("Content-Length: 9223372036854775807\r\n", "a"),
        post("Transfer-Encoding: chunked\r\n", &chunked(11)),
        post("Transfer-Encoding: chunked\r\n", "6\r\naaaaaa\r\n6\r\naaaaaa\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "6\r\naaaaaa\r\n6\r\naaaaaa\r\n"),
    ] {
        let refused = Client::connect(&listen).ask(&request);
        assert_eq!(refused.status, 413, "{request:?}");
    }
    let mut client = Client::connect(&listen);
    assert_eq!(client.ask(&post("Content-Length: 10\r\n", "aaaaaaaaaa")).body, "POST /bad aaaaaaaaaa");
    assert_eq!(client.ask(&post("Transfer-Encoding: chunked\r\n", &chunked(10))).status, 200);
    towpath.stop(8);
    let bodies: Vec<String> = web.take().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, ["aaaaaaaaaa", "aaaaaaaaaa"], "none arrives shortened");
}

#[test]
fn a_body_that_is_cut_off_is_no_request() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let bodies = [("Content-Length: 5\r\n", "abc"), ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n")];
    for (fields, body) in bodies {
        for how in ["half-closed", "closed", "reset"] {
            let mut client = connect(&listen);
            client.write_all(post(fields, body).as_bytes()).unwrap();
            match how {
                "half-closed" => {
                    end_writes(&client);
                    let (answer, _) = read_to_end(&mut client);
                    let text = String::from_utf8(answer).unwrap();
                    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{text}");
                }
                "closed" => drop(client),
                _ => reset(client),
            }
        }
    }
    // One that was reset may have got no further than to towpath.
    let records = towpath.stop(6);
    assert!(records.iter().all(|record| record.text("end") != "served"), "{records:#?}");
    assert!(records.iter().all(|record| record.text("end") != "server reset"), "{records:#?}");
    assert_eq!(web.take(), []);
}

#[test]
fn heads_and_bodies_that_do_not_come_are_late() {
    let web = Web::start();
    let times = "header_timeout = \"500ms\"\nkeepalive_timeout = \"500ms\"\nbody_timeout = \"500ms\"";
    let (listen, towpath) = balancer(&[&web.address], times, "");
    for request in [
        "GET /bad HT".to_owned(),
        format!("{FINE}GET /bad HT"),
        post("Content-Length: 5\r\n", "abc"),
        post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"),
    ] {
        let late = answers(&listen, request.as_bytes());
        let last = late.last().unwrap();
        assert_eq!((last.status, last.field("connection")), (408, vec!["close"]), "{request:?}");
    }
    // A client that has nothing to ask is let go without a word.
    assert_eq!(answers(&listen, FINE.as_bytes()).len(), 1);
    assert_eq!(web.take_asked(), ["GET /fine"; 2]);
    towpath.stop(6);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_late() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "header_timeout = \"1s\"", "");
    let mut client = connect(&listen);
    let mut writer = client.try_clone().unwrap();
    let slow = thread::spawn(move || {
        for byte in get("X: endless\r\n").into_bytes() {
            // sleep: the client is slow on purpose.
            thread::sleep(Duration::from_millis(100));
            if writer.write_all(&[byte]).is_err() {
                return;
            }
        }
        panic!("a head may take for ever");
    });
    let (answer, _) = read_to_end(&mut client);
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    drop(client);
    slow.join().unwrap();
    assert_eq!(towpath.stop(1)[0].text("stage"), "ask");
    assert_eq!(web.take(), []);
}
