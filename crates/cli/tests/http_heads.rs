//! Heads as clients, trusted proxies and the rules of a file write them: which route they take, and what is left of them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use support::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, block, frame};
use support::net::{Server, read_exactly};
use support::raw_web::{Answer, Client, Request, Web, balancer};

/// Asks for a path, with more fields, on a connection of its own.
fn get(listen: &str, path: &str, fields: &str) -> Answer {
    Client::connect(listen).ask(&format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"))
}

#[test]
fn a_client_of_http_1_0_that_says_keep_alive_and_close_is_let_go() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let ask = |client: &mut Client, fields: &str| {
        client.ask(&format!("GET / HTTP/1.0\r\nHost: a.example\r\n{fields}\r\n\r\n"))
    };
    for fields in [
        "Connection: keep-alive, close",
        "Connection: close,Keep-Alive",
        "Connection: keep-alive\r\nConnection: close",
    ] {
        let mut client = Client::connect(&listen);
        // One that says less stays.
        assert_eq!(ask(&mut client, "Connection: keep-alive").field("connection"), ["keep-alive"]);
        let answer = ask(&mut client, fields);
        assert_eq!((answer.status, answer.field("connection")), (200, vec!["close"]), "{fields:?}");
        client.assert_closed();
    }
    towpath.stop(6);
}

#[test]
fn a_field_that_a_rule_sets_or_takes_out_has_no_twin() {
    let web = Web::start();
    let rules = "request_fields = { set = { \"x-user\" = \"alice\" }, remove = [\"x-role\"] }";
    let (listen, towpath) = balancer(&[&web.address], rules, "");
    let lies = [
        "X_User: mallory\r\n",
        "x-user: mallory\r\nX_USER: mallory\r\nx_user: eve\r\n",
        "X_Role: admin\r\nx-role: admin\r\n",
        "X_User: mallory\r\nConnection: x-user, x_user\r\n",
    ];
    for lies in lies {
        assert_eq!(get(&listen, "/", &format!("{lies}X_Other: kept\r\n")).status, 200, "{lies:?}");
        let sent = web.take().remove(0);
        let fields = sent.lines()[1..].join("\n").to_lowercase().replace('_', "-");
        let told: Vec<&str> =
            fields.lines().filter(|line| line.starts_with("x-user") || line.starts_with("x-role")).collect();
        assert_eq!(told, ["x-user: alice"], "{lies:?}: {sent:?}");
        assert_eq!(sent.field("x_other"), ["kept"], "{sent:?}");
    }
    towpath.stop(lies.len());
}

#[test]
fn whom_a_trusted_peer_speaks_for_in_forwarded_is_the_client() {
    let web = Web::start();
    let routes = "route = [{ path = \"/inner\", pool = \"web\", allow = [\"203.0.113.0/24\"] },\n\
                  { path = \"/outer\", pool = \"web\", deny = [\"203.0.113.0/24\"] },\n\
                  { path = \"/rare\", pool = \"web\", rate = \"1/h\" }]";
    let (listen, towpath) = balancer(&[&web.address], &format!("trusted = \"127.0.0.1\"\n{routes}"), "");
    let statuses = |fields: &str| ["/inner", "/outer"].map(|path| get(&listen, path, fields).status);
    let ours = [
        "Forwarded: for=203.0.113.9\r\n",
        "forwarded: proto=https;For=\"203.0.113.9:4711\";by=10.0.0.1\r\n",
        // Whoever wrote the first one is not trusted.
        "Forwarded: for=198.51.100.7\r\nForwarded: for=203.0.113.9, for=127.0.0.1\r\n",
    ];
    let others = [
        "",
        "Forwarded: for=198.51.100.7\r\n",
        "Forwarded: for=203.0.113.9, for=198.51.100.7\r\n",
        "Forwarded: for=203.0.113.9, for=_hidden\r\n",
        // The older field is the word of all who write it.
        "Forwarded: for=203.0.113.9\r\nX-Forwarded-For: 198.51.100.7\r\n",
    ];
    for fields in ours {
        assert_eq!(statuses(fields), [200, 403], "{fields:?}");
    }
    for fields in others {
        assert_eq!(statuses(fields), [403, 200], "{fields:?}");
    }
    let rare = |ip: &str| get(&listen, "/rare", &format!("Forwarded: for={ip}\r\n")).status;
    assert_eq!(["203.0.113.9", "203.0.113.9", "203.0.113.10"].map(rare), [200, 429, 200]);
    let records = towpath.stop(2 * (ours.len() + others.len()) + 3);
    let of_ours = records.iter().take(2 * ours.len());
    assert!(of_ours.clone().all(|record| record.text("client").starts_with("203.0.113.9")), "{records:#?}");
    // One that is not trusted speaks for itself.
    let (listen, towpath) = balancer(&[&web.address], routes, "");
    assert_eq!(get(&listen, "/inner", ours[0]).status, 403);
    towpath.stop(1);
}

