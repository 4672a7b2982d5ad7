//! Backends that answer badly: their clients get 502 or see that something is missing, and no connection of theirs serves again.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use support::PATIENCE;
use support::net::{end_writes, read_to_end, reset};
use support::raw_web::{Client, Request, Web, balancer, deliver, echo};

/// An answer that nobody has asked for.
const HIDDEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhidden";

/// Rests would make the next requests wait, and repetitions hide which connection is used.
const POOL: &str = "eject_after = \"off\"\nretries = 0";

/// A backend that answers `/bad` with these bytes and leaves the connection open, and echoes the rest.
fn bad_backend(bad: &str) -> Web {
    let bad = bad.to_owned();
    Web::answering(move |request, stream| {
        let answer = if request.path() == "/bad" { bad.as_bytes().to_vec() } else { echo(request) };
        stream.write_all(&answer).is_ok()
    })
}

/// Fails if the connection of the request for `/bad` has had another one behind it.
fn assert_not_used_again(requests: &[Request]) {
    let bad = requests.iter().position(|request| request.path() == "/bad").expect("a request for /bad");
    let behind = &requests[bad + 1..];
    assert!(!behind.is_empty(), "{requests:#?}");
    assert!(behind.iter().all(|request| request.connection != requests[bad].connection), "{requests:#?}");
}

/// What is bad, how it ends: a client gets 502, and what is behind the answer reaches nobody.
fn assert_bad(bad: &str) {
    let shown = &bad[..bad.len().min(200)];
    let web = bad_backend(&format!("{bad}{HIDDEN}"));
    let (listen, towpath) = balancer(&[&web.address], "", POOL);
    let mut client = Client::connect(&listen);
    let answer = client.get("/bad");
    assert_eq!((answer.status, answer.is_whole), (502, true), "{shown:?}: {answer:?}");
    assert!(!answer.body.contains("127.0.0.1"), "{answer:?}");
    assert_eq!(client.get("/fine").body, "GET /fine ", "{shown:?}");
    assert_eq!(Client::connect(&listen).get("/other").body, "GET /other ", "{shown:?}");
    assert_not_used_again(&web.take());
    let records = towpath.stop(3);
    let bad = records.iter().filter(|record| record.text("end") != "served");
    assert_eq!(bad.count(), 1, "{shown:?}: {records:#?}");
}

