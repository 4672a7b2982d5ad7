//! Connections go out through the proxies of others: each kind alone, in chains, and when they refuse.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use support::data::Data;
use support::net::{
    End, Server, assert_echo, assert_reset_or_refused, connect, echo_server, end_writes, read_to_end,
    read_with, reset_after_delivery,
};
use support::ports::free_address;
use support::proc::open_descriptors;
use support::proxies::{
    ask, certificate, dante, haproxy_tls, microsocks, nginx_tls, parent, proxy, read_head, saying, squid,
    ssh_dynamic, tinyproxy,
};
use support::services::Service;
use support::towpath::{Record, Towpath};
use support::{PATIENCE, wait_for};

/// The password that nobody may ever see.
const PASSWORD: &str = "hop-password";

/// As long, and not it.
const WRONG: &str = "wrong-passwd";

/// What goes up, and comes back.
const BULK: usize = 5_000_000;

/// `towpath tcp` to `target` through the proxies of these URLs.
fn through(target: &str, urls: &[&str], flags: &[&str]) -> (String, Towpath) {
    let listen = free_address();
    let vias = urls.iter().flat_map(|url| ["--via", url]);
    let towpath = Towpath::tcp(&listen, target, &vias.chain(flags.iter().copied()).collect::<Vec<_>>());
    (listen, towpath)
}

/// A URL with the user `bob`.
fn url(scheme: &str, proxy: &Service, password: &str) -> String {
    format!("{scheme}://bob:{password}@{}", proxy.address())
}

/// Sends megabytes to an echo server and expects them back, while they go.
fn exchange(mut client: TcpStream) {
    assert_echo(&mut client, "the first words");
    let mut writer = client.try_clone().unwrap();
    let writes = thread::spawn(move || writer.write_all(&Data::new(1).take(BULK)).unwrap());
    let mut data = Data::new(1);
    while data.count() < BULK as u64 {
        let bytes = support::net::read_exactly(&mut client, 50_000.min(BULK - data.count() as usize));
        data.check(&bytes);
    }
    writes.join().unwrap();
}

/// Expects two exchanges through the proxies to come about, and their records to tell nothing else.
fn assert_carries(urls: &[&str]) {
    let echo = echo_server();
    let (listen, towpath) = through(&echo, urls, &["--hold", "off"]);
    for _ in 0..2 {
        exchange(connect(&listen));
    }
    let records = towpath.records(2);
    for record in &records {
        let carried = BULK as u64 + 15;
        assert_eq!((record.bytes(), record.text("stage")), ((carried, carried), "relay"), "{urls:?}");
        assert_eq!(record.text("backend"), echo, "{urls:?}");
    }
    assert_hides(&towpath, &[PASSWORD]);
    towpath.stop(2);
}

/// Expects a client to be reset, and returns its record.
fn refused(target: &str, urls: &[&str], flags: &[&str]) -> (Record, Towpath) {
    let (listen, towpath) = through(target, urls, flags);
    assert_reset_or_refused(&listen);
    (towpath.record(), towpath)
}

/// Expects the record of a client to say `end`.
fn assert_refuses(target: &str, urls: &[&str], end: &str) {
    let (record, towpath) = refused(target, urls, &["--hold", "off"]);
    assert_eq!(record.end(), format!("connect: {end}"), "{urls:?}");
    assert_hides(&towpath, &[PASSWORD, WRONG]);
}

/// Expects none of `secrets` in what towpath prints, plain or in the form of Basic.
fn assert_hides(towpath: &Towpath, secrets: &[&str]) {
    let printed = [towpath.stdout.so_far(), towpath.stderr.so_far()].concat().join("\n");
    for secret in secrets {
        assert!(!printed.contains(secret), "{printed}");
    }
    // `bob:` and the beginning of a password (RFC 4648).
    for login in ["Ym9iOmhvc", "Ym9iOndyb"] {
        assert!(!printed.contains(login), "{printed}");
    }
}

/// The URL of a proxy that asks for no login.
fn open(scheme: &str, proxy: &Service) -> String {
    format!("{scheme}://{}", proxy.address())
}