/// A backend that goes over to another protocol, in which it echoes.
fn upgrading() -> Web {
    Web::answering(|request: &Request, stream: &mut TcpStream| {
        let over = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\nServer: one\r\n\r\n";
        assert_eq!(request.field("upgrade"), ["other"]);
        stream.write_all(over.as_bytes()).unwrap();
        let got = read_exactly(stream, 5);
        stream.write_all(&got).unwrap();
        false
    })
}

#[test]
fn an_upgrade_brings_the_cookie_and_the_fields_of_the_rules() {
    let webs = [upgrading(), upgrading()];
    let rules = "response_fields = { set = { \"x-gate\" = \"{path}\" }, remove = [\"server\"] }";
    let sticky = "sticky = { cookie = \"towpath\", secret = \"0123456789abcdef0123\" }";
    let (listen, towpath) = balancer(&[&webs[0].address, &webs[1].address], rules, sticky);
    let upgrade = |cookie: &str| {
        let mut client = Client::connect(&listen);
        let fields = format!("Host: a.example\r\nConnection: upgrade\r\nUpgrade: other\r\n{cookie}");
        let answer = client.ask(&format!("GET /ws HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!((answer.status, answer.field("upgrade")), (101, vec!["other"]), "{answer:?}");
        assert_eq!((answer.field("x-gate"), answer.field("server")), (vec!["/ws"], vec![]), "{answer:?}");
        client.send("hello");
        assert_eq!(client.rest(), "hello");
        answer
    };
    let answer = upgrade("");
    let cookies = answer.field("set-cookie");
    assert!(cookies.len() == 1 && cookies[0].starts_with("towpath="), "{answer:?}");
    let cookie = format!("Cookie: {}\r\n", cookies[0].split(';').next().unwrap());
    let home = webs.iter().position(|web| !web.take().is_empty()).unwrap();
    for _ in 0..3 {
        assert_eq!(upgrade(&cookie).field("set-cookie"), [""; 0], "it has one");
    }
    assert_eq!((webs[home].take().len(), webs[1 - home].take().len()), (3, 0), "it brings them back");
    towpath.stop(4);
}

#[test]
fn paths_of_the_file_are_read_as_those_of_requests_are() {
    let web = Web::start();
    let admin =
        (&["/admin", "/%61dmin/x", "//admin", "/x/../admin/"][..], &["/administrator", "/%2561dmin"][..]);
    let cafe =
        (&["/caf%C3%A9", "/caf%c3%a9", "//caf%c3%A9"][..], &["/cafe", "/caf%C3%A9/x", "/caf%25C3%25A9"][..]);
    for (route, (fitting, others)) in [
        ("path_prefix = \"/%61dmin\"", admin),
        ("path_prefix = \"//admin\"", admin),
        ("path = \"/caf%c3%a9\"", cafe),
        ("path = \"/caf%C3%A9\"", cafe),
    ] {
        let routes = format!("route = [{{ {route}, answer = \"fits\" }}]");
        let (listen, towpath) = balancer(&[&web.address], &routes, "");
        for path in fitting {
            assert_eq!(get(&listen, path, "").body, "fits", "{route} and {path}");
        }
        for path in others {
            assert_eq!(get(&listen, path, "").body, format!("GET {path} "), "{route} and {path}");
        }
        towpath.stop(fitting.len() + others.len());
    }
}

#[test]
fn a_prefix_is_taken_off_and_the_rest_stays_as_it_is_written() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "strip_prefix = \"/api\"", "");
    let good = [
        ("/api/a;id=1/b", "/a;id=1/b"),
        ("/api/a%2fb", "/a%2fb"),
        ("/api/a//x?y=%2F", "/a//x?y=%2F"),
        ("/api/%61", "/%61"),
        ("/api", "/"),
        // What begins with two slashes is a host to some.
        ("/api//x", "/x"),
        ("/apix//y", "/apix//y"),
    ];
    for (path, expected) in good {
        assert_eq!(get(&listen, path, "").body, format!("GET {expected} "), "{path}");
    }
    let bad = ["/%61pi/x", "//api/x", "/x/../api/y", "/api/../x"];
    for path in bad {
        assert_eq!(get(&listen, path, "").status, 400, "{path}");
    }
    assert_eq!(web.take().len(), good.len());
    towpath.stop(good.len() + bad.len());
}

