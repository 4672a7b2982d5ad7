//! What a reload changes for clients that are there, and what it leaves: limits that are used up, connections that rest.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use support::frames::{ACK, END_STREAM, Frame, Frames, GET, GOAWAY, Outcome, PING, RST_STREAM, frame};
use support::net::{End, Server, read_to_end};
use support::ports::free_address;
use support::proxies::read_head;
use support::raw_web::{Client, Web, balancer_file};
use support::towpath::Towpath;
use support::wait_for;

/// One worker, so that all connections of a test are of the same.
fn file(listen: &str, backends: &[&str], listener: &str, pool: &str) -> String {
    format!("workers = 1\n{}", balancer_file(listen, backends, listener, pool))
}

/// Loads another file for the `count`th time.
fn reload(towpath: &Towpath, text: &str, count: usize) {
    fs::write(towpath.folder().join("towpath.toml"), text).unwrap();
    towpath.signal(Signal::HUP);
    towpath.stderr.wait("reload", |lines| {
        let loaded = lines.iter().filter(|line| line.contains("\"reloaded: ")).count();
        (loaded == count).then_some(())
    });
}

/// The status of an answer to a client that comes for this alone.
fn status(listen: &str, path: &str) -> u16 {
    Client::connect(listen).get(path).status
}

#[test]
fn who_has_asked_too_often_has_so_after_a_reload_too() {
    let (listen, web) = (free_address(), Web::start());
    let route = |path: &str| format!("{{ path = \"{path}\", pool = \"web\", rate = \"2/h\", burst = 2 }}");
    let text =
        |routes: &[String]| file(&listen, &[&web.address], &format!("route = [{}]", routes.join(", ")), "");
    let towpath = Towpath::file(&text(&[route("/old")]));
    let ask_thrice = |path| [(); 3].map(|()| status(&listen, path));
    assert_eq!(ask_thrice("/old"), [200, 200, 429]);
    reload(&towpath, &text(&[route("/new"), route("/old")]), 1);
    assert_eq!(ask_thrice("/old"), [429; 3], "it has moved");
    assert_eq!(ask_thrice("/new"), [200, 200, 429], "nobody has asked for it");
    reload(&towpath, &text(&[route("/old"), route("/third"), route("/new")]), 2);
    assert_eq!((ask_thrice("/old"), ask_thrice("/new")), ([429; 3], [429; 3]));
    assert_eq!(ask_thrice("/third"), [200, 200, 429]);
    towpath.stop(18);
}

/// The file of a listener that answers with this itself.
fn answering(listen: &str, text: &str) -> String {
    file(listen, &[&free_address()], &format!("route = [{{ answer = \"{text}\" }}]"), "")
}

#[test]
fn clients_that_rest_are_answered_once_more_and_told_to_come_again() {
    let listen = free_address();
    let towpath = Towpath::file(&answering(&listen, "old"));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(&listen)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").body, "old");
    }
    let mut streams = Frames::connect(&listen, &[]);
    streams.get(1, GET);
    assert!(matches!(streams.outcome(1), Outcome::Answered { status: 200, .. }));
    reload(&towpath, &answering(&listen, "new"), 1);
    for mut client in clients {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.field("connection")), (200, vec!["close"]), "{answer:?}");
        client.assert_closed();
    }
    streams.get(3, GET);
    let (mut is_answered, mut is_told) = (false, false);
    while let Some(Frame { kind, flags, stream, payload }) = streams.next() {
        match kind {
            PING if flags == 0 => streams.send(&frame(PING, ACK, 0, &payload)),
            GOAWAY => is_told |= payload[4..8] == [0; 4],
            _ => is_answered |= (stream, flags & END_STREAM) == (3, END_STREAM),
        }
    }
    assert!(is_answered && is_told, "answered {is_answered}, told {is_told}");
    assert_eq!(Client::connect(&listen).get("/").body, "new");
    towpath.stop(13);
}

/// Asks again and again on one connection after the other, each for as long as it may; how many answers there were.
fn ask_until(listen: &str, is_over: &AtomicBool) -> usize {
    let mut count = 0;
    while !is_over.load(Ordering::SeqCst) {
        let mut client = Client::connect(listen);
        loop {
            let answer = client.get("/");
            assert!(answer.status == 200 && answer.is_whole && answer.body == "GET / ", "{answer:?}");
            count += 1;
            if answer.field("connection") == ["close"] {
                client.assert_closed();
                break;
            }
            if is_over.load(Ordering::SeqCst) {
                break;
            }
        }
    }
    count
}