#[test]
fn proxies_of_http() {
    let (lax, strict, squid) = (tinyproxy(None), tinyproxy(Some(("bob", PASSWORD))), squid(true));
    assert_carries(&[&open("http", &lax)]);
    assert_carries(&[&url("http", &strict, PASSWORD)]);
    assert_carries(&[&open("http", &squid)]);
}

#[test]
fn proxies_of_socks() {
    let (lax, strict, dante) = (microsocks(None), microsocks(Some(("bob", PASSWORD))), dante(None));
    let (ssh, _server) = ssh_dynamic();
    assert_carries(&[&open("socks5", &lax)]);
    assert_carries(&[&url("socks5", &strict, PASSWORD)]);
    assert_carries(&[&url("socks5h", &strict, PASSWORD)]);
    assert_carries(&[&open("socks5", &dante)]);
    assert_carries(&[&open("socks4a", &dante)]);
    assert_carries(&[&open("socks5h", &ssh)]);
    assert_carries(&[&open("socks4a", &ssh)]);
    // Those that ask for no login are not told it.
    assert_carries(&[&url("socks5", &dante, PASSWORD)]);
}

#[test]
fn names_are_left_to_the_last_proxy_if_it_takes_them() {
    let echo = Server::start();
    let target = format!("localhost:{}", echo.port());
    echo.echo();
    let (squid, socks, (ssh, _server)) = (squid(true), microsocks(None), ssh_dynamic());
    let left = [open("http", &squid), open("socks5h", &socks), open("socks5h", &ssh), open("socks4a", &ssh)];
    for (url, is_left) in left.iter().map(|url| (url, true)).chain([(&open("socks5", &socks), false)]) {
        let (listen, towpath) = through(&target, &[url], &["--hold", "off"]);
        exchange(connect(&listen));
        let record = towpath.stop(1).remove(0);
        assert_eq!((record.text("backend"), record.0["address"].is_null()), (&*target, is_left), "{url}");
    }
}

#[test]
fn tls_in_front_of_proxies() {
    let certificate = certificate();
    let (proxy, towpath) = proxy(&[]);
    let (haproxy, nginx) = (haproxy_tls(&certificate, &proxy), nginx_tls(&certificate, &proxy));
    let ca = &certificate.ca;
    assert_carries(&[&format!("https://{}?ca={ca}", haproxy.address())]);
    assert_carries(&[&format!("https://{}?ca={ca}", nginx.address())]);
    assert_carries(&[&format!("h2://{}?ca={ca}", nginx.address())]);
    // A certificate of an authority that is not known here, and one for another name.
    let echo = echo_server();
    for url in [
        format!("https://{}", haproxy.address()),
        format!("h2://{}", nginx.address()),
        format!("https://{}?ca={ca}&server_name=proxy.example", haproxy.address()),
    ] {
        assert_refuses(&echo, &[&url], "hop 1: no TLS");
    }
    let to_it = |record: &&Record| record.text("wanted") == echo;
    assert_eq!(towpath.records(6).iter().filter(to_it).count(), 0, "nothing goes to one that is not trusted");
}

#[test]
fn chains_of_three() {
    let (squid, tinyproxy) = (squid(true), tinyproxy(Some(("bob", PASSWORD))));
    let (microsocks, dante) = (microsocks(Some(("bob", PASSWORD))), dante(None));
    let (ssh, _server) = ssh_dynamic();
    let (proxy, _towpath) = proxy(&["--user", &format!("bob:{PASSWORD}")]);
    let (socks, h2c) = (url("socks5h", &microsocks, PASSWORD), format!("h2c://bob:{PASSWORD}@{proxy}"));
    let http = url("http", &tinyproxy, PASSWORD);
    let (squid, ssh) = (open("http", &squid), open("socks5h", &ssh));
    assert_carries(&[&squid, &socks, &h2c]);
    assert_carries(&[&h2c, &http, &open("socks4a", &dante)]);
    assert_carries(&[&open("socks5", &dante), &ssh, &http]);
}

