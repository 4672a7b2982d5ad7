//! What readers of proxies found once: rules that held for the first request alone, clients that left unnoticed, limits that
//! counted twice.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::net::{Server, connect, end_writes, read_exactly, reset};
use support::ports::free_address;
use support::services::nginx;
use support::towpath::{Towpath, command, output};
use support::wait_for;

fn proxy(listen: &str, flags: &[&str]) -> Towpath {
    let words = ["proxy", listen, "--allow-dest", "127.0.0.0/8", "--log-format", "json"];
    Towpath::start(command(words.iter().chain(flags)))
}

/// Asks on a connection that is kept, and tells the status of the answer.
fn ask(client: &mut TcpStream, url: &str) -> String {
    let host = url.split('/').nth(2).unwrap();
    write!(client, "GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_exactly(client, 1));
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
    read_exactly(client, length);
    head.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn each_request_to_a_parent_is_judged() {
    let (parent, listen, nginx) = (free_address(), free_address(), nginx());
    let parent_proxy = proxy(&parent, &[]);
    let towpath = proxy(&listen, &["--via", &format!("http://{parent}"), "--deny-dest", "*.internal"]);
    let mut client = connect(listen.as_str());
    let fine = format!("http://{}/", nginx.address());
    for (url, status) in [
        (fine.as_str(), "403"), // nginx has no page there, which it says itself
        ("http://x.internal/", "403"),
        ("http://169.254.169.254/", "403"),
        ("http://localhost/", "403"),
        (fine.as_str(), "403"),
    ] {
        assert_eq!(ask(&mut client, url), status, "{url}");
    }
    drop(client);
    let ends: Vec<_> = towpath.stop(5).iter().map(|record| record.end()).collect();
    assert_eq!(ends[0], "answer: served");
    assert_eq!(
        ends[1..4],
        ["route: denied by deny_dest", "route: denied: link-local", "route: denied: loopback"]
    );
    assert_eq!(parent_proxy.stop(2).len(), 2, "only those that were let through");
}

#[test]
fn names_that_a_parent_looks_up_need_a_rule_of_their_own() {
    let (parent, listen) = (free_address(), free_address());
    let parent_proxy = proxy(&parent, &[]);
    let flags = ["--via", &format!("http://{parent}"), "--deny-dest", "*", "--allow-dest", "*.example:1"];
    let towpath = proxy(&listen, &flags);
    for (target, answer) in [("a.test:1", "403"), ("localhost:1", "403"), ("a.example:1", "502")] {
        let mut client = connect(listen.as_str());
        write!(client, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said.split(' ').nth(1), Some(answer), "{target}: {said}");
    }
    towpath.stop(3);
    drop(parent_proxy);
}

#[test]
fn a_client_that_leaves_a_silent_answer_is_noticed() {
    let (listen, server) = (free_address(), Server::start());
    let towpath = proxy(&listen, &[]);
    let mut client = connect(listen.as_str());
    let url = format!("http://{}/events", server.address());
    write!(client, "GET {url} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address()).unwrap();
    let mut far = server.accept();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_exactly(&mut far, 1));
    }
    far.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n").unwrap();
    wait_for("the event", || {
        String::from_utf8(read_exactly(&mut client, 1)).unwrap().starts_with('e').then_some(())
    });
    reset(client);
    assert!(matches!(far.read(&mut [0; 8]), Ok(0) | Err(_)), "its server is left too");
    assert_eq!(towpath.record().end(), "answer: client reset");
}

#[test]
fn a_request_takes_no_second_place_and_an_upgrade_keeps_the_one_it_has() {
    let (listen, nginx, server) = (free_address(), nginx(), Server::start());
    let towpath = proxy(&listen, &["--max-connections", "1"]);
    let mut client = connect(listen.as_str());
    assert_eq!(ask(&mut client, &format!("http://{}/", nginx.address())), "403");
    let ask = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        server.address()
    );
    client.write_all(ask.as_bytes()).unwrap();
    let mut far = server.accept();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_exactly(&mut far, 1));
    }
    far.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello")
        .unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"hello") {
        said.extend(read_exactly(&mut client, 1));
    }
    // Nobody else has a place meanwhile.
    let mut next = connect(listen.as_str());
    next.write_all(b"CONNECT").unwrap();
    client.write_all(b"on").unwrap();
    assert_eq!(read_exactly(&mut far, 2), b"on");
    end_writes(&client);
    drop(far);
    drop((client, next));
    let records = towpath.records(2);
    assert_eq!(records[1].text("wanted"), server.address());
}

#[test]
fn an_empty_list_of_users_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("towpath.toml");
    std::fs::write(&file, "[[listener]]\nname = 'p'\nmode = 'proxy'\nbind = ':3128'\nusers = []\n").unwrap();
    let (code, _, stderr) = output(command(["check".as_ref(), file.as_os_str()]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("`users` lets nobody in"), "{stderr}");
}

#[test]
fn a_hop_may_be_a_pool_with_checks_of_its_own() {
    let (live, dead, listen) = (free_address(), free_address(), free_address());
    let parent = proxy(&live, &[]);
    let echo = support::net::echo_server();
    let towpath = Towpath::file(&format!(
        "[[listener]]\nname = 'in'\nbind = '{listen}'\npool = 'echo'\n\
         [[pool]]\nname = 'echo'\nbackend = '{echo}'\nvia = 'pool+socks5h://proxies'\n\
         [[pool]]\nname = 'proxies'\nbackend = ['{dead}', '{live}']\n\
         check = {{ kind = 'tcp', interval = '100ms', fall = 1 }}\n"
    ));
    towpath.stderr.wait("the check", |lines| {
        lines.iter().any(|line| line.contains("pool proxies") && line.contains("is down")).then_some(())
    });
    for number in 0..4 {
        support::net::assert_echo(&mut connect(listen.as_str()), &format!("hello {number}"));
    }
    towpath.stop(4);
    drop(parent);
}
