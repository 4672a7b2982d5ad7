//! What flows for long through HTTP load balancing: events, WebSocket and calls of gRPC, by the clients that people have.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use support::lines::Lines;
use support::net::{Server, connect};
use support::peers::{run, run_well};
use support::proc::own_memory_bytes;
use support::proxies::read_head;
use support::services::Service;
use support::tools::random_file;
use support::towpath::Guarded;
use support::wait_for;
use support::web::{
    Backend, Balancer, FORMS, Form, Settings, long_or_short, node_script, python_script, script_server,
};

/// Shorter than the silence of any test here: it is for bodies and heads, not for what goes on for long.
const SHORT_TIMES: &str =
    "body_timeout = \"2s\"\nkeepalive_timeout = \"2s\"\nheader_timeout = \"2s\"\nanswer_timeout = \"2s\"";

/// Longer than the silence of any test here.
const LONG_TIMES: &str = "body_timeout = \"15m\"\nanswer_timeout = \"15m\"";

/// Seconds in which clients say nothing.
fn silence() -> &'static str {
    long_or_short("3", "600")
}

/// Longer than such a client may take.
fn patience() -> Duration {
    Duration::from_secs(long_or_short(90, 900))
}

#[test]
fn each_event_comes_before_the_next_is_sent() {
    let backend = Backend::start("one");
    let balancers = [("h1", Balancer::start(&[backend.h1()])), ("h2", Balancer::over_h2(&[backend.h2()]))];
    thread::scope(|scope| {
        for (kind, balancer) in &balancers {
            for form in &FORMS {
                scope.spawn(move || events(balancer, form, kind));
            }
        }
    });
}

/// Asks for events by one form; `kind` is what the server speaks.
fn events(balancer: &Balancer, form: &Form, kind: &str) {
    let id = format!("{kind}-{}", form.name).replace(' ', "-");
    let mut curl = balancer.curl_command();
    curl.args(form.flags).args(["-N", &form.url(balancer, &format!("/events?id={id}"))]);
    let mut curl = Guarded::spawn(curl.stdout(Stdio::piped()));
    let lines = Lines::read(curl.stdout.take().unwrap());
    lines.wait_for("data: event 0");
    for event in 1..=20 {
        let next = balancer.curl_well(&[&balancer.url(&format!("/next?id={id}"))]);
        assert_eq!(next, event.to_string(), "{} to {kind}", form.name);
        lines.wait_for(&format!("data: event {event}"));
    }
    let listens = balancer.url(&format!("/listens?id={id}"));
    assert_eq!(balancer.curl_well(&[&listens]), "true");
    // The server is told when the client goes; one of HTTP/1 may have ended only what it sends, for a while.
    drop(curl);
    wait_for(&format!("end of the events, {} to {kind}", form.name), || {
        (balancer.curl_well(&[&listens]) == "false").then_some(())
    });
}

#[test]
fn streams_go_on_to_their_end_in_a_drain() {
    let backend = Backend::start("one");
    for (kind, balancer) in
        [("h1", Balancer::start(&[backend.h1()])), ("h2", Balancer::over_h2(&[backend.h2()]))]
    {
        let ask = |path: &str| balancer.curl_well(&[&format!("http://{}{path}", backend.h1())]);
        let mut streams = Vec::new();
        for (number, form) in FORMS.iter().enumerate() {
            let mut curl = balancer.curl_command();
            let id = format!("{kind}{number}");
            curl.args(form.flags).args(["-N", &form.url(&balancer, &format!("/events?id={id}"))]);
            let mut curl = Guarded::spawn(curl.stdout(Stdio::piped()));
            let lines = Lines::read(curl.stdout.take().unwrap());
            lines.wait_for("data: event 0");
            streams.push((form, id, curl, lines));
        }
        balancer.towpath.signal(Signal::TERM);
        balancer.towpath.stderr.wait_for("draining");
        for (form, id, curl, lines) in streams {
            ask(&format!("/next?id={id}"));
            lines.wait_for("data: event 1");
            ask(&format!("/end?id={id}"));
            lines.wait_for("data: over");
            assert!(curl.wait().success(), "{} to {kind}", form.name);
        }
        let records = balancer.towpath.wait();
        assert_eq!(records.status.code(), Some(0), "{}", records.stderr);
    }
}

