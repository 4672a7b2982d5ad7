//! Bad input to a proxy: what comes back, what reaches a server, and the one record of each.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::Duration;

use support::net::{End, Server, connect, echo_server, end_writes, read_exactly, read_to_end, reset};
use support::ports::free_address;
use support::proxies::{Target, ask, ask_http, connect_to, proxy, read_head};
use support::towpath::{Record, Towpath};

/// Expects one record of each of `count` clients, all of which ended at `stage`.
fn assert_records(towpath: Towpath, count: usize, stage: &str) -> Vec<Record> {
    let records = towpath.stop(count);
    for record in &records {
        assert_eq!(record.text("stage"), stage, "{record:?}");
    }
    records
}

#[test]
fn connects_that_name_no_destination() {
    let (listen, towpath) = proxy(&[]);
    let echo = echo_server();
    let bad = [
        ("127.0.0.1".to_owned(), "no port"),
        ("127.0.0.1:".to_owned(), "not a port"),
        ("127.0.0.1:0".to_owned(), "not a port"),
        ("127.0.0.1:65536".to_owned(), "not a port"),
        ("127.0.0.1:+80".to_owned(), "not a port"),
        (format!("user@{echo}"), "user info"),
        (format!("user:password@{echo}"), "user info"),
        (format!("{echo}/path"), "a path"),
        (format!("{echo}?query"), "a path"),
        (format!("http://{echo}"), "a scheme"),
        ("::1:80".to_owned(), "brackets"),
        ("2001:db8::1:443".to_owned(), "brackets"),
        ("[::1:80".to_owned(), "brackets"),
        (":80".to_owned(), "not a host"),
        ("*:80".to_owned(), "not a host"),
    ];
    for (target, words) in &bad {
        let (status, told) = ask_http(&listen, &connect_to(target));
        assert_eq!((status, told), (400, format!("bad destination: {words}")), "{target}");
    }
    assert_records(towpath, bad.len(), "ask");
}

#[test]
fn connect_has_no_body() {
    let (listen, towpath) = proxy(&[]);
    let echo = echo_server();
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let request = format!("CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\n{field}\r\n\r\nhello");
        assert_eq!(ask_http(&listen, &request), (400, "bad request: a body of CONNECT".to_owned()));
    }
    let request = format!("CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\nContent-Length: 0\r\n\r\nhello");
    assert_eq!(ask_http(&listen, &request), (200, "hello".to_owned()));
    let records = towpath.stop(3);
    assert_eq!((records[2].end().as_str(), records[2].bytes()), ("relay: client closed", (5, 5)));
}

/// Each is refused as the first request of a client and as its second, and the server never hears of it.
fn assert_bad_requests(bad: &[(u16, String)], target: &Target) {
    let (listen, towpath) = proxy(&[]);
    for (status, request) in bad {
        let answer = ask_http(&listen, request);
        assert_eq!(answer.0, *status, "{request:?}: {answer:?}");
        assert_eq!(target.take_heads(), [""; 0], "{request:?}");
        let both = String::from_utf8(ask(&listen, (target.get("") + request).as_bytes())).unwrap();
        assert!(both.starts_with("HTTP/1.1 200 "), "{request:?}: {both}");
        assert!(both[1..].contains(&format!("HTTP/1.1 {status} ")), "{request:?}: {both}");
        assert_eq!(both.matches("HTTP/1.1 ").count(), 2, "{request:?}: {both}");
        assert_eq!(target.take_heads().len(), 1, "{request:?}");
    }
    let records = towpath.stop(3 * bad.len());
    let refused = records.iter().filter(|record| record.text("stage") == "ask");
    assert_eq!(refused.count(), 2 * bad.len(), "{records:#?}");
}

