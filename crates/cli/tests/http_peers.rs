//! What backends see of balancing: connections that are made ahead or kept, requests that come once, twice, or as a copy.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use support::frames::{DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, block, frame};
use support::net::{Server, end_writes, read_exactly};
use support::odd::silent;
use support::ports::{free_address, free_ports};
use support::proxies::read_head;
use support::raw_web::{Client, Request, Web, balancer, balancer_file, echo};
use support::tools::Certificate;
use support::towpath::Towpath;
use support::{PATIENCE, wait_for, wait_for_within};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";

/// One worker, so that all connections of a test are of the same.
fn alone(backends: &[&str], listener: &str, pool: &str) -> (String, Towpath) {
    let listen = free_address();
    let file = balancer_file(&listen, backends, listener, pool);
    (listen, Towpath::file(&format!("workers = 1\n{file}")))
}

#[test]
fn a_backend_that_is_silent_keeps_the_others_of_no_warm_connections() {
    let (deaf, _filling) = silent();
    let deaf = deaf.local_addr().unwrap().as_socket().unwrap().to_string();
    let web = Web::start();
    let (_, towpath) = alone(
        &[&deaf, &web.address],
        "",
        "warm_connections = 3\nconnect_timeout = \"20s\"\nconnect_timeout_total = \"20s\"",
    );
    wait_for_within(Duration::from_secs(10), "warm connections", || (web.connections() == 3).then_some(()));
    drop(towpath);
}

#[test]
fn a_connection_of_http_2_is_made_before_there_is_a_request() {
    let (server, address) = h2_server(|_, _| Act::Answers);
    let (listen, towpath) = alone(&[&address], "", "http_version = \"2\"\nwarm_connections = 3");
    server.connected.recv_timeout(PATIENCE).unwrap();
    for _ in 0..3 {
        assert_eq!(Client::connect(&listen).ask(GET).status, 204);
    }
    assert!(server.connected.try_recv().is_err(), "one is enough");
    towpath.stop(3);
}

#[test]
fn requests_that_come_at_once_share_a_new_connection_of_http_2() {
    const MANY: usize = 24;
    let (web, certificate) = (Web::start(), Certificate::make());
    // Its handshakes take a moment, in which all the others come.
    let tls = format!("tls = {{ cert = {:?}, key = {:?} }}", certificate.file(), certificate.key());
    let (secure, far) = alone(&[&web.address], &tls, "");
    let pool = format!("http_version = \"2\"\ntls = {{ ca = {:?} }}", certificate.file());
    let (listen, near) = alone(&[&secure], "", &pool);
    let together = Barrier::new(MANY);
    thread::scope(|scope| {
        for _ in 0..MANY {
            scope.spawn(|| {
                let mut client = Client::connect(&listen);
                together.wait();
                assert_eq!(client.ask(GET).status, 200);
            });
        }
    });
    let clients: HashSet<_> =
        far.records(MANY).iter().map(|record| record.text("client").to_owned()).collect();
    assert_eq!(clients.len(), 1, "{clients:?}");
    near.stop(MANY);
}

#[test]
fn a_connection_of_http_2_that_is_used_now_and_then_is_kept() {
    let (server, address) = h2_server(|_, _| Act::Answers);
    let (listen, towpath) = alone(&[&address], "", "http_version = \"2\"\nidle_connection_timeout = \"1s\"");
    let mut client = Client::connect(&listen);
    for _ in 0..25 {
        assert_eq!(client.ask(GET).status, 204);
        // sleep: the pace of the client; all in all longer than a connection without a request is kept.
        thread::sleep(Duration::from_millis(100));
    }
    server.connected.recv_timeout(PATIENCE).unwrap();
    assert!(server.connected.try_recv().is_err(), "one is enough");
    drop(client);
    towpath.stop(25);
}

/// What a server of HTTP/2 tells of itself.
struct H2Server {
    connected: mpsc::Receiver<()>,
    /// The bodies of requests, as they came.
    bodies: Arc<Mutex<Vec<String>>>,
}