#[test]
fn a_wrong_login_is_told_at_once_by_the_hop_that_wants_another() {
    let (http, socks) = (tinyproxy(Some(("bob", PASSWORD))), microsocks(Some(("bob", PASSWORD))));
    let (proxy, _towpath) = proxy(&["--user", &format!("bob:{PASSWORD}")]);
    let echo = echo_server();
    let (good, squid) = (url("http", &http, PASSWORD), squid(true));
    let wants = "wants another login";
    let bad = [
        // tinyproxy says what servers say.
        (vec![url("http", &http, WRONG)], "1: status 401".to_owned()),
        (vec![open("http", &http)], format!("1: {wants}")),
        (vec![url("socks5h", &socks, WRONG)], format!("1: {wants}")),
        (vec![open("socks5", &socks)], format!("1: {wants}")),
        (vec![format!("h2c://bob:{WRONG}@{proxy}")], format!("1: {wants}")),
        (vec![format!("http://bob:{WRONG}@{proxy}")], format!("1: {wants}")),
        (vec![open("http", &squid), url("socks5h", &socks, WRONG)], format!("2: {wants}")),
        (vec![open("http", &squid), good, format!("h2c://bob:{WRONG}@{proxy}")], format!("3: {wants}")),
    ];
    for (urls, end) in bad {
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        // Waiting does not mend it: the client is not held.
        let (record, towpath) = refused(&echo, &urls, &[]);
        assert_eq!(record.end(), format!("connect: hop {end}"), "{urls:?}");
        assert!(record.seconds() < 3.0, "{record:?}");
        assert_hides(&towpath, &[PASSWORD, WRONG]);
    }
}

#[test]
fn a_hop_that_refuses_is_named() {
    let (lax, shut, socks) = (squid(true), squid(false), microsocks(None));
    let (echo, dead) = (echo_server(), free_address());
    let blocked = dante(Some(echo.rsplit_once(':').unwrap().1.parse().unwrap()));
    let (lax, shut, socks) = (open("http", &lax), open("http", &shut), open("socks5h", &socks));
    assert_refuses(&echo, &[&shut], "hop 1: status 403");
    assert_refuses(&echo, &[&socks, &shut], "hop 2: status 403");
    assert_refuses(&echo, &[&lax, &socks, &shut], "hop 3: status 403");
    assert_refuses(&echo, &[&open("socks5", &blocked)], "hop 1: SOCKS code 2");
    assert_refuses(&echo, &[&socks, &open("socks4a", &blocked)], "hop 2: SOCKS 4 refused");
    // A server, or a proxy, behind it where nobody listens.
    assert_refuses(&dead, &[&lax], "hop 1: status 503");
    assert_refuses(&dead, &[&lax, &socks], "hop 2: SOCKS code 5");
    assert_refuses(&echo, &[&socks, &format!("http://{dead}")], "hop 1: SOCKS code 5");
    assert_refuses(&echo, &[&format!("http://bob:{PASSWORD}@{dead}"), &socks], "hop 1: connect refused");
    // Of another protocol than its URL says.
    assert_refuses(&echo, &[&socks.replace("socks5h", "http")], "hop 1: bad answer");
}

#[test]
fn one_dead_proxy_of_two_fails_nobody() {
    let (http, socks) = (squid(true), microsocks(None));
    let (proxy, _towpath) = proxy(&[]);
    let dead = free_address();
    let ways = [
        vec![format!("http://{dead},{}", http.address())],
        vec![format!("http://{},{dead}", http.address())],
        vec![format!("socks5h://{dead},{}", socks.address())],
        vec![format!("h2c://{dead},{proxy}")],
        vec![open("http", &http), format!("socks5h://{dead},{}", socks.address())],
        vec![format!("http://{dead},{}", http.address()), format!("h2c://{dead},{proxy}")],
    ];
    for urls in ways {
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let (listen, towpath) = through(&echo_server(), &urls, &["--hold", "off"]);
        for _ in 0..12 {
            assert_echo(&mut connect(&listen), "it works");
        }
        let records = towpath.stop(12);
        assert!(records.iter().all(|record| record.text("stage") == "relay"), "{urls:?}: {records:#?}");
    }
}