#[test]
fn requests_that_two_servers_could_read_in_two_ways() {
    let target = Target::start();
    let url = format!("http://{}/", target.address);
    let post = |fields: &str, body: &str| format!("POST {url} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    let bad = [
        (400, post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n")),
        (400, post("Content-Length: 1\r\nContent-Length: 1\r\n", "a")),
        (400, post("Content-Length: 1, 1\r\n", "a")),
        (400, post("Content-Length: +1\r\n", "a")),
        (400, post("Content-Length: 0x1\r\n", "a")),
        (400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        (501, post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        (400, target.get("X: a\r\n b\r\n")),
        (400, target.get("X: a\0b\r\n")),
        (400, target.get("X: a\rb\r\n")),
        (400, target.get("X: a\nY: b\r\n")),
        (400, target.get("X : a\r\n")),
        (400, target.get("Host: b\r\n")),
        (400, target.get("X: a").replace("\r\n", "\n")),
        (400, format!("GET {url}\0 HTTP/1.1\r\nHost: a\r\n\r\n")),
        (400, format!("GET  {url} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (400, format!("GET {url} HTTP/1.1\r\n\r\n")),
        (505, format!("GET {url} HTTP/2.0\r\nHost: a\r\n\r\n")),
    ];
    assert_bad_requests(&bad, &target);
}

#[test]
fn requests_for_something_else_than_a_proxy() {
    let target = Target::start();
    let at = &target.address;
    let port = at.rsplit_once(':').unwrap().1;
    let urls = [
        "/".to_owned(),
        "*".to_owned(),
        at.clone(),
        format!("https://{at}/"),
        format!("ftp://{at}/"),
        format!("http://user:password@{at}/"),
        format!("http://127.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        "http://127.0.0.1:0/".to_owned(),
        "http://:80/".to_owned(),
    ];
    let bad = urls.map(|url| (400, format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n")));
    assert_bad_requests(&bad, &target);
}

/// URLs that only look like some; each leaves a record, and its client reads why.
#[test]
fn urls_with_mistakes_are_told_like_others() {
    let (listen, towpath) = proxy(&[]);
    let urls =
        ["http://127.0.0.1%00/", "http://127.0.0.1/<", "http:/", "http://", "http:///x", "http://[::1/"];
    for url in urls {
        let (status, told) = ask_http(&listen, &format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((status, told.is_empty()), (400, false), "{url}");
    }
    assert_records(towpath, urls.len(), "ask");
}

#[test]
fn heads_beyond_the_limits() {
    let (target, long, longer) = (Target::start(), "a".repeat(9_000), "a".repeat(16_500));
    let fields = |count: usize| (1..count).map(|number| format!("X-{number}: 1\r\n")).collect::<String>();
    let connect = |fields: &str| format!("CONNECT {} HTTP/1.1\r\nHost: a\r\n{fields}\r\n", target.address);
    let bad = [
        (414, format!("GET http://{}/{long} HTTP/1.1\r\nHost: a\r\n\r\n", target.address)),
        (414, format!("GET http://{}/{long}", target.address)),
        (414, format!("CONNECT {long}:80 HTTP/1.1\r\nHost: a\r\n\r\n")),
        (431, target.get(&format!("X: {longer}\r\n"))),
        (431, target.get(&format!("X: {longer}"))),
        (431, target.get(&fields(101))),
        (431, connect(&format!("X: {longer}\r\n"))),
        (431, connect(&fields(101))),
    ];
    assert_bad_requests(&bad, &target);
    let (listen, towpath) = proxy(&[]);
    for request in [target.get(&fields(100)), target.get(&format!("X: {}\r\n", &longer[..16_000]))] {
        assert_eq!(ask_http(&listen, &request), (200, "ok".to_owned()));
    }
    towpath.stop(2);
}

#[test]
fn a_second_request_that_is_cut_off_is_told_like_a_first() {
    let (listen, towpath) = proxy(&[]);
    let target = Target::start();
    assert_eq!(ask(&listen, b"GET htt"), b"");
    assert!(ask(&listen, (target.get("") + "GET htt").as_bytes()).starts_with(b"HTTP/1.1 200 "));
    let records = towpath.stop(3);
    assert_eq!(records.iter().filter(|record| record.end() == "ask: ended early").count(), 2, "{records:#?}");
}

#[test]
fn a_bad_chunk_gets_one_answer_and_its_server_is_not_blamed() {
    for body in ["zz\r\n", "3\r\nabc\r\nzz\r\n", "3\r\nabcd\r\n", "3\nabc\r\n"] {
        let (listen, towpath) = proxy(&[]);
        let head = "HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let request = format!("POST http://{}/ {head}{body}", silent_server());
        assert_eq!(ask_http(&listen, &request), (400, "bad request: a chunk".to_owned()), "{body:?}");
        let records = towpath.stop(1);
        assert_eq!(records[0].text("end"), "bad request: a chunk", "{body:?}");
    }
}

#[test]
fn a_body_that_is_cut_off_is_its_clients_doing() {
    for (resets, end) in [(false, "ask: ended early"), (true, "ask: client reset")] {
        let (listen, towpath) = proxy(&[]);
        let server = Server::start();
        let mut client = connect(&listen);
        let head = "HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
        client.write_all(format!("POST http://{}/ {head}", server.address()).as_bytes()).unwrap();
        let mut server = server.accept();
        read_head(&mut server).unwrap();
        read_exactly(&mut server, 3);
        if resets {
            reset(client)
        } else {
            drop(client)
        }
        assert_eq!(read_to_end(&mut server), (Vec::new(), End::Reset));
        assert_eq!(towpath.stop(1)[0].end(), end);
    }
}

/// A server that takes everything and says nothing.
fn silent_server() -> String {
    let server = Server::start();
    let address = server.address();
    thread::spawn(move || {
        loop {
            let mut stream = server.accept();
            thread::spawn(move || read_to_end(&mut stream));
        }
    });
    address
}

#[test]
fn a_head_that_comes_byte_by_byte_is_late() {
    let (listen, target) = (free_address(), Target::start());
    let towpath = Towpath::file(&format!(
        "[[listener]]\nname = \"in\"\nmode = \"proxy\"\nbind = \"{listen}\"\nallow_dest = \"127.0.0.0/8\"\n\
         header_timeout = \"1s\"\n"
    ));
    let slow: [(&str, String, &str); 7] = [
        ("", target.get("X: endless"), "408"),
        ("", connect_to(&target.address), "408"),
        (&target.get(""), target.get("X: endless"), "408"),
        (&target.get(""), connect_to(&target.address), "408"),
        ("", "\x04\x01\0\x50\x7f\0\0\x01nobody-in-particular".to_owned(), ""),
        ("\x05\x01\0", "\x05\x01\0\x03\x30a-long-name".to_owned(), ""),
        ("", "\x05\x30\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01".to_owned(), ""),
    ];
    let clients = slow.map(|(at_once, slow, status)| {
        let listen = listen.clone();
        let (at_once, status) = (at_once.to_owned(), status.to_owned());
        thread::spawn(move || {
            let mut client = connect(&listen);
            client.write_all(at_once.as_bytes()).unwrap();
            let mut writer = client.try_clone().unwrap();
            thread::spawn(move || {
                for byte in slow.into_bytes() {
                    // sleep: the client is slow on purpose.
                    thread::sleep(Duration::from_millis(150));
                    if writer.write_all(&[byte]).is_err() {
                        return;
                    }
                }
            });
            let answer = String::from_utf8_lossy(&read_to_end(&mut client).0).into_owned();
            let (first, last) = (answer.split(' ').nth(1), answer.rsplit("HTTP/1.1 ").next().unwrap());
            match status.as_str() {
                "" => assert_eq!(first, None, "{answer:?}"),
                status => assert!(last.starts_with(status), "{answer:?}"),
            }
        })
    });
    clients.into_iter().for_each(|client| client.join().unwrap());
    let records = towpath.stop(slow_records());
    assert_eq!(records.iter().filter(|record| record.end() == "ask: late").count(), 7, "{records:#?}");
}

/// Seven that are late, and the two requests before.
fn slow_records() -> usize {
    9
}

#[test]
fn what_is_for_the_proxy_alone_stays_there() {
    let (listen, towpath) = proxy(&["--user", "bob:secret"]);
    let target = Target::start();
    let fields = "Proxy-Authorization: Basic Ym9iOnNlY3JldA==\r\nProxy-Connection: keep-alive\r\nX-One: 1\r\n\
                  X-Two: 2\r\nX-Kept: 3\r\nTE: trailers\r\nKeep-Alive: 5\r\nUpgrade: other\r\n\
                  Connection: x-one,  X-TWO , close\r\nAuthorization: Basic for-the-server\r\n";
    let request = target.get(fields).replace("Host: a.example", "Host: evil.example:1");
    assert_eq!(ask_http(&listen, &request), (200, "ok".to_owned()));
    let head = target.take_heads().remove(0);
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    lines.sort_unstable();
    let host = format!("Host: {}", target.address);
    let kept =
        ["Authorization: Basic for-the-server", "GET / HTTP/1.1", &host, "X-Kept: 3", "via: 1.1 towpath"];
    assert_eq!(lines, kept);
    let printed = format!("{:?}{:?}", towpath.stdout.so_far(), towpath.stderr.so_far());
    assert!(!printed.contains("secret") && !printed.contains("Ym9iOn"), "{printed}");
    assert_eq!(towpath.stop(1)[0].text("user"), "bob");
}

/// A request of SOCKS 5 behind its greeting.
fn v5(command: u8, kind: u8, address: &[u8], port: u16) -> Vec<u8> {
    [&[5, 1, 0, 5, command, 0, kind], address, &port.to_be_bytes()].concat()
}

/// The answer of SOCKS 5 behind the method that needs no login.
fn v5_answer(code: u8) -> Vec<u8> {
    vec![5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// A name with its length in front.
fn counted(name: &str) -> Vec<u8> {
    [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat()
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn socks_that_is_none() {
    let (listen, towpath) = proxy(&[]);
    let local = [127, 0, 0, 1];
    let port = port_of(&echo_server());
    let label = "a".repeat(63);
    let mut bad: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (vec![3, 1, 0], vec![]),
        (vec![6, 1, 0], vec![]),
        (vec![0, 1, 0], vec![]),
        (vec![5, 0], vec![5, 0xff]),
        ([vec![5, 255], (0..255).map(|_| 1).collect()].concat(), vec![5, 0xff]),
        // Of version 4 behind a greeting of version 5.
        (vec![5, 1, 0, 4, 1, 0, 1, 127, 0, 0, 1, 0, 80], vec![5, 0]),
        (v5(1, 1, &local, 0), v5_answer(1)),
        (v5(1, 3, &counted(""), port), v5_answer(1)),
        (v5(1, 3, &counted(&"a".repeat(255)), port), v5_answer(1)),
        (v5(1, 3, &counted(&format!("{label}.{label}.{label}.{label}")), port), v5_answer(1)),
        (v5(1, 3, &counted("127.0.0.1\0.example"), port), v5_answer(1)),
        (v5(1, 3, &counted("127.1"), port), v5_answer(1)),
        (v5(1, 3, &[2, 0xff, 0xfe], port), v5_answer(1)),
        (vec![4, 2, 0, 80, 127, 0, 0, 1, 0], vec![0, 0x5b, 0, 0, 0, 0, 0, 0]),
        (vec![4, 1, 0, 0, 127, 0, 0, 1, 0], vec![0, 0x5b, 0, 0, 0, 0, 0, 0]),
        (vec![4, 1, 0, 80, 0, 0, 0, 1, 0, 0], vec![0, 0x5b, 0, 0, 0, 0, 0, 0]),
        ([&[4, 1, 0, 80, 127, 0, 0, 1][..], &[b'u'; 300]].concat(), vec![0, 0x5b, 0, 0, 0, 0, 0, 0]),
        (vec![5, 1], vec![]),
        (vec![], vec![]),
    ];
    // BIND, UDP ASSOCIATE and what there is not; and types of addresses that there are not.
    bad.extend([0, 2, 3, 255].map(|command| (v5(command, 1, &local, port), v5_answer(7))));
    bad.extend([0, 2, 5, 255].map(|kind| (v5(1, kind, &local, port), v5_answer(8))));
    for (bytes, answer) in &bad {
        assert_eq!(ask(&listen, bytes), *answer, "{bytes:?}");
    }
    assert_records(towpath, bad.len(), "ask");
}

#[test]
fn requests_byte_by_byte_with_payload_behind() {
    let (listen, towpath) = proxy(&[]);
    let echo = echo_server();
    let port = port_of(&echo);
    let [high, low] = port.to_be_bytes();
    let granted = vec![0, 0x5a, 0, 0, 0, 0, 0, 0];
    let v4 = [&[4, 1, high, low, 127, 0, 0, 1][..], b"user\0"].concat();
    let v4a = [&[4, 1, high, low, 0, 0, 0, 1][..], b"user\0localhost\0"].concat();
    let login = [&[5, 2, 1, 2, 1, 1, b'a', 1, b'b', 5, 1, 0x7f, 3][..], &counted("localhost"), &[high, low]];
    let mapped = [&[0; 10][..], &[0xff, 0xff, 127, 0, 0, 1]].concat();
    let http = b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec();
    let good = [
        (v5(1, 1, &[127, 0, 0, 1], port), v5_answer(0)),
        (v5(1, 4, &mapped, port), v5_answer(0)),
        (v5(1, 3, &counted("127.0.0.1"), port), v5_answer(0)),
        // A login that nobody asked for, and a reserved byte that is not 0.
        (login.concat(), [&[5, 2, 1, 0][..], &v5_answer(0)[2..]].concat()),
        (v4, granted.clone()),
        (v4a, granted),
        (connect_to(&echo).into_bytes(), http),
    ];
    for (request, answer) in &good {
        let bytes = [&request[..], b"payload"].concat();
        let expected = [&answer[..], b"payload"].concat();
        assert_eq!(ask(&listen, &bytes), expected, "{request:?} at once");
        let mut client = connect(&listen);
        for byte in bytes {
            client.write_all(&[byte]).unwrap();
            thread::yield_now();
        }
        end_writes(&client);
        assert_eq!(read_to_end(&mut client), (expected, End::Fin), "{request:?} byte by byte");
    }
    assert_records(towpath, 2 * good.len(), "relay");
}