/// What such a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Answers,
    /// It goes away, and the last that it tells to have looked at is this one, or the one before.
    GoesAway {
        has_looked: bool,
    },
}

/// One that does with each request as `judge` says, by the numbers of its connection and its stream.
fn h2_server(judge: impl Fn(usize, u32) -> Act + Send + Sync + 'static) -> (H2Server, String) {
    let server = Server::start();
    let address = server.address();
    let (tell, connected) = mpsc::channel();
    let told = H2Server { connected, bodies: Arc::default() };
    let (bodies, judge) = (told.bodies.clone(), Arc::new(judge));
    thread::spawn(move || {
        for connection in 0.. {
            let stream = server.accept();
            let (tell, bodies, judge) = (tell.clone(), bodies.clone(), judge.clone());
            thread::spawn(move || {
                let mut server = Frames::welcome(stream);
                // Its other end may have gone with the test.
                let _ = tell.send(());
                serve_h2(&mut server, &bodies, |stream| judge(connection, stream));
            });
        }
    });
    (told, address)
}

fn serve_h2(server: &mut Frames, bodies: &Mutex<Vec<String>>, judge: impl Fn(u32) -> Act) {
    let mut body = Vec::new();
    while let Some(part) = server.next() {
        match part.kind {
            HEADERS => body.clear(),
            DATA => body.extend_from_slice(&part.payload),
            _ => continue,
        }
        if part.flags & END_STREAM == 0 {
            continue;
        }
        bodies.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
        match judge(part.stream) {
            Act::Answers => {
                let head = block([(":status", "204")]);
                server.send(&frame(HEADERS, END_STREAM | END_HEADERS, part.stream, &head));
            }
            Act::GoesAway { has_looked } => {
                let last = if has_looked { part.stream } else { part.stream.saturating_sub(2) };
                server.send(&frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()));
                end_writes(&server.0);
            }
        }
    }
}

#[test]
fn a_request_that_a_server_of_http_2_went_away_from_unread_is_sent_again() {
    // On a connection that others have used before, and on one that is new.
    for (last, has_looked, status) in [(3, false, 204), (1, false, 204), (3, true, 502), (1, true, 502)] {
        let (server, address) =
            h2_server(move |connection, stream| match connection == 0 && stream == last {
                true => Act::GoesAway { has_looked },
                false => Act::Answers,
            });
        let (listen, towpath) = alone(&[&address], "", "http_version = \"2\"");
        let mut client = Client::connect(&listen);
        let before = usize::from(last == 3);
        if before > 0 {
            assert_eq!(client.ask(GET).status, 204);
        }
        let told = format!("at stream {last}, looked at {has_looked}");
        assert_eq!(client.ask(POST).status, status, "{told}");
        let bodies = server.bodies.lock().unwrap().split_off(before);
        assert_eq!(bodies, vec!["hello"; if has_looked { 1 } else { 2 }], "{told}");
        drop(client);
        towpath.stop(1 + before);
    }
}