/// Starts a server and a client on the way through a proxy that speaks `scheme`, which is towpath too.
fn pair_through(scheme: &str) -> (TcpStream, TcpStream, [Towpath; 2]) {
    let server = Server::start();
    let (proxy, far) = proxy(&[]);
    let (listen, near) = through(&server.address(), &[&format!("{scheme}://{proxy}")], &[]);
    let client = connect(&listen);
    (client, server.accept(), [near, far])
}

#[test]
fn ends_and_late_answers_pass_through_every_kind() {
    for scheme in ["http", "h2c", "socks5h", "socks4a"] {
        let (mut client, mut server, _both) = pair_through(scheme);
        client.write_all(b"question").unwrap();
        end_writes(&client);
        assert_eq!(read_to_end(&mut server), (b"question".to_vec(), End::Fin), "{scheme}");
        server.write_all(b"late answer").unwrap();
        drop(server);
        assert_eq!(read_to_end(&mut client), (b"late answer".to_vec(), End::Fin), "{scheme}");
        let (mut client, mut server, _both) = pair_through(scheme);
        end_writes(&server);
        assert_eq!(read_to_end(&mut client), (Vec::new(), End::Fin), "{scheme}");
        client.write_all(b"late upload").unwrap();
        drop(client);
        assert_eq!(read_to_end(&mut server), (b"late upload".to_vec(), End::Fin), "{scheme}");
    }
}

/// What is cut off must not look whole.
fn assert_resets_pass_through(scheme: &str) {
    for client_resets in [true, false] {
        let (client, server, both) = pair_through(scheme);
        let (mut broken, mut other) = if client_resets { (client, server) } else { (server, client) };
        broken.write_all(&Data::new(2).take(100_000)).unwrap();
        reset_after_delivery(broken);
        let mut data = Data::new(2);
        let end = read_with(&mut other, |bytes| data.check(bytes));
        assert_eq!((data.count(), end), (100_000, End::Reset), "{scheme}, client resets: {client_resets}");
        drop(other);
        let who = if client_resets { "client" } else { "server" };
        let ends = both.map(|towpath| towpath.record().end());
        assert_eq!(ends, [format!("relay: {who} reset"), format!("relay: {who} reset")], "{scheme}");
    }
}

#[test]
fn resets_pass_through_connect_and_socks() {
    for scheme in ["http", "socks5h", "socks4a"] {
        assert_resets_pass_through(scheme);
    }
}

#[test]
fn resets_pass_through_streams_of_http2() {
    assert_resets_pass_through("h2c");
}

/// A server whose name only the parent knows, asked for by CONNECT, SOCKS 5 and SOCKS 4a.
const WANTED: [&[u8]; 3] = [
    b"CONNECT t.test:4444 HTTP/1.1\r\nHost: t.test:4444\r\nProxy-Authorization: Basic Y2xpZW50OmM=\r\n\r\n",
    b"\x05\x01\0\x05\x01\0\x03\x06t.test\x11\x5c",
    b"\x04\x01\x11\x5c\0\0\0\x01user\0t.test\0",
];

/// The answers to them that grant it.
const GRANTED: [&[u8]; 3] = [
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"\x05\0\x05\0\0\x01\0\0\0\0\0\0",
    b"\0\x5a\0\0\0\0\0\0",
];

