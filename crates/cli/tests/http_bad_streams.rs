//! Requests of HTTP/2 that are none, frame by frame: a backend of HTTP/1 gets one request with one meaning, or none.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use rustix::process::Signal;
use support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GET, HEADERS, Outcome, RST_STREAM, block, frame,
};
use support::raw_web::{Client, Request, Web, balancer};

type Field = (&'static str, &'static str);

/// The fields of a GET with others behind them.
fn get(more: &[Field]) -> Vec<Field> {
    [&GET[..], more].concat()
}

/// The fields of a GET with some of them different, or gone.
fn with(changes: &[(&'static str, Option<&'static str>)]) -> Vec<Field> {
    let changed = |name| changes.iter().find(|(other, _)| *other == name);
    let fields = GET.into_iter().filter_map(|(name, value)| match changed(name) {
        Some((_, value)) => value.map(|value| (name, value)),
        None => Some((name, value)),
    });
    fields.collect()
}

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { status: 400, .. } | Outcome::Reset(_) | Outcome::GoneAway(_))
}

/// Sends each on a connection of its own: what became of it, and what left.
fn try_each(requests: &[Vec<Field>]) -> Vec<(String, Outcome, Vec<Request>)> {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let tried = requests.iter().map(|fields| {
        let mut client = Frames::connect(&listen, &[]);
        client.get(1, fields.iter().copied());
        let outcome = client.outcome(1);
        (format!("{fields:?}"), outcome, web.take())
    });
    let tried = tried.collect();
    assert_eq!(Client::connect(&listen).get("/fine").status, 200);
    drop(towpath);
    tried
}

/// Each is refused, and no backend hears of it.
fn assert_refused(bad: &[Vec<Field>]) {
    let tried = try_each(bad);
    let taken: Vec<_> =
        tried.iter().filter(|(_, outcome, left)| !is_refused(outcome) || !left.is_empty()).collect();
    assert!(taken.is_empty(), "{taken:#?}");
}

/// Each is refused, or leaves as the GET that it says it is.
fn assert_one_meaning(odd: &[Vec<Field>]) {
    let is_fine = |outcome: &Outcome, left: &[Request]| match left {
        [] => is_refused(outcome),
        [sent] => {
            sent.asks() == "GET /x" && sent.field("host") == ["a.example"] && sent.field("y").is_empty()
        }
        _ => false,
    };
    let tried = try_each(odd);
    let taken: Vec<_> = tried.iter().filter(|(_, outcome, left)| !is_fine(outcome, left)).collect();
    assert!(taken.is_empty(), "{taken:#?}");
}

#[test]
fn fields_that_streams_cannot_have() {
    assert_refused(&[
        get(&[("connection", "close")]),
        get(&[("connection", "x-forwarded-for")]),
        get(&[("keep-alive", "timeout=5")]),
        get(&[("proxy-connection", "keep-alive")]),
        get(&[("transfer-encoding", "chunked")]),
        get(&[("upgrade", "websocket")]),
        get(&[("te", "gzip")]),
        get(&[("te", "trailers, chunked")]),
        get(&[("X-Upper", "a")]),
        get(&[("x", "a\r\nx-injected: b")]),
        get(&[("x", "a\rb")]),
        get(&[("x", "a\nb")]),
        get(&[("x", "a\0b")]),
        get(&[("", "a")]),
        get(&[("x y", "a")]),
        get(&[("x\r\ny", "a")]),
        get(&[("x:", "a")]),
        get(&[("x\0", "a")]),
        get(&[("x\u{e4}", "a")]),
    ]);
}

#[test]
fn pseudo_fields_that_are_missing_twice_or_unknown() {
    assert_refused(&[
        with(&[(":method", None)]),
        with(&[(":scheme", None)]),
        with(&[(":path", None)]),
        with(&[(":authority", None)]),
        get(&[(":method", "GET")]),
        get(&[(":scheme", "http")]),
        get(&[(":authority", "a.example")]),
        get(&[(":path", "/y")]),
        get(&[(":status", "200")]),
        get(&[(":protocol", "websocket")]),
        get(&[(":unknown", "a")]),
        get(&[("x", "a"), (":path", "/y")]),
        [&[("x", "a")], &GET[..]].concat(),
        with(&[(":method", Some(""))]),
        with(&[(":method", Some("GET /y HTTP/1.1\r\nHost: b\r\n\r\nGET"))]),
        with(&[(":method", Some("G T"))]),
        with(&[(":scheme", Some("http://b.example/y HTTP/1.1\r\n"))]),
        // No tunnel leads from here.
        with(&[(":method", Some("CONNECT"))]),
        vec![(":method", "CONNECT"), (":authority", "a.example:80")],
    ]);
}

