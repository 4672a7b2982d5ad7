//! Clients without a server yet: held, in line, or on their way to another.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::net::{End, Server, assert_echo, connect, end_writes, pair, read_exactly, read_to_end, reset};
use support::odd::{resetting, silent};
use support::ports::free_address;
use support::proc::cpu_seconds;
use support::towpath::Towpath;
use support::wait_for;

fn config(listen: &str, backends: &[&str], more: &str) -> String {
    format!(
        "workers = 1\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = [{}]\n{more}\n",
        backends.join(", ")
    )
}

fn quoted(address: &str) -> String {
    format!("\"{address}\"")
}

#[test]
fn a_client_that_was_held_in_vain_is_reset() {
    let listen = free_address();
    let towpath = Towpath::file(&config(&listen, &[&quoted(&free_address())], "hold = \"300ms\""));
    let start = Instant::now();
    assert_eq!(read_to_end(&mut connect(&listen)), (Vec::new(), End::Reset));
    assert!((300..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(towpath.stop(1)[0].end(), "connect: connect refused");
}

#[test]
fn a_full_pool_has_a_queue_with_an_end() {
    let listen = free_address();
    let server = support::net::Server::start();
    let text = format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = [{{ address = \"{}\", max_connections = 1 }}]\nqueue = 1\n",
        server.address()
    );
    let towpath = Towpath::file(&text);
    let (first, second) = (connect(&listen), server.accept());
    let mut queued = connect(&listen);
    queued.write_all(b"hello").unwrap();
    wait_for("the queue to be full", || {
        let (got, end) = read_to_end(&mut connect(&listen));
        assert!(got.is_empty());
        (end == End::Reset).then_some(())
    });
    drop((first, second));
    let mut served = server.accept();
    assert_eq!(support::net::read_exactly(&mut served, 5), b"hello");
    drop((served, queued));
    let records = towpath.stop(3);
    assert!(records.iter().any(|record| record.end() == "connect: queue full"), "{records:#?}");
}

#[test]
fn a_backend_that_comes_back_is_found_beside_a_silent_one() {
    let (listen, away, (silent, _filling)) = (free_address(), free_address(), silent());
    let silent = silent.local_addr().unwrap().as_socket().unwrap().to_string();
    let _towpath = Towpath::file(&config(&listen, &[&quoted(&silent), &quoted(&away)], ""));
    let start = Instant::now();
    let mut client = connect(&listen);
    // sleep: how long the other one is away.
    thread::sleep(Duration::from_millis(700));
    Server::on(&away).echo();
    assert_echo(&mut client, "found");
    assert!(start.elapsed() < Duration::from_secs(4), "not only when the silent one is given up");
}

#[test]
fn a_client_in_line_finds_a_backend_that_comes_back() {
    let (listen, away, full) = (free_address(), free_address(), Server::start());
    let limited = format!("{{ address = \"{}\", max_connections = 1 }}", full.address());
    let _towpath = Towpath::file(&config(&listen, &[&quoted(&away), &limited], ""));
    let (_first, _served) = pair(&listen, &full);
    let mut client = connect(&listen);
    // sleep: how long the other one is away.
    thread::sleep(Duration::from_millis(700));
    Server::on(&away).echo();
    assert_echo(&mut client, "found");
}

#[test]
fn clients_in_line_are_served_in_the_order_in_which_they_came() {
    let (listen, server) = (free_address(), Server::start());
    let limited = format!("{{ address = \"{}\", max_connections = 1 }}", server.address());
    let towpath = Towpath::file(&config(&listen, &[&limited], "eject_after = \"off\""));
    let (first, served) = pair(&listen, &server);
    let clients: Vec<_> = (0..20u8)
        .map(|number| {
            let mut client = connect(&listen);
            client.write_all(&[number]).unwrap();
            client
        })
        .collect();
    drop((first, served));
    let next = |_| {
        let mut served = server.accept();
        let number = read_exactly(&mut served, 1)[0];
        reset(served);
        number
    };
    let order: Vec<u8> = clients.iter().map(next).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
    drop(clients);
    towpath.stop(21);
}

#[test]
fn clients_in_line_beside_a_backend_that_refuses_rest_and_are_told_in_time() {
    let (listen, full) = (free_address(), Server::start());
    let limited = format!("{{ address = \"{}\", max_connections = 1 }}", full.address());
    let more = "eject_after = \"off\"\nqueue_timeout = \"2s\"\nconnect_timeout_total = \"5s\"";
    let towpath = Towpath::file(&config(&listen, &[&limited, &quoted(&free_address())], more));
    let (_first, _served) = pair(&listen, &full);
    let before = cpu_seconds(towpath.pid());
    let mut clients: Vec<_> = (0..10).map(|_| connect(&listen)).collect();
    for client in &mut clients {
        assert_eq!(read_to_end(client), (Vec::new(), End::Reset));
    }
    let used = cpu_seconds(towpath.pid()) - before;
    assert!(used < 0.5, "{used} s of CPU for ten clients that wait");
    let records = towpath.records(10);
    assert!(records.iter().all(|record| record.end() == "connect: queue timed out"), "{records:#?}");
}

#[test]
fn a_client_is_held_no_longer_because_another_backend_resets() {
    let (listen, away, resetting) = (free_address(), free_address(), resetting(true));
    let more = "replay = \"always\"\nhold = \"500ms\"\neject_after = \"off\"";
    let towpath = Towpath::file(&config(&listen, &[&quoted(&away), &quoted(&resetting)], more));
    let mut client = connect(&listen);
    client.write_all(b"question").unwrap();
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    let record = towpath.record();
    assert!((0.4..5.0).contains(&record.seconds()), "{record:?}");
}

#[test]
fn a_client_that_has_sent_nothing_outlives_its_only_server() {
    let (listen, server) = (free_address(), Server::start());
    let address = server.address();
    let _towpath = Towpath::file(&config(&listen, &[&quoted(&address)], ""));
    let (mut client, served) = pair(&listen, &server);
    drop(server);
    reset(served);
    // sleep: how long the server is away.
    thread::sleep(Duration::from_millis(500));
    Server::on(&address).echo();
    assert_echo(&mut client, "still here");
}

#[test]
fn a_client_that_is_held_finds_the_backends_of_a_reload() {
    let (listen, server) = (free_address(), Server::start());
    let more = "hold = \"20s\"\nmax_ejected = 100";
    let towpath = Towpath::file(&config(&listen, &[&quoted(&free_address())], more));
    let mut client = connect(&listen);
    towpath.stderr.wait_for("is out for");
    let text = config(&listen, &[&quoted(&server.address())], "hold = \"20s\"");
    std::fs::write(towpath.folder().join("towpath.toml"), text).unwrap();
    towpath.signal(Signal::HUP);
    server.echo();
    assert_echo(&mut client, "found");
}

#[test]
fn what_a_client_sends_after_it_was_told_the_end_goes_nowhere_else() {
    let (listen, ending, other) = (free_address(), Server::start(), Server::start());
    let backends = [quoted(&ending.address()), quoted(&other.address())];
    let towpath = Towpath::file(&config(&listen, &[&backends[0], &backends[1]], "replay = \"always\""));
    let mut client = connect(&listen);
    let served = ending.accept();
    end_writes(&served);
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Fin));
    client.write_all(b"order").unwrap();
    let mut served = served;
    read_exactly(&mut served, 5);
    reset(served);
    let record = towpath.record();
    assert_eq!((record.end().as_str(), record.text("backend")), ("relay: server reset", &*ending.address()));
}

#[test]
fn a_server_that_never_speaks_comes_back_too() {
    let (listen, away) = (free_address(), free_address());
    let towpath = Towpath::file(&config(
        &listen,
        &[&quoted(&away)],
        "eject_time = \"200ms\"\nmax_ejected = 100\nhold = \"20s\"",
    ));
    let mut client = connect(&listen);
    client.write_all(b"log line").unwrap();
    towpath.stderr.wait_for("is out for");
    let server = Server::on(&away);
    let mut served = server.accept();
    assert_eq!(read_exactly(&mut served, 8), b"log line");
    towpath.stderr.wait_for("is back");
}

#[test]
fn a_server_that_never_speaks_comes_back_without_keepalive_too() {
    let (listen, away) = (free_address(), free_address());
    let more = "eject_time = \"200ms\"\nmax_ejected = 100\nhold = \"20s\"\nkeepalive = \"off\"";
    let towpath = Towpath::file(&config(&listen, &[&quoted(&away)], more));
    let _client = connect(&listen);
    towpath.stderr.wait_for("is out for");
    let server = Server::on(&away);
    let _served = server.accept();
    towpath.stderr.wait_for("is back");
}

#[test]
fn a_limit_that_a_reload_raises_lets_those_in_who_wait() {
    let (listen, server) = (free_address(), Server::start());
    let text = |limit: u32| {
        config(&listen, &[&quoted(&server.address())], "")
            .replace("bind", &format!("max_connections = {limit}\nbind"))
    };
    let towpath = Towpath::file(&text(1));
    let (_first, _served) = pair(&listen, &server);
    let mut second = connect(&listen);
    second.write_all(b"wait").unwrap();
    std::fs::write(towpath.folder().join("towpath.toml"), text(2)).unwrap();
    towpath.signal(Signal::HUP);
    assert_eq!(read_exactly(&mut server.accept(), 4), b"wait");
}

#[test]
fn a_probe_that_leaves_at_once_lets_another_go() {
    let (listen, away) = (free_address(), free_address());
    let more = "eject_time = \"100ms\"\neject_time_max = \"100ms\"\nmax_ejected = 100\nhold = \"100ms\"";
    let towpath = Towpath::file(&config(&listen, &[&quoted(&away)], more));
    assert_eq!(read_to_end(&mut connect(&listen)).1, End::Reset);
    towpath.stderr.wait_for("is out for");
    let server = Server::on(&away);
    for _ in 0..3 {
        // Each is the probe, or comes while the backend rests; none says how the backend is.
        let (client, served) = pair(&listen, &server);
        reset(client);
        drop(served);
    }
    server.echo();
    let start = Instant::now();
    assert_echo(&mut connect(&listen), "served");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn clients_of_a_backend_that_is_down_already_are_not_reset_for_it() {
    let (listen, server) = (free_address(), Server::start());
    let more = "on_down = \"reset\"\ncheck = { kind = \"tcp\", port = 1, interval = \"100ms\" }";
    let towpath = Towpath::file(&config(&listen, &[&quoted(&server.address())], more));
    towpath.stderr.wait_for("is down");
    server.echo();
    assert_echo(&mut connect(&listen), "better than none");
}

#[test]
fn checks_of_servers_that_want_a_header_bring_one() {
    let (listen, server) = (free_address(), Server::start());
    let more = "send_proxy = \"v1\"\nsource = \"127.0.0.9\"\ncheck = { kind = \"http\" }";
    let _towpath = Towpath::file(&config(&listen, &[&quoted(&server.address())], more));
    let mut check = server.accept();
    assert_eq!(check.peer_addr().unwrap().ip().to_string(), "127.0.0.9");
    assert_eq!(read_exactly(&mut check, 20), b"PROXY UNKNOWN\r\nGET /");
}