#[test]
fn framings_of_answers_with_two_meanings() {
    let answer = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    for bad in [
        answer("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        answer("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        answer("Content-Length: 1\r\nContent-Length: 2\r\n", "ab"),
        answer("Content-Length: 1, 2\r\n", "ab"),
        answer("Content-Length: +1\r\n", "a"),
        answer("Content-Length: -1\r\n", "a"),
        answer("Content-Length: 0x1\r\n", "a"),
        answer("Content-Length: 1 1\r\n", "a"),
        answer("Content-Length:\r\n", ""),
        answer("Content-Length: 18446744073709551617\r\n", "a"),
        answer("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        answer("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        answer("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        answer("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        answer("Transfer-Encoding: identity\r\n", "a"),
        answer("Transfer-Encoding:\r\n", "a"),
        answer("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("1.1", "1.0"),
    ] {
        assert_bad(&bad);
    }
}

#[test]
fn heads_of_answers_that_are_none() {
    let answer = |fields: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{fields}\r\na");
    let line = |line: &str| format!("{line}\r\nContent-Length: 1\r\n\r\na");
    for bad in [
        answer("X: a\r\n b\r\n"),
        answer("X: a\0b\r\n"),
        answer("X: a\rb\r\n"),
        answer("X: a\nSet-Cookie: b\r\n"),
        answer("X : a\r\n"),
        answer(": a\r\n"),
        answer("X\r\n"),
        answer("X(: a\r\n"),
        answer("X: a\r\n").replace("\r\n", "\n"),
        answer(&format!("X: {}\r\n", "a".repeat(1 << 20))),
        answer(&"X: 1\r\n".repeat(100_000)),
        line("HTTP/1.1 20 OK"),
        line("HTTP/1.1 2000 OK"),
        line("HTTP/1.1 abc OK"),
        line("HTTP/1.1 +20 OK"),
        line("HTTP/1.1 000 OK"),
        line("HTTP/1.1  200 OK"),
        line("HTTP/1.1\t200 OK"),
        line("HTTP/1.1 200 O\0K"),
        line("HTTP/2.0 200 OK"),
        line("HTTP/1.2 200 OK"),
        line("http/1.1 200 OK"),
        line("ICY 200 OK"),
        line(""),
        "<html>HTTP/0.9 is long gone</html>".to_owned(),
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        "\x15\x03\x01\0\x02\x02\x0a".to_owned(),
        "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0d".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
    ] {
        assert_bad(&bad);
    }
}

#[test]
fn an_interim_answer_does_not_make_the_next_one_good() {
    let web = bad_backend("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 two hundred\r\n\r\n");
    let (listen, towpath) = balancer(&[&web.address], "", POOL);
    let mut client = Client::connect(&listen);
    let answers = [client.get("/bad"), client.answer(), client.get("/fine")];
    assert_eq!(answers.map(|answer| answer.status), [103, 502, 200]);
    assert_not_used_again(&web.take());
    // A client of HTTP/1.0 does not know interim answers.
    let mut old = Client::connect(&listen);
    assert_eq!(old.ask("GET /bad HTTP/1.0\r\n\r\n").status, 502);
    towpath.stop(3);
}

/// Only one that was asked for, and that names the protocol, is to be believed.
#[test]
fn going_over_to_another_protocol_takes_two() {
    let web =
        bad_backend("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    let (listen, towpath) = balancer(&[&web.address], "", POOL);
    let upgrade = "GET /bad HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
    assert_eq!(Client::connect(&listen).ask(upgrade).status, 502);
    towpath.stop(1);
}

/// What an answer begins with, and what it lacks.
const CUT: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Su",
];

/// Asks once, in this version: whether the answer looks whole.
fn looks_whole(listen: &str, version: &str) -> bool {
    let mut client = Client::connect(listen);
    client.send(format!("GET /bad {version}\r\nHost: a.example\r\n\r\n"));
    // What is found bad before any of it has gone on may end in 502, or in nothing at all.
    let Some(answer) = client.next_answer().filter(|answer| answer.status != 502) else { return false };
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!("abc".starts_with(answer.body.trim_end_matches("|x-sum: 1")), "{answer:?}");
    answer.is_whole
}

#[test]
fn bodies_that_are_cut_off_never_look_whole() {
    for cut in CUT {
        for ends_with_reset in [false, true] {
            let web = Web::answering(move |request, stream| {
                if request.path() != "/bad" {
                    return stream.write_all(&echo(request)).is_ok();
                }
                deliver(stream, cut.as_bytes());
                if ends_with_reset {
                    reset(stream.try_clone().unwrap());
                }
                end_writes(stream);
                false
            });
            let (listen, towpath) = balancer(&[&web.address], "", POOL);
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                assert!(!looks_whole(&listen, version), "{cut:?} to {version}");
            }
            assert_eq!(Client::connect(&listen).get("/fine").body, "GET /fine ");
            let records = towpath.stop(3);
            assert_eq!(
                records.iter().filter(|record| record.text("end") == "served").count(),
                1,
                "{records:#?}"
            );
        }
    }
}

#[test]
fn chunks_of_answers_that_are_none_never_look_whole() {
    for chunks in [
        "+3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\r\nzz\r\n",
        "3\r\nabc\r\n0\r\nX\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    ] {
        let web =
            bad_backend(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{HIDDEN}"));
        let (listen, towpath) = balancer(&[&web.address], "", POOL);
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            assert!(!looks_whole(&listen, version), "{chunks:?} to {version}");
        }
        assert_eq!(Client::connect(&listen).get("/fine").body, "GET /fine ");
        assert_not_used_again(&web.take());
        towpath.stop(3);
    }
}

#[test]
fn chunks_of_answers_with_extensions_of_megabytes_are_not_passed_on() {
    let extension = "a".repeat(4 << 20);
    let web = bad_backend(&format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;{extension}\r\nabc\r\n0\r\n\r\n"
    ));
    let (listen, towpath) = balancer(&[&web.address], "", POOL);
    assert!(!looks_whole(&listen, "HTTP/1.1"));
    assert_eq!(Client::connect(&listen).get("/fine").body, "GET /fine ");
    towpath.stop(2);
}

/// Answers that are whole, each with something behind it that belongs to nobody.
#[test]
fn what_is_behind_an_answer_is_nobodys() {
    for (method, answer, body) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", ""),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", ""),
    ] {
        let web = bad_backend(&format!("{answer}{HIDDEN}"));
        let (listen, towpath) = balancer(&[&web.address], "", POOL);
        let mut client = Client::connect(&listen);
        let got = client.ask(&format!("{method} /bad HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!((got.body.as_str(), got.is_whole), (body, true), "{answer:?}");
        assert_eq!(client.get("/fine").body, "GET /fine ", "{answer:?}");
        assert_eq!(Client::connect(&listen).get("/other").body, "GET /other ", "{answer:?}");
        assert_not_used_again(&web.take());
        towpath.stop(3);
    }
}

/// The same where it comes while the connection waits for its next request.
#[test]
fn what_comes_between_two_requests_is_nobodys() {
    let (tell, told) = mpsc::channel::<()>();
    let (done, is_done) = mpsc::channel::<()>();
    let (told, done) = (Arc::new(Mutex::new(told)), Mutex::new(done));
    let web = Web::answering(move |request, stream| {
        stream.write_all(&echo(request)).unwrap();
        if request.path() == "/bad" {
            told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            deliver(stream, HIDDEN.as_bytes());
            done.lock().unwrap().send(()).unwrap();
        }
        true
    });
    let (listen, towpath) = balancer(&[&web.address], "", POOL);
    let mut client = Client::connect(&listen);
    for _ in 0..20 {
        assert_eq!(client.get("/bad").body, "GET /bad ");
        tell.send(()).unwrap();
        is_done.recv_timeout(PATIENCE).unwrap();
        assert_eq!(client.get("/fine").body, "GET /fine ");
        assert_not_used_again(&web.take());
    }
    towpath.stop(40);
}

#[test]
fn answers_that_end_with_their_connection() {
    let ending = |ends_with_reset: bool| {
        Web::answering(move |_, stream: &mut TcpStream| {
            deliver(stream, b"HTTP/1.1 200 OK\r\n\r\nabc");
            if ends_with_reset {
                reset(stream.try_clone().unwrap());
            }
            false
        })
    };
    let [whole, cut] = [false, true].map(ending);
    let (listen, towpath) = balancer(&[&whole.address], "", POOL);
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        assert!(looks_whole(&listen, version), "{version}");
    }
    towpath.stop(2);
    let (listen, towpath) = balancer(&[&cut.address], "", POOL);
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        assert!(!looks_whole(&listen, version), "{version}");
    }
    towpath.stop(2);
}