#[test]
fn a_host_may_end_in_the_dot_of_the_root() {
    let web = Web::start();
    let routes =
        "route = [{ host = \"a.example\", answer = \"a\" }, { host = \"*.b.example\", answer = \"b\" }]";
    let (listen, towpath) = balancer(&[&web.address], routes, "");
    let cases = [
        ("a.example", "a"),
        ("a.example.", "a"),
        ("A.Example.:8080", "a"),
        ("x.b.example.", "b"),
        ("aa.example.", "GET / "),
    ];
    for (host, expected) in cases {
        let answer = Client::connect(&listen).ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.body, expected, "{host}");
    }
    towpath.stop(cases.len());
}

/// Text that would be compressed, if there is any.
fn texts() -> Web {
    Web::answering(|request, stream| {
        let text = "The towpath runs along the canal. ".repeat(200);
        let (status, length, body) = match (request.path(), &request.head[..4]) {
            ("/empty", _) => ("200 OK", Some(0), ""),
            ("/none", _) => ("204 No Content", None, ""),
            ("/same", _) => ("304 Not Modified", None, ""),
            (_, "HEAD") => ("200 OK", Some(text.len()), ""),
            _ => ("200 OK", Some(text.len()), &*text),
        };
        let length = length.map_or(String::new(), |length| format!("Content-Length: {length}\r\n"));
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nETag: \"one\"\r\n{length}\r\n");
        stream.write_all((head + body).as_bytes()).is_ok()
    })
}

#[test]
fn an_answer_without_a_body_gets_none_by_being_compressed() {
    let web = texts();
    let (listen, towpath) = balancer(&[&web.address], "compress = true", "");
    // All on one connection, on which a byte too many would be the next answer.
    let mut client = Client::connect(&listen);
    let mut ask = |method: &str, path: &str| {
        let fields = "Host: a.example\r\nAccept-Encoding: gzip\r\n";
        client.ask(&format!("{method} {path} HTTP/1.1\r\n{fields}\r\n"))
    };
    let text = ask("GET", "/text");
    assert_eq!((text.field("content-encoding"), text.is_whole), (vec!["gzip"], true), "{}", text.head);
    let head = ask("HEAD", "/text");
    assert_eq!(
        (head.field("content-encoding"), head.field("content-length")),
        (vec!["gzip"], vec![]),
        "{head:?}"
    );
    for (path, status) in [("/empty", 200), ("/none", 204), ("/same", 304)] {
        for method in ["GET", "HEAD"] {
            let answer = ask(method, path);
            assert_eq!((answer.status, answer.body.as_str(), answer.is_whole), (status, "", true));
            assert_eq!(answer.field("content-encoding"), [""; 0], "{answer:?}");
            assert_eq!(answer.field("transfer-encoding"), [""; 0], "{answer:?}");
        }
    }
    assert_eq!(ask("GET", "/text").body, text.body);
    towpath.stop(9);
}

/// It tells no length, and need not: its stream is over with the head.
#[test]
fn an_answer_of_http_2_that_is_all_head_stays_so() {
    let server = Server::start();
    let address = server.address();
    thread::spawn(move || {
        let mut server = Frames::welcome(server.accept());
        while let Some(asked) = server.next() {
            if asked.kind == HEADERS {
                let head = block([(":status", "200"), ("content-type", "text/plain")]);
                server.send(&frame(HEADERS, END_STREAM | END_HEADERS, asked.stream, &head));
            }
        }
    });
    let (listen, towpath) = balancer(&[&address], "compress = true", "http_version = \"2\"");
    let mut client = Client::connect(&listen);
    for _ in 0..3 {
        let answer =
            client.ask("GET / HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip, br, zstd\r\n\r\n");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
        assert_eq!((answer.field("content-encoding"), answer.field("content-length")), (vec![], vec!["0"]));
    }
    towpath.stop(3);
}