#[test]
fn paths_and_authorities_that_are_none() {
    let path = |path| with(&[(":path", Some(path))]);
    let authority = |authority| with(&[(":authority", Some(authority))]);
    assert_refused(&[
        path(""),
        path("x"),
        path("*"),
        path("/a b"),
        path("/a\tb"),
        path("/a HTTP/1.1\r\nx-injected: b\r\n\r\nGET /c"),
        path("/a\r\n"),
        path("/a\0"),
        path("/a\u{e4}"),
        path("http://b.example/x"),
        authority(""),
        authority("a b"),
        authority("a.example\r\nx-injected: b"),
        authority("user@a.example"),
        authority("user:password@a.example"),
        authority("a.example/x"),
        authority("a.example?x"),
        authority("a.example, b.example"),
        authority("a.example:x"),
        authority("a.example:99999"),
        authority("[::1"),
    ]);
}

#[test]
fn hosts_that_are_none_or_another() {
    let host = |host: &'static str| [&with(&[(":authority", None)])[..], &[("host", host)]].concat();
    assert_refused(&[
        get(&[("host", "b.example")]),
        get(&[("host", "a.example:81")]),
        get(&[("host", "")]),
        host(""),
        host("a b"),
        host("a.example/x"),
        host("user@a.example"),
        host("a.example, b.example"),
        host("a.example:x"),
    ]);
}

#[test]
fn requests_that_are_refused_or_leave_as_one() {
    assert_one_meaning(&[
        get(&[("x", " a")]),
        get(&[("x", "a ")]),
        get(&[("x", "\ta")]),
        get(&[("host", "A.Example")]),
        get(&[("host", "a.example"), ("host", "b.example")]),
        with(&[(":scheme", Some(""))]),
        with(&[(":scheme", Some("https"))]),
        with(&[(":scheme", Some("ftp"))]),
    ]);
}

/// Sends a request in frames of its own, and hands out what left for it.
fn sent_on(fields: &[Field]) -> Request {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let mut client = Frames::connect(&listen, &[]);
    client.get(1, fields.iter().copied());
    let outcome = client.outcome(1);
    assert!(matches!(outcome, Outcome::Answered { status: 200, .. }), "{fields:?}: {outcome:?}");
    let mut requests = web.take();
    assert_eq!(requests.len(), 1, "{requests:#?}");
    drop(client);
    towpath.stop(1);
    requests.remove(0)
}

#[test]
fn odd_requests_that_leave_as_one() {
    let sent =
        sent_on(&get(&[("host", "a.example"), ("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")]));
    assert_eq!((sent.asks(), sent.field("host")), ("GET /x", vec!["a.example"]), "{sent:?}");
    // Servers of HTTP/1 expect all cookies in one field (RFC 9113, section 8.2.3).
    assert_eq!(sent.field("cookie"), ["a=1; b=2"]);
    let sent = sent_on(&[&with(&[(":authority", None)])[..], &[("host", "b.example")]].concat());
    assert_eq!(sent.field("host"), ["b.example"]);
    let sent = sent_on(&with(&[(":method", Some("OPTIONS")), (":path", Some("*"))]));
    assert_eq!(sent.asks(), "OPTIONS *");
    let sent = sent_on(&get(&[("x-forwarded-for", "192.0.2.1"), ("proxy-authorization", "Basic eA==")]));
    assert_eq!(sent.field("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(sent.field("proxy-authorization"), [""; 0]);
    assert_eq!(sent.field("content-length"), [""; 0], "a GET without a body tells of none");
}

/// A POST with these more fields and this body, in one frame of data; what became of it, and what left.
fn post(listen: &str, web: &Web, more: &[Field], body: &str) -> (Outcome, Vec<Request>) {
    let fields = [&with(&[(":method", Some("POST"))])[..], more].concat();
    let mut client = Frames::connect(listen, &[]);
    let head = frame(HEADERS, END_HEADERS, 1, &block(fields));
    client.send(&[head, frame(DATA, END_STREAM, 1, body.as_bytes())].concat());
    let outcome = client.outcome(1);
    (outcome, web.take())
}

#[test]
fn lengths_that_are_not_those_of_bodies() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    for (lengths, body) in [
        (&["5"][..], "abc"),
        (&["5"], ""),
        (&["3"], "hello"),
        (&["0"], "hello"),
        (&["+5"], "hello"),
        (&["-5"], "hello"),
        (&["0x5"], "hello"),
        (&["5 "], "hello"),
        (&["5, 5"], "hello"),
        (&[""], "hello"),
        (&["18446744073709551621"], "hello"),
        (&["5", "6"], "hello"),
        (&["5", "4"], "hello"),
    ] {
        let more: Vec<Field> = lengths.iter().map(|length| ("content-length", *length)).collect();
        let (outcome, requests) = post(&listen, &web, &more, body);
        assert!(is_refused(&outcome), "{lengths:?} {body:?}: {outcome:?}");
        assert_eq!(requests, [], "{lengths:?} {body:?}");
    }
    let mut client = Frames::connect(&listen, &[]);
    client.get(1, get(&[("content-length", "5")]));
    let outcome = client.outcome(1);
    assert!(is_refused(&outcome), "a length and no body: {outcome:?}");
    assert_eq!(web.take(), []);
    for more in [&[("content-length", "5")][..], &[]] {
        let (outcome, requests) = post(&listen, &web, more, "hello");
        assert!(matches!(outcome, Outcome::Answered { status: 200, .. }), "{outcome:?}");
        assert_eq!((requests.len(), requests[0].body.as_str()), (1, "hello"));
    }
    drop((client, towpath));
}

#[test]
fn bodies_that_are_given_up_are_no_requests() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let post = || frame(HEADERS, END_HEADERS, 1, &block(with(&[(":method", Some("POST"))])));
    let part = frame(DATA, 0, 1, b"hello");
    let mut client = Frames::connect(&listen, &[]);
    client.send(&[post(), part.clone(), frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())].concat());
    let mut other = Frames::connect(&listen, &[]);
    other.send(&[post(), part].concat());
    drop(other);
    // A request behind it on the same connection is served.
    client.get(3, GET);
    assert!(matches!(client.outcome(3), Outcome::Answered { status: 200, .. }));
    drop(client);
    // One that is given up at once may never have begun.
    towpath.signal(Signal::TERM);
    let records = towpath.wait().records;
    assert_eq!(records.iter().filter(|record| record.text("end") == "served").count(), 1, "{records:#?}");
    assert!(records.iter().all(|record| record.text("end") != "server reset"), "{records:#?}");
    assert_eq!(web.take_asked(), ["GET /x"]);
}

