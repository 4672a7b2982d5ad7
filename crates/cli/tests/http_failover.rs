//! Backends that fail a request in every way: another one answers it where it may be sent again, and nothing is ever sent twice
//! that may not be.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::net::{read_to_end, reset};
use support::odd::silent;
use support::ports::free_address;
use support::raw_web::{Client, Request, Web, balancer, echo};

/// Rests would hide how often each is asked.
const NO_REST: &str = "eject_after = \"off\"\nhold = \"1s\"\n";

/// A GET, as clients of balanced servers send it.
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A request with a body of so many bytes.
fn with_body(method: &str, more: &str, count: usize) -> String {
    let fields = format!("Host: a.example\r\n{more}Content-Length: {count}\r\n");
    format!("{method} / HTTP/1.1\r\n{fields}\r\n{}", "a".repeat(count))
}

/// One that resets the connection once it has read a request.
fn resetting() -> Web {
    Web::answering(|_, stream| {
        reset(stream.try_clone().unwrap());
        false
    })
}

/// One that reads and says nothing.
fn silent_to_requests() -> Web {
    Web::answering(|_, stream| {
        read_to_end(stream);
        false
    })
}

fn saying_503() -> Web {
    Web::saying("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nbad")
}

/// Asks `count` times, each on a connection of its own, and expects 200 each time.
fn assert_all_served(listen: &str, request: &str, count: usize) {
    for number in 0..count {
        let answer = Client::connect(listen).ask(request);
        assert_eq!((answer.status, answer.is_whole), (200, true), "request {number}: {answer:?}");
    }
}

#[test]
fn one_that_refuses_or_is_silent_to_connections_is_not_noticed() {
    let web = Web::start();
    let (deaf, _filling) = silent();
    let deaf = deaf.local_addr().unwrap().as_socket().unwrap().to_string();
    for bad in [free_address(), deaf] {
        let (listen, towpath) = balancer(&[&bad, &web.address], "", NO_REST);
        // Nothing of them was sent: even these may go elsewhere.
        assert_all_served(&listen, &with_body("POST", "", 100_000), 6);
        assert_all_served(&listen, GET, 6);
        assert_eq!(web.take().len(), 12, "each arrives once");
        towpath.stop(12);
    }
}

#[test]
fn requests_that_are_safe_go_elsewhere_and_the_others_are_never_repeated() {
    for bad in [resetting(), silent_to_requests()] {
        let web = Web::start();
        let (listen, towpath) =
            balancer(&[&bad.address, &web.address], "answer_timeout = \"300ms\"", NO_REST);
        for request in [
            GET.to_owned(),
            GET.replace("GET", "HEAD"),
            GET.replace("GET", "OPTIONS"),
            with_body("PUT", "", 10),
            with_body("DELETE", "", 10),
            with_body("POST", "Idempotency-Key: \"8e03978e\"\r\n", 10),
            with_body("PATCH", "Idempotency-Key: \"8e03978e\"\r\n", 10),
        ] {
            // Two, so that one of them begins at the bad one.
            assert_all_served(&listen, &request, 2);
            assert_eq!((bad.take().len(), web.take().len()), (1, 2), "{request:?}");
        }
        for request in [with_body("POST", "", 10), with_body("PATCH", "", 10), with_body("POST", "", 0)] {
            let mut statuses: Vec<u16> =
                (0..2).map(|_| Client::connect(&listen).ask(&request).status).collect();
            statuses.sort_unstable();
            assert!(matches!(statuses[..], [200, 502 | 504]), "{request:?}: {statuses:?}");
            assert_eq!((bad.take().len(), web.take().len()), (1, 1), "{request:?}: each was sent once");
        }
        towpath.stop(20);
    }
}

#[test]
fn bodies_are_sent_again_as_far_as_they_are_kept() {
    let (bad, web) = (resetting(), Web::start());
    let pool = format!("{NO_REST}replay_body = \"100KiB\"");
    let (listen, towpath) = balancer(&[&bad.address, &web.address], "", &pool);
    let most = 100 << 10;
    assert_all_served(&listen, &with_body("PUT", "", most), 4);
    let bodies: Vec<usize> = web.take().iter().map(|request| request.body.len()).collect();
    assert_eq!((bodies, bad.take().len()), (vec![most; 4], 2), "the whole body comes each time");
    let chunked = "PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert_all_served(&listen, chunked, 4);
    for sent in [web.take(), bad.take()].concat() {
        assert_eq!(sent.body.to_lowercase(), "hello world|x-sum: 1");
    }
    let mut statuses: Vec<u16> =
        (0..4).map(|_| Client::connect(&listen).ask(&with_body("PUT", "", most + 1)).status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses, web.take().len(), bad.take().len()), (vec![200, 200, 502, 502], 2, 2));
    towpath.stop(12);
}