/// The same as streams of HTTP/2.
fn ask_in_streams_until(listen: &str, is_over: &AtomicBool) -> usize {
    let mut count = 0;
    while !is_over.load(Ordering::SeqCst) {
        let mut client = Frames::connect(listen, &[]);
        let mut last = None;
        for stream in (1..).step_by(2) {
            if last.is_some() || is_over.load(Ordering::SeqCst) {
                break;
            }
            client.get(stream, GET);
            loop {
                let Some(frame) = client.next() else {
                    assert!(last.is_some_and(|last| last < stream), "no answer to {stream}, told {last:?}");
                    break;
                };
                assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
                if frame.kind == GOAWAY {
                    last = Some(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                }
                if frame.stream == stream && frame.flags & END_STREAM != 0 {
                    count += 1;
                    break;
                }
            }
        }
    }
    count
}

#[test]
fn reloads_with_other_rules_fail_no_request_of_clients_that_stay() {
    let (listen, web) = (free_address(), Web::start());
    let text = |number: usize| {
        let rules = format!("response_fields = {{ set = {{ \"x-number\" = \"{number}\" }} }}");
        file(&listen, &[&web.address], &rules, &format!("retries = {}", number % 4))
    };
    let towpath = Towpath::file(&text(0));
    let (is_over, count) = (AtomicBool::new(false), 20);
    let answered: usize = std::thread::scope(|scope| {
        let plain = (0..4).map(|_| scope.spawn(|| ask_until(&listen, &is_over)));
        let mut clients: Vec<_> = plain.collect();
        clients.extend((0..4).map(|_| scope.spawn(|| ask_in_streams_until(&listen, &is_over))));
        for number in 1..=count {
            web.take();
            reload(&towpath, &text(number), number);
            // Each set of rules has served somebody before the next one comes.
            wait_for("requests", || (web.take().len() > 8).then_some(()));
        }
        is_over.store(true, Ordering::SeqCst);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(answered > count * 8, "{answered}");
    let last = Client::connect(&listen).get("/");
    assert_eq!(last.field("x-number"), [count.to_string()]);
    drop(towpath);
}

/// Answers one request with 204, and leaves the connection open.
fn serve(server: &Server) -> TcpStream {
    let mut stream = server.accept();
    assert!(read_head(&mut stream).is_some());
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    stream
}

#[test]
fn connections_that_rest_are_closed_when_a_reload_takes_their_backend_away() {
    let (listen, servers) = (free_address(), [Server::start(), Server::start()]);
    let addresses = servers.each_ref().map(Server::address);
    // Longer than the test waits.
    let text = |backends: &[&str]| file(&listen, backends, "", "idle_connection_timeout = \"10m\"");
    let towpath = Towpath::file(&text(&[&addresses[0], &addresses[1]]));
    let mut resting = std::thread::scope(|scope| {
        let serving = servers.each_ref().map(|server| scope.spawn(|| serve(server)));
        assert_eq!([(); 2].map(|()| status(&listen, "/")), [204; 2]);
        serving.map(|serving| serving.join().unwrap())
    });
    reload(&towpath, &text(&[&addresses[1]]), 1);
    // The one that stays is of another pool now, which makes its own.
    for stream in &mut resting {
        assert_eq!(read_to_end(stream), (Vec::new(), End::Fin));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&servers[1]));
        assert_eq!(status(&listen, "/"), 204);
    });
    towpath.stop(3);
}

#[test]
fn connections_are_made_ready_once_a_reload_wants_that() {
    let (listen, web) = (free_address(), Web::start());
    let text = |pool: &str| file(&listen, &[&web.address], "", pool);
    let towpath = Towpath::file(&text(""));
    assert_eq!(status(&listen, "/"), 200);
    reload(&towpath, &text("warm_connections = 3"), 1);
    // The first one may be kept for the new pool or not.
    wait_for("warm connections", || (web.connections() >= 3).then_some(()));
    towpath.stop(1);
}