#[test]
fn fields_of_answers_for_one_hop_stay_there() {
    let web = Web::saying(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-One, keep-alive\r\nX-One: 1\r\nX-Kept: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: h2c\r\n\r\nok",
    );
    let (listen, towpath) = balancer(&[&web.address], "", POOL);
    let mut client = Client::connect(&listen);
    let answer = client.get("/");
    for name in ["x-one", "keep-alive", "proxy-authenticate", "proxy-connection", "upgrade", "connection"] {
        assert_eq!(answer.field(name), [""; 0], "{answer:?}");
    }
    assert_eq!(answer.field("x-kept"), ["2"]);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(web.take()[1].connection, 0, "the connection is used again");
    towpath.stop(2);
}

/// A body of a request is not sent to its end to a backend that has answered: the connection cannot be used again.
#[test]
fn an_answer_before_the_end_of_the_request_ends_both_connections() {
    let web = Web::start();
    let early = support::proxies::parent(|stream| {
        support::proxies::read_head(stream);
        stream.write_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 4\r\n\r\nmuch").unwrap();
        let _ = read_to_end(stream);
    });
    let (listen, towpath) = balancer(&[&early], "", POOL);
    let mut client = Client::connect(&listen);
    client.send(
        "POST /bad HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection")), (413, vec!["close"]));
    client.assert_closed();
    assert_eq!(web.take(), []);
    towpath.stop(1);
}