#[test]
fn answers_that_are_to_be_asked_for_again() {
    let (bad, web) = (saying_503(), Web::start());
    let pool = format!("{NO_REST}retry_on = [\"500-599\"]");
    let (listen, towpath) = balancer(&[&bad.address, &web.address], "", &pool);
    assert_all_served(&listen, GET, 10);
    assert_all_served(&listen, &with_body("PUT", "", 1000), 10);
    assert_eq!((bad.take().len(), web.take().len()), (10, 20));
    let statuses: Vec<u16> =
        (0..10).map(|_| Client::connect(&listen).ask(&with_body("POST", "", 10)).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 5, "{statuses:?}");
    assert_eq!((bad.take().len(), web.take().len()), (5, 5));
    towpath.stop(30);
    // Where no other has a better answer, it is the client's.
    let (listen, towpath) = balancer(&[&bad.address, &saying_503().address], "", &pool);
    let answer = Client::connect(&listen).ask(GET);
    assert_eq!((answer.status, answer.body.as_str()), (503, "bad"));
    towpath.stop(1);
}

#[test]
fn attempts_have_an_end() {
    let bad: Vec<Web> = (0..6).map(|_| resetting()).collect();
    let addresses: Vec<&str> = bad.iter().map(|web| web.address.as_str()).collect();
    let attempts = || bad.iter().map(|web| web.take().len()).sum::<usize>();
    for (more, expected) in [("retries = 2", 3), ("retries = 0", 1), ("retry_budget = 100", 4)] {
        let (listen, towpath) = balancer(&addresses, "", &format!("{NO_REST}{more}"));
        assert_eq!(Client::connect(&listen).ask(GET).status, 502, "{more}");
        assert_eq!(attempts(), expected, "{more}");
        towpath.stop(1);
    }
    // A share of the requests, and a few that small pools have beyond it.
    let (listen, towpath) = balancer(&addresses, "", NO_REST);
    for _ in 0..600 {
        assert_eq!(Client::connect(&listen).ask(GET).status, 502);
    }
    let attempts = attempts();
    assert!((620..=840).contains(&attempts), "{attempts} attempts for 600 requests and a budget of 20%");
    towpath.stop(600);
}

/// A backend that closes each connection behind so many answers, without a word.
fn closing_behind(count: usize) -> Web {
    let answered = Mutex::new(std::collections::HashMap::<usize, usize>::new());
    Web::answering(move |request: &Request, stream: &mut TcpStream| {
        let mut answered = answered.lock().unwrap();
        let of_this = answered.entry(request.connection).or_default();
        *of_this += 1;
        stream.write_all(&echo(request)).is_ok() && *of_this < count
    })
}

#[test]
fn connections_that_the_backend_has_closed_fail_no_request() {
    for count in [1, 3] {
        let web = closing_behind(count);
        let (listen, towpath) = balancer(&[&web.address], "", NO_REST);
        let mut client = Client::connect(&listen);
        for number in 0..300 {
            let answer = client.ask(GET);
            assert_eq!(answer.status, 200, "request {number}: {answer:?}");
        }
        assert_eq!(web.take().len(), 300, "each is answered once");
        assert!(web.connections() <= 300 / count + 10, "{} connections", web.connections());
        towpath.stop(300);
    }
}

/// One that resets instead of answering the second request of each connection, as one that has just let it go.
#[test]
fn a_request_that_meets_the_end_of_its_connection_is_sent_again() {
    let web = Web::answering(|request, stream| {
        let is_first = request.path() == "/first";
        if !is_first {
            reset(stream.try_clone().unwrap());
            return false;
        }
        stream.write_all(&echo(request)).is_ok()
    });
    let fresh = Web::start();
    let (listen, towpath) = balancer(&[&web.address, &fresh.address], "", NO_REST);
    let mut client = Client::connect(&listen);
    for _ in 0..20 {
        assert_eq!(client.get("/first").status, 200);
        assert_eq!(client.get("/second").status, 200);
    }
    drop(client);
    // A POST may have been heard.
    web.take();
    let mut client = Client::connect(&listen);
    for _ in 0..4 {
        client.get("/first");
    }
    let answer = client.ask(&with_body("POST", "", 10).replace("POST /", "POST /second"));
    let again = client.ask(&with_body("POST", "", 10).replace("POST /", "POST /second"));
    let posts = |web: &Web| web.take_asked().iter().filter(|asked| asked.starts_with("POST")).count();
    let mut statuses = [answer.status, again.status];
    statuses.sort_unstable();
    assert_eq!((statuses, posts(&web), posts(&fresh)), ([200, 502], 1, 1));
    towpath.stop(46);
}

