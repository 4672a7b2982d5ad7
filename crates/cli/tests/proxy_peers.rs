//! Connections go out through the proxies of others: each kind alone, in chains, and when they refuse.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use support::data::Data;
use support::net::{
    End, Server, assert_echo, connect, echo_server, end_writes, read_to_end, read_with, reset_after_delivery,
};
use support::ports::free_address;
use support::proxies::{
    certificate, dante, haproxy_tls, microsocks, nginx_tls, squid, ssh_dynamic, tinyproxy,
};
use support::services::Service;
use support::towpath::{Record, Towpath, command};

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

/// A towpath that is a proxy itself.
fn towpath_proxy(flags: &[&str]) -> (String, Towpath) {
    let listen = free_address();
    let arguments = ["proxy", &listen, "--allow-dest", "127.0.0.0/8", "--log-format", "json"];
    let towpath = Towpath::start(command(arguments.iter().chain(flags)));
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
    assert_eq!(read_to_end(&mut connect(&listen)), (Vec::new(), End::Reset), "{urls:?}");
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

/// Nobody but the last proxy knows this name; one whose addresses are looked up here fails at once.
#[test]
fn names_are_left_to_the_last_proxy() {
    let echo = Server::start();
    let target = format!("localhost:{}", echo.port());
    echo.echo();
    let (squid, socks, (ssh, _server)) = (squid(true), microsocks(None), ssh_dynamic());
    let urls = [open("http", &squid), open("socks5h", &socks), open("socks5h", &ssh), open("socks4a", &ssh)];
    for url in urls {
        // Left to itself towpath would ask this name server, where nobody is.
        let listen = free_address();
        let towpath = Towpath::file(&format!(
            "[dns]\nservers = \"{}\"\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
             [[pool]]\nname = \"out\"\nbackend = \"{target}\"\nvia = \"{url}\"\n",
            free_address()
        ));
        exchange(connect(&listen));
        assert_eq!(towpath.stop(1)[0].text("backend"), target);
    }
}

#[test]
fn tls_in_front_of_proxies() {
    let certificate = certificate();
    let (proxy, towpath) = towpath_proxy(&[]);
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
    assert_eq!(towpath.stdout.so_far().len(), towpath.records(0).len());
    assert_eq!(towpath.records(6).iter().filter(to_it).count(), 0, "nothing goes to one that is not trusted");
}

#[test]
fn chains_of_three() {
    let (squid, tinyproxy) = (squid(true), tinyproxy(Some(("bob", PASSWORD))));
    let (microsocks, dante) = (microsocks(Some(("bob", PASSWORD))), dante(None));
    let (ssh, _server) = ssh_dynamic();
    let (proxy, _towpath) = towpath_proxy(&["--user", &format!("bob:{PASSWORD}")]);
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
    let (proxy, _towpath) = towpath_proxy(&["--user", &format!("bob:{PASSWORD}")]);
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
    let (proxy, _towpath) = towpath_proxy(&[]);
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
    let (proxy, far) = towpath_proxy(&[]);
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
