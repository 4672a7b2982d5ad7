//! HTTP under load while backends are killed and brought back, requests that are shared out, and the end of towpath itself.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use support::frames::{
    DATA, END_STREAM, Frames, GET, GOAWAY, HEADERS, INITIAL_WINDOW, Outcome, PING, WINDOW_UPDATE,
};
use support::net::{assert_refused, connect};
use support::peers::{Program, program, run};
use support::ports::{free_address, free_port};
use support::raw_web::{Client, Web, balancer, balancer_file, echo, read_answer};
use support::services::{Service, configured};
use support::towpath::Towpath;
use support::turns::Turn;
use support::{PATIENCE, nightly, wait_for};

/// nginx that answers everything with `name`, on this port.
fn nginx(port: u16, name: &str) -> Service {
    configured(
        "nginx",
        port,
        &format!(
            "daemon off; master_process off; pid FOLDER/pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 100000000; client_body_temp_path FOLDER;\n\
             proxy_temp_path FOLDER; fastcgi_temp_path FOLDER; uwsgi_temp_path FOLDER; scgi_temp_path FOLDER;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"{name}\"; }} }} }}\n"
        ),
    )
}

/// wrk over keep-alive connections for so many seconds: what it says.
fn wrk(listen: &str, seconds: u64) -> String {
    let mut command = program("wrk");
    let (time, url) = (format!("{seconds}s"), format!("http://{listen}/"));
    command.args(["-t", "1", "-c", "32", "-d", &time, "--timeout", "10s", &url]);
    let ran = run(command, Duration::from_secs(seconds + 60));
    assert!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);
    ran.stdout
}

/// How many requests wrk has had answered, all of them well.
fn all_well(told: &str) -> u64 {
    assert!(!told.contains("Socket errors") && !told.contains("Non-2xx"), "{told}");
    let line = told.lines().find(|line| line.contains(" requests in ")).unwrap_or_else(|| panic!("{told}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn one_of_three_that_is_killed_and_brought_back_every_second_costs_no_request() {
    let seconds = if nightly() { 60 } else { 10 };
    let _turn = Turn::alone();
    let ports = [free_port(), free_port(), free_port()];
    let mut servers: Vec<Option<Service>> = ports.iter().map(|port| Some(nginx(*port, "ok"))).collect();
    let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let listen = free_address();
    let file = format!("[log]\nrecords = false\n{}", balancer_file(&listen, &addresses, "", ""));
    let towpath = Towpath::file_as(&file, None);
    let is_over = AtomicBool::new(false);
    let (told, kills) = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let told = wrk(&listen, seconds);
            is_over.store(true, Ordering::SeqCst);
            told
        });
        let mut kills = 0;
        while !is_over.load(Ordering::SeqCst) {
            let chosen = kills % 3;
            // sleep: the pace of the changes: up for half a second, and one of them down for another half.
            thread::sleep(Duration::from_millis(500));
            let mut killed = servers[chosen].take().unwrap();
            killed.program.signal(Signal::KILL);
            killed.program.stop();
            // sleep: how long it is down.
            thread::sleep(Duration::from_millis(500));
            servers[chosen] = Some(nginx(ports[chosen], "ok"));
            kills += 1;
        }
        (load.join().unwrap(), kills)
    });
    let asked = all_well(&told);
    assert!(asked > seconds * 200, "only {asked} were asked: {told}");
    assert!(kills as u64 >= seconds - 3, "{kills} kills in {seconds} s");
    drop(towpath);
}