/// The echo server of each library.
fn sockets() -> [(&'static str, Service); 2] {
    [
        ("python", script_server(|home, port| python_script("ws.py", home, &["serve", port]))),
        ("node", script_server(|home, port| node_script("ws.cjs", home, &["serve", port]))),
    ]
}

#[test]
fn websockets_of_python_and_node() {
    let sockets = sockets();
    thread::scope(|scope| {
        for (server, service) in &sockets {
            scope.spawn(move || {
                let settings = Settings { listener: SHORT_TIMES, ..Settings::default() };
                let balancer = Balancer::with(&[service.address()], settings);
                let (home, ca) = (balancer.certificate.folder.path(), balancer.certificate.file());
                let urls = [
                    format!("ws://{}/", balancer.address()),
                    format!("wss://{}/", balancer.secure_address()),
                ];
                thread::scope(|scope| {
                    for url in &urls {
                        for client in ["python", "node"] {
                            let words = ["client", url, &ca, silence()];
                            let command = match client {
                                "python" => python_script("ws.py", home, &words),
                                _ => node_script("ws.cjs", home, &words),
                            };
                            scope.spawn(move || {
                                let ran = run(command, patience());
                                let told = format!("{client} to {server} by {url}: {}", ran.stderr);
                                assert_eq!(ran.stdout, "4001 good bye, 4002 mine", "{told}");
                            });
                        }
                    }
                });
            });
        }
    });
}

/// An upgrade of WebSocket as curl asks for it.
const UPGRADE: [&str; 8] = [
    "-H",
    "Connection: Upgrade",
    "-H",
    "Upgrade: websocket",
    "-H",
    "Sec-WebSocket-Version: 13",
    "-H",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

#[test]
fn a_refused_upgrade_is_passed_on_and_the_connection_serves_on() {
    for (server, service) in sockets() {
        let balancer = Balancer::start(&[service.address()]);
        for form in [&FORMS[1], &FORMS[3]] {
            let url = form.url(&balancer, "/refused");
            let report = "%{http_code} %header{x-why} %{num_connects}\n";
            let words = [form.flags, &UPGRADE, &["-w", report, &url, &url]].concat();
            let told = balancer.curl_well(&words);
            assert_eq!(told, "refused\n403 not you 1\nrefused\n403 not you 0", "{} to {server}", form.name);
        }
    }
    let backend = Backend::start("one");
    let balancer = Balancer::start(&[backend.h1()]);
    let (refused, home) = (balancer.url("/refused"), balancer.url("/"));
    let told = balancer.curl_well(
        &[
            &UPGRADE[..],
            &["-w", " %{http_code}\n", &refused, "--next", "-q", "-sS", "-w", " %{num_connects}\n", &home],
        ]
        .concat(),
    );
    assert_eq!(told, "refused 403\none 0", "another request on the same connection");
}

/// A client of `address` that asks for an upgrade and says more in the same breath.
fn hasty(address: &str) -> TcpStream {
    let mut client = connect(address);
    let head = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nhasty";
    client.write_all(head.as_bytes()).unwrap();
    client
}

#[test]
fn nothing_goes_to_the_server_before_it_has_said_101() {
    let server = Server::start();
    let balancer = Balancer::start(&[server.address()]);
    let mut client = hasty(balancer.address());
    let mut backend = server.accept();
    let head = read_head(&mut backend).unwrap().to_lowercase();
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
    assert!(head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n"), "{head}");
    // sleep: that nothing comes takes time to see.
    backend.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let early = backend.read(&mut [0; 100]).map_err(|error| error.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock), "bytes before the 101");
    backend.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nmine";
    backend.write_all(answer.as_bytes()).unwrap();
    let head = read_head(&mut client).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    let (mut theirs, mut ours) = ([0; 5], [0; 4]);
    backend.read_exact(&mut theirs).unwrap();
    client.read_exact(&mut ours).unwrap();
    assert_eq!((&theirs, &ours), (b"hasty", b"mine"));
    // From here on it is a plain relay, half-closes and all.
    support::net::end_writes(&client);
    assert_eq!(backend.read(&mut [0; 10]).unwrap(), 0);
    backend.write_all(b"last").unwrap();
    drop(backend);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
}

/// The server of gRPC.
fn rpc() -> Service {
    script_server(|home, port| python_script("rpc.py", home, &["serve", port]))
}

#[test]
fn every_kind_of_grpc_call_with_its_trailers_deadlines_and_ends() {
    let rpc = rpc();
    let settings = Settings { listener: LONG_TIMES, is_h2: true, ..Settings::default() };
    let balancer = Balancer::with(&[rpc.address()], settings);
    let ca = balancer.certificate.file();
    let targets = [(balancer.address().to_owned(), ""), (balancer.secure_address(), &*ca)];
    thread::scope(|scope| {
        for (target, ca) in &targets {
            let words = ["client", target, ca, silence()];
            let command = python_script("rpc.py", balancer.certificate.folder.path(), &words);
            scope.spawn(move || {
                let ran = run(command, patience());
                assert_eq!(ran.stdout, "all well", "{target}: {}", ran.stderr);
            });
        }
    });
}

#[test]
fn a_grpc_client_is_told_that_no_server_is_there() {
    let gone = Server::start().address();
    let settings = Settings { pool: "hold = \"off\"", is_h2: true, ..Settings::default() };
    let balancer = Balancer::with(&[gone], settings);
    let home = balancer.certificate.folder.path();
    let told = run_well(python_script("rpc.py", home, &["status", balancer.address(), ""]));
    assert_eq!(told, "UNAVAILABLE");
}

/// Watches the memory of a process for a while: the most it had beside what it has now.
fn growth(pid: u32, mut during: impl FnMut()) -> u64 {
    let before = own_memory_bytes(pid);
    during();
    let (end, mut most) = (Instant::now() + Duration::from_secs(2), before);
    while Instant::now() < end {
        most = most.max(own_memory_bytes(pid));
        // sleep: memory that grows takes time to do so.
        thread::sleep(Duration::from_millis(20));
    }
    most - before
}

/// More than fit into the window of one connection, and what they may take together: half a megabyte each.
const MANY: usize = 150;
const GROWTH_MAX: u64 = 75 << 20;

#[test]
fn slow_readers_take_little_memory() {
    let backend = Backend::start("one");
    for (kind, balancer) in
        [("h1", Balancer::start(&[backend.h1()])), ("h2", Balancer::over_h2(&[backend.h2()]))]
    {
        let mut clients = Vec::new();
        let grown = growth(balancer.towpath.pid(), || {
            for _ in 0..MANY {
                let mut client = connect(balancer.address());
                client.write_all(b"GET /large?megabytes=20 HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
                client.read_exact(&mut [0; 1]).unwrap();
                clients.push(client);
            }
        });
        assert!(grown < GROWTH_MAX, "{MANY} readers of 1.1 over {kind} took {grown} bytes");
        assert_eq!(balancer.curl_well(&[&balancer.url("/")]), "one", "beside those who rest");
        drop(clients);
        let (home, url) = (balancer.certificate.folder.path(), balancer.url("/large?megabytes=20"));
        let mut streams = None;
        let grown = growth(balancer.towpath.pid(), || {
            let mut node = node_script("slow.cjs", home, &[&url, &MANY.to_string()]);
            let mut node = Guarded::spawn(node.stdout(Stdio::piped()));
            Lines::read(node.stdout.take().unwrap()).wait_for("all have begun");
            streams = Some(node);
        });
        assert!(grown < GROWTH_MAX, "{MANY} streams over {kind} took {grown} bytes");
        assert_eq!(balancer.curl_well(&[&balancer.url("/")]), "one", "beside those who rest");
        drop(streams);
        // Those who left hold up nobody.
        assert_eq!(balancer.curl_well(&[&balancer.url("/")]), "one");
    }
}

#[test]
fn uploads_to_a_slow_server_take_little_memory() {
    let (server, size) = (Server::start(), 100_000_000);
    let settings = Settings { listener: LONG_TIMES, ..Settings::default() };
    let balancer = Balancer::with(&[server.address()], settings);
    let home = balancer.certificate.folder.path();
    random_file(&home.join("large"), 8, size);
    for form in &FORMS[1..] {
        let mut curl = balancer.curl_command();
        let report = ["-H", "Expect:", "-T", "large", "-w", "%{http_code} %{size_upload}"];
        curl.current_dir(home).args(form.flags).args(report).arg(form.url(&balancer, "/up"));
        let mut curl = Guarded::spawn(curl.stdout(Stdio::piped()));
        let lines = Lines::read(curl.stdout.take().unwrap());
        let mut backend = server.accept();
        let grown = growth(balancer.towpath.pid(), || {
            read_head(&mut backend).unwrap();
        });
        assert!(grown < GROWTH_MAX, "an upload by {} took {grown} bytes", form.name);
        take(&mut backend, home, size);
        backend.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        lines.wait_for(&format!("200 {size}"));
        assert!(curl.wait().success());
    }
}

/// Reads a body of counted bytes, which is to be that of `large`.
fn take(backend: &mut TcpStream, home: &Path, size: usize) {
    let wanted = std::fs::read(home.join("large")).unwrap();
    let mut got = vec![0; size];
    backend.read_exact(&mut got).unwrap();
    assert!(got == wanted, "the upload is not what was sent");
}