#[test]
fn what_a_parent_refuses_is_told_in_the_words_of_each_protocol() {
    let endless = |line: &'static [u8], gap: u64| {
        parent(move |stream| {
            read_head(stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream.write_all(line).is_ok() {
                // sleep: it is slow on purpose.
                thread::sleep(Duration::from_millis(gap));
            }
        })
    };
    let socks = parent(|stream| {
        let _ = stream.read_exact(&mut [0; 3]).and_then(|()| stream.write_all(&[5, 0]));
        let _ =
            stream.read_exact(&mut [0; 13]).and_then(|()| stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]));
    });
    let challenge = "HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"parent\"\r\n\r\n";
    let cases = [
        (format!("http://bob:{PASSWORD}@{}", saying(challenge)), 502, 1, "wants another login"),
        (open_at(saying("HTTP/1.1 302 Found\r\nLocation: http://other/\r\n\r\n")), 502, 1, "status 302"),
        (open_at(saying("HTTP/1.1 403 Forbidden\r\n\r\n")), 502, 1, "status 403"),
        (open_at(saying("HTTP/1.1 502 Bad Gateway\r\n\r\n")), 502, 4, "status 502"),
        (open_at(saying("HTTP/1.1 504 Gateway Timeout\r\n\r\n")), 504, 4, "status 504"),
        (open_at(saying("HTTP/1.1 101 Other\r\n\r\nbytes")), 502, 1, "bad answer"),
        (open_at(saying("SSH-2.0-OpenSSH\r\n")), 502, 1, "bad answer"),
        (open_at(saying("HTTP/1.1 200 OK\nX: bare\n\n")), 502, 1, "bad answer"),
        (open_at(saying("HTTP/1.1 2")), 502, 1, "closed"),
        (open_at(saying("")), 502, 1, "closed"),
        (open_at(endless(&[b'a'; 4096], 0)), 502, 1, "bad answer"),
        (open_at(endless(b"X: a\r\n", 0)), 502, 1, "bad answer"),
        (open_at(endless(b"a", 100)), 504, 4, "timed out"),
        (format!("socks5h://{socks}"), 502, 5, "SOCKS code 5"),
    ];
    for (url, status, code, words) in cases {
        let (listen, towpath) = proxy(&["--via", &url, "--connect-timeout", "1s"]);
        let ask = || WANTED.map(|wanted| ask(&listen, &[wanted, b"payload"].concat()));
        let answers = ask();
        towpath.records(3);
        let before = open_descriptors(towpath.pid());
        assert_eq!(ask(), answers, "{url}");
        let start = format!("HTTP/1.1 {status} ");
        assert!(answers[0].starts_with(start.as_bytes()), "{url}: {}", String::from_utf8_lossy(&answers[0]));
        assert!(!String::from_utf8_lossy(&answers[0]).contains("parent"), "{url}");
        assert_eq!(answers[1], [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{url}");
        assert_eq!(answers[2], [0, 0x5b, 0, 0, 0, 0, 0, 0], "{url}");
        wait_for("as many descriptors as before", || {
            (open_descriptors(towpath.pid()) <= before).then_some(())
        });
        assert_hides(&towpath, &[PASSWORD, "Y2xpZW50OmM"]);
        for record in towpath.stop(6) {
            assert!(
                record.end().starts_with("connect: ") && record.end().ends_with(words),
                "{url}: {record:?}"
            );
        }
    }
}

fn open_at(parent: String) -> String {
    format!("http://{parent}")
}

#[test]
fn early_bytes_of_a_parent_reach_the_client_and_none_of_the_client_go_early() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    let parent = parent(move |stream| {
        kept.lock().unwrap().extend(read_head(stream));
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let early = stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(early, Err(ErrorKind::WouldBlock), "nothing comes before the answer");
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nearly ")
            .unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (payload, _) = read_to_end(stream);
        stream.write_all(&payload).unwrap();
    });
    let (listen, towpath) = proxy(&["--via", &format!("http://bob:{PASSWORD}@{parent}")]);
    let payload = Data::new(3).take(300_000);
    for (wanted, granted) in WANTED.iter().zip(GRANTED) {
        let answer = ask(&listen, &[*wanted, &payload].concat());
        assert!(answer == [granted, b"early ", &payload].concat(), "{} bytes", answer.len());
    }
    for head in heads.lock().unwrap().iter() {
        assert!(head.contains("Proxy-Authorization: Basic Ym9i") && !head.contains("Y2xpZW50OmM"), "{head}");
    }
    assert_hides(&towpath, &[PASSWORD, "Y2xpZW50OmM"]);
    towpath.stop(3);
}