/// A backend that closes connections that rest for two seconds; `more` is a field of its answers.
fn resting_backend(more: &'static str) -> Web {
    Web::answering(move |_, stream| {
        // Of the socket, so that whoever reads gives up too.
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{more}\r\nok").as_bytes()).is_ok()
    })
}

/// Whether a request a while after another goes out on the same connection.
fn is_used_after(web: &Web, client: &mut Client, rest: Duration) -> bool {
    assert_eq!(client.ask(GET).status, 200);
    // sleep: how long the connection to the backend rests.
    thread::sleep(rest);
    assert_eq!(client.ask(GET).status, 200);
    let requests = web.take();
    requests[0].connection == requests[1].connection
}

#[test]
fn how_long_a_backend_keeps_connections_is_learned() {
    let [silent, telling] = ["", "Keep-Alive: timeout=2\r\n"].map(resting_backend);
    for web in [silent, telling] {
        let listen = free_address();
        let file = support::raw_web::balancer_file(&listen, &[&web.address], "", "");
        let towpath = support::towpath::Towpath::file(&format!("workers = 1\n{file}"));
        let mut client = Client::connect(&listen);
        // Close to its end a connection may break under a request: one that can be sent once only would be lost.
        let late = Duration::from_millis(1700);
        let is_used = is_used_after(&web, &mut client, late);
        let is_used_soon = is_used_after(&web, &mut client, Duration::from_millis(200));
        // The lesson: it is closed.
        assert!(!is_used_after(&web, &mut client, Duration::from_millis(2500)));
        let is_used_again = is_used_after(&web, &mut client, late);
        let tells = Client::connect(&listen).ask(GET).field("keep-alive").len();
        assert_eq!(tells, 0, "it is between towpath and the backend");
        assert!(is_used_soon && !is_used_again, "soon {is_used_soon}, late after the lesson {is_used_again}");
        println!("late before the lesson: {is_used}");
        towpath.stop(9);
    }
}

#[test]
fn while_all_are_down_clients_are_held_and_then_told() {
    let addresses = [free_address(), free_address()];
    let (listen, towpath) = balancer(&[&addresses[0], &addresses[1]], "", "hold = \"1s\"");
    let begun = Instant::now();
    let answer = Client::connect(&listen).ask(GET);
    assert_eq!((answer.status, answer.is_whole), (503, true));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    assert!(!answer.body.contains("127.0.0.1"), "{answer:?}");
    let json = Client::connect(&listen).ask(&GET.replace("\r\n\r\n", "\r\nAccept: application/json\r\n\r\n"));
    assert_eq!((json.status, json.field("content-type")), (503, vec!["application/json"]));
    serde_json::from_str::<serde_json::Value>(&json.body).unwrap();
    towpath.stop(2);
}

#[test]
fn a_backend_that_comes_back_serves_those_that_are_held() {
    let address = free_address();
    let (listen, towpath) = balancer(&[&address], "", "hold = \"20s\"");
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..20 {
            let (listen, served) = (&listen, &served);
            scope.spawn(move || {
                let request = if number % 2 == 0 { GET.to_owned() } else { with_body("POST", "", 100_000) };
                assert_eq!(Client::connect(listen).ask(&request).status, 200);
                served.fetch_add(1, Ordering::SeqCst);
            });
        }
        // sleep: how long it is down.
        thread::sleep(Duration::from_secs(1));
        assert_eq!(served.load(Ordering::SeqCst), 0);
        let listener = TcpListener::bind(&address).unwrap();
        scope.spawn(move || {
            let mut streams: Vec<_> = (0..20).map(|_| listener.accept().unwrap().0).collect();
            for stream in &mut streams {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                    .unwrap();
            }
            streams.iter_mut().for_each(|stream| drop(read_to_end(stream)));
        });
    });
    towpath.stop(20);
}