#[test]
fn trailers_that_are_none() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let head = frame(HEADERS, END_HEADERS, 1, &block(with(&[(":method", Some("POST"))])));
    let body = frame(DATA, 0, 1, b"hello");
    for trailers in [
        (":path", "/y"),
        ("X-Upper", "1"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("x", "a\r\ny: b"),
    ] {
        let mut client = Frames::connect(&listen, &[]);
        let trailing = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block([trailers]));
        client.send(&[&head[..], &body, &trailing].concat());
        let outcome = client.outcome(1);
        let left: Vec<String> = web.take().into_iter().map(|request| request.body).collect();
        // Refused, or left out.
        let is_fine = if is_refused(&outcome) { left.is_empty() } else { left == ["hello"] };
        assert!(is_fine, "{trailers:?}: {outcome:?}, {left:?}");
    }
    let mut client = Frames::connect(&listen, &[]);
    client.send(&[&head[..], &body, &frame(HEADERS, END_HEADERS, 1, &block([("x", "a")]))].concat());
    let outcome = client.outcome(1);
    assert!(is_refused(&outcome), "trailers that do not end the stream: {outcome:?}");
    assert_eq!(web.take(), []);
    let mut client = Frames::connect(&listen, &[]);
    let fields = [("x-sum", "1"), ("content-length", "7"), ("host", "b"), ("x-forwarded-for", "192.0.2.1")];
    client.send(&[&head[..], &body, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))].concat());
    assert!(matches!(client.outcome(1), Outcome::Answered { status: 200, .. }));
    assert_eq!(web.take()[0].body, "hello|x-sum: 1");
    drop((client, towpath));
}

#[test]
fn heads_of_streams_beyond_the_limit() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let large = "a".repeat(64 << 10);
    let mut client = Frames::connect(&listen, &[]);
    let block = block(GET.into_iter().chain([("x", large.as_str())]));
    let parts: Vec<&[u8]> = block.chunks(16 << 10).collect();
    client.send(&frame(HEADERS, END_STREAM, 1, parts[0]));
    for part in &parts[1..parts.len() - 1] {
        client.send(&frame(CONTINUATION, 0, 1, part));
    }
    client.send(&frame(CONTINUATION, END_HEADERS, 1, parts[parts.len() - 1]));
    let outcome = client.outcome(1);
    assert!(!matches!(outcome, Outcome::Answered { status: 200 | 204, .. }), "{outcome:?}");
    assert_eq!(web.take(), []);
    drop((client, towpath));
}

/// Backends of HTTP/2 are as far as the client's requests may reach: what they cannot be sent is the client's fault.
#[test]
fn a_path_that_http_2_cannot_carry_is_not_the_backends_fault() {
    let nginx = support::services::configured_h2();
    let (listen, towpath) = balancer(
        &[&nginx.address()],
        "",
        "http_version = \"2\"\neject_after = 1\nmax_ejected = 100\nhold = \"1s\"",
    );
    for path in ["/<", "/>", "/\"", "/`", "/{", "/}", "/|", "/\\", "/^", "/?<>"] {
        for _ in 0..3 {
            let answer = Client::connect(&listen).get(path);
            assert!(matches!(answer.status, 200 | 400 | 404), "{path}: {answer:?}");
            assert_eq!(Client::connect(&listen).get("/").status, 200, "behind {path}");
        }
    }
    drop(towpath);
}