#[test]
fn keep_alive_connections_do_not_stick_to_a_backend() {
    let _turn = Turn::alone();
    let names = ["one", "two", "three"];
    let servers: Vec<Service> = names.iter().map(|name| nginx(free_port(), name)).collect();
    let addresses: Vec<String> = servers.iter().map(Service::address).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let listen = free_address();
    let towpath = Towpath::file_as(&balancer_file(&listen, &addresses, "", ""), None);
    let counts: [AtomicUsize; 3] = Default::default();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let mut client = Client::connect(&listen);
                for _ in 0..150 {
                    let name = client.get("/").body;
                    let place = names.iter().position(|other| *other == name).unwrap();
                    counts[place].fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    let counts = counts.map(|count| count.load(Ordering::SeqCst));
    let fair = 64 * 150 / 3;
    assert!(counts.iter().all(|count| count.abs_diff(fair) <= fair / 50), "{counts:?} of {fair} each");
    towpath.stop(64 * 150);
}

#[test]
fn weights_share_requests_out() {
    let webs = [Web::start(), Web::start()];
    let listen = free_address();
    let backends = format!(
        "[{{ address = \"{}\", weight = 3 }}, {{ address = \"{}\" }}]",
        webs[0].address, webs[1].address
    );
    let file = balancer_file(&listen, &[], "", "").replace("[]", &backends);
    let towpath = Towpath::file(&file);
    let mut client = Client::connect(&listen);
    for _ in 0..400 {
        assert_eq!(client.get("/").status, 200);
    }
    let counts = webs.map(|web| web.take().len());
    assert!(counts[0].abs_diff(300) <= 6 && counts[0] + counts[1] == 400, "{counts:?}");
    towpath.stop(400);
}

/// A backend that answers when it is told to, and tells when it was asked.
struct Held {
    web: Web,
    go: mpsc::Sender<()>,
    asked: mpsc::Receiver<()>,
}

fn held() -> Held {
    let ((go, may_go), (ask, asked)) = (mpsc::channel::<()>(), mpsc::channel());
    let (may_go, ask) = (Arc::new(Mutex::new(may_go)), Mutex::new(ask));
    let web = Web::answering(move |request, stream| {
        if request.path() != "/quick" {
            ask.lock().unwrap().send(()).unwrap();
            let _ = may_go.lock().unwrap().recv_timeout(PATIENCE);
        }
        stream.write_all(&echo(request)).is_ok()
    });
    Held { web, go, asked }
}

/// Begins to drain, which is over for new connections when this returns.
fn drain(towpath: &Towpath, listen: &str) {
    towpath.signal(Signal::TERM);
    towpath.stderr.wait_for("draining");
    wait_for("closed port", || TcpListener::bind(listen).ok());
    assert_refused(listen);
}

#[test]
fn a_request_under_way_is_answered_while_towpath_drains_and_is_the_last() {
    let held = held();
    let (listen, towpath) = balancer(&[&held.web.address], "", "");
    let mut idle = Client::connect(&listen);
    assert_eq!(idle.get("/quick").status, 200);
    let mut busy = Client::connect(&listen);
    assert_eq!(busy.get("/quick").field("connection"), [""; 0]);
    busy.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    held.asked.recv_timeout(PATIENCE).unwrap();
    drain(&towpath, &listen);
    held.go.send(()).unwrap();
    let answer = busy.answer();
    assert_eq!((answer.status, answer.field("connection")), (200, vec!["close"]));
    busy.assert_closed();
    idle.assert_closed();
    towpath.stop_drained(3);
}

#[test]
fn a_body_under_way_is_taken_to_its_end_while_towpath_drains() {
    let web = Web::start();
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let mut client = Client::connect(&listen);
    client.send("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello");
    wait_for("the request at the backend", || (web.connections() == 1).then_some(()));
    drain(&towpath, &listen);
    client.send("world");
    let answer = client.answer();
    assert_eq!((answer.body.as_str(), answer.field("connection")), ("POST /x helloworld", vec!["close"]));
    client.assert_closed();
    towpath.stop_drained(1);
}

#[test]
fn streams_under_way_are_answered_while_towpath_drains_and_the_client_is_told_twice() {
    let held = held();
    let (listen, towpath) = balancer(&[&held.web.address], "", "");
    let mut client = Frames::connect(&listen, &[]);
    client.get(1, GET);
    held.asked.recv_timeout(PATIENCE).unwrap();
    drain(&towpath, &listen);
    let mut last_streams = Vec::new();
    let mut is_answered = false;
    while let Some(frame) = client.next() {
        match frame.kind {
            GOAWAY => {
                assert_eq!(frame.payload[4..8], [0; 4], "no error");
                last_streams.push(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                // Only now, so that the first word comes before the answer.
                let _ = held.go.send(());
            }
            PING if frame.flags == 0 => client.send(&support::frames::frame(PING, 1, 0, &frame.payload)),
            HEADERS => assert_eq!((frame.stream, frame.payload[0]), (1, 0x88)),
            _ => {}
        }
        is_answered |= frame.stream == 1 && frame.flags & END_STREAM != 0 && frame.kind <= HEADERS;
    }
    assert!(is_answered);
    assert_eq!(last_streams, [0x7fff_ffff, 1]);
    towpath.stop_drained(1);
}

/// The last bytes of an answer are under way when its stream is over: a connection that is reset then would take them along.
#[test]
fn an_answer_that_is_on_its_way_arrives_though_its_client_is_slow() {
    const BYTES: usize = 400_000;
    let body = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n{}", "a".repeat(BYTES));
    let web = Web::saying(&body);
    let (listen, towpath) = balancer(&[&web.address], "", "");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // What does not fit here waits in the queue of towpath's socket.
    socket.set_recv_buffer_size(8192).unwrap();
    socket.connect(&listen.parse::<SocketAddr>().unwrap().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Frames::greet(stream, &[(INITIAL_WINDOW, 10_000_000)]);
    client.send(&support::frames::frame(WINDOW_UPDATE, 0, 0, &10_000_000_u32.to_be_bytes()));
    client.get(1, GET);
    // All of it has left the story of the request.
    towpath.records(1);
    drain(&towpath, &listen);
    // sleep: longer than towpath asks a silent client to leave.
    thread::sleep(Duration::from_secs(5));
    let (mut count, mut is_over) = (0, false);
    while let Some(frame) = client.next() {
        match frame.kind {
            DATA => {
                count += frame.payload.len();
                is_over |= frame.flags & END_STREAM != 0;
            }
            PING if frame.flags == 0 => client.send(&support::frames::frame(PING, 1, 0, &frame.payload)),
            _ => {}
        }
    }
    assert_eq!((count, is_over), (BYTES, true));
    towpath.stop_drained(1);
}

/// Clients that ask without a pause: what was sent is answered, or its connection has ended in order before a byte of the answer,
/// which tells a client to ask elsewhere.
#[test]
fn no_answer_is_cut_off_when_towpath_ends_under_load() {
    let servers = [nginx(free_port(), "ok"), nginx(free_port(), "ok")];
    let addresses = servers.each_ref().map(Service::address);
    let (listen, towpath) = balancer(&[&addresses[0], &addresses[1]], "", "");
    let answered = AtomicUsize::new(0);
    let lost = thread::scope(|scope| {
        let clients = (0..16).map(|_| scope.spawn(|| ask_until_closed(&listen, &answered)));
        let clients: Vec<_> = clients.collect();
        wait_for("load", || (answered.load(Ordering::SeqCst) > 2000).then_some(()));
        towpath.signal(Signal::TERM);
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(lost, vec![None; 16]);
    let count = answered.load(Ordering::SeqCst);
    towpath.stop_drained(count);
}

/// Asks again and again until it is told that there is no more; what went wrong.
fn ask_until_closed(listen: &str, answered: &AtomicUsize) -> Option<String> {
    let mut stream = connect(listen);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        if let Err(error) = stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n") {
            return Some(format!("a request cannot be sent: {error}"));
        }
        let Some(answer) = read_answer(&mut reader, "GET") else {
            return Some("a request was not answered".to_owned());
        };
        answered.fetch_add(1, Ordering::SeqCst);
        if answer.status != 200 || !answer.is_whole {
            return Some(format!("{answer:?}"));
        }
        if answer.field("connection") == ["close"] {
            return None;
        }
    }
}

#[test]
fn what_takes_longer_than_the_drain_is_cut_off_and_looks_so() {
    let held = held();
    let listen = free_address();
    let file = balancer_file(&listen, &[&held.web.address], "", "");
    let towpath = Towpath::file(&format!("drain_timeout = \"500ms\"\n{file}"));
    let mut streams = Frames::connect(&listen, &[]);
    streams.get(1, GET);
    held.asked.recv_timeout(PATIENCE).unwrap();
    let begun = Instant::now();
    towpath.signal(Signal::TERM);
    assert!(!matches!(streams.outcome(1), Outcome::Answered { status: 200, .. }));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(towpath.wait().records.len(), 1);
}

/// The same program, brought back by hand.
#[test]
fn a_restarted_backend_is_asked_again_soon() {
    let port = free_port();
    let mut server = nginx(port, "ok");
    let (listen, towpath) = balancer(&[&server.address()], "", "");
    let mut client = Client::connect(&listen);
    assert_eq!(client.get("/").status, 200);
    Program::stop(&mut server.program);
    let begun = Instant::now();
    let answer = thread::scope(|scope| {
        let asking = scope.spawn(|| client.get("/"));
        // sleep: how long it is down.
        thread::sleep(Duration::from_millis(700));
        server = nginx(port, "back");
        asking.join().unwrap()
    });
    assert_eq!((answer.status, answer.body.as_str()), (200, "back"));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    towpath.stop(2);
}