#[test]
fn each_port_of_a_range_has_connections_of_its_own() {
    let (listens, servers) = (free_ports(2), free_ports(2));
    for place in [0, 1] {
        let server = Server::on(&format!("127.0.0.1:{}", servers + place));
        thread::spawn(move || {
            loop {
                let mut stream = server.accept();
                thread::spawn(move || {
                    while read_head(&mut stream).is_some() {
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{place}");
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
    }
    let range = |first: u16| format!("127.0.0.1:{first}-{}", first + 1);
    let file = balancer_file(&range(listens), &[&range(servers)], "", "");
    let towpath = Towpath::file(&format!("workers = 1\n{file}"));
    for place in [0, 1, 0, 0, 1, 1, 0] {
        let answer = Client::connect(&format!("127.0.0.1:{}", listens + place)).ask(GET);
        assert_eq!(answer.body, place.to_string());
    }
    towpath.stop(7);
}

#[test]
fn a_mirror_gets_no_upgrade() {
    let web = Web::answering(|request, stream| {
        if request.path() != "/goes" {
            return stream.write_all(&echo(request)).is_ok();
        }
        let over = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(over.as_bytes()).unwrap();
        let got = read_exactly(stream, 5);
        stream.write_all(&got).unwrap();
        false
    });
    let mirror = Web::start();
    let more = format!("mirror = \"copy\"\n[[pool]]\nname = \"copy\"\nbackend = \"{}\"", mirror.address);
    let (listen, towpath) = balancer(&[&web.address], &more, "");
    let upgrade = |path: &str| {
        let fields =
            "Host: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
        format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n")
    };
    let mut client = Client::connect(&listen);
    assert_eq!(client.ask(&upgrade("/goes")).status, 101);
    client.send("hello");
    assert_eq!(client.rest(), "hello");
    assert_eq!(Client::connect(&listen).ask(&upgrade("/stays")).status, 200);
    let sent = web.take();
    assert!(sent.iter().all(|request| request.field("upgrade") == ["websocket"]), "{sent:#?}");
    let mut copies = Vec::new();
    wait_for("a copy", || {
        copies.extend(mirror.take());
        copies.iter().any(|copy: &Request| copy.asks() == "GET /stays").then_some(())
    });
    for copy in copies {
        assert_eq!((copy.field("upgrade"), copy.field("connection")), (vec![], vec![]), "{copy:?}");
    }
    drop(towpath);
}

#[test]
fn what_reads_alone_is_asked_of_two_backends_and_what_changes_something_of_one() {
    let count = Arc::new(AtomicUsize::new(0));
    let webs = [(); 2].map(|()| {
        let count = count.clone();
        Web::answering(move |request, stream| {
            count.fetch_add(1, Ordering::SeqCst);
            if request.path() == "/twice" {
                wait_for("a second request", || (count.load(Ordering::SeqCst) == 2).then_some(()));
            } else {
                // sleep: several times as long as a second request would take to come.
                thread::sleep(Duration::from_millis(500));
            }
            stream.write_all(&echo(request)).is_ok()
        })
    });
    let addresses = webs.each_ref().map(|web| &*web.address);
    let (listen, towpath) = balancer(&addresses, "", "hedge_after = \"100ms\"\nretry_budget = 100");
    for method in ["GET", "OPTIONS"] {
        let request = GET.replace("GET /", &format!("{method} /twice"));
        assert_eq!(Client::connect(&listen).ask(&request).status, 200, "{method}");
        assert_eq!(count.swap(0, Ordering::SeqCst), 2, "{method}");
    }
    for method in ["DELETE", "PUT", "POST"] {
        let request = GET.replace("GET", method);
        assert_eq!(Client::connect(&listen).ask(&request).status, 200, "{method}");
        assert_eq!(count.swap(0, Ordering::SeqCst), 1, "{method}");
    }
    towpath.stop(5);
}

/// A backend that closes a connection at the first request that is for `/used` on one that had another before, or for `/never`.
fn closing() -> Web {
    let used = Mutex::new(HashSet::new());
    Web::answering(move |request, stream| {
        let is_new = used.lock().unwrap().insert(request.connection);
        let answers = request.path() != "/never" && (is_new || request.path() != "/used");
        answers && stream.write_all(&echo(request)).is_ok()
    })
}

#[test]
fn without_retries_only_what_met_a_connection_that_had_rested_goes_again() {
    let web = closing();
    let (listen, towpath) = alone(&[&web.address], "", "retries = 0\neject_after = \"off\"\nhold = \"off\"");
    let mut client = Client::connect(&listen);
    assert_eq!(client.get("/never").status, 502);
    assert_eq!(web.take_asked(), ["GET /never"], "its connection was new");
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
        assert_eq!(client.get("/used").status, 200);
        assert_eq!(web.take_asked(), ["GET /", "GET /used", "GET /used"]);
    }
    // The new one is the first that counts, and the last.
    assert_eq!(client.get("/never").status, 502);
    assert_eq!(web.take_asked(), ["GET /never"; 2]);
    towpath.stop(8);
}
