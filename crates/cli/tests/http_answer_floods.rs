//! Backends that flood, or answer each time in another bad way: nobody pays but those who ask them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::net::connect;
use support::proc::own_memory_bytes;
use support::raw_web::{Client, Web, balancer, echo};
use support::seed;

/// An answer that nobody has asked for.
const HIDDEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhidden";

/// Rests would make the next requests wait.
const POOL: &str = "eject_after = \"off\"\nretries = 0";

/// A backend that sends interim answers and nothing else.
fn flooding_backend() -> Web {
    Web::answering(|request, stream| {
        if request.path() != "/bad" {
            return stream.write_all(&echo(request)).is_ok();
        }
        let many =
            "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n".repeat(1000);
        while stream.write_all(many.as_bytes()).is_ok() {}
        false
    })
}

#[test]
fn floods_of_interim_answers_end() {
    let web = flooding_backend();
    let (listen, towpath) = balancer(&[&web.address], "answer_timeout = \"1s\"", POOL);
    let mut client = Client::connect(&listen);
    client.send("GET /bad HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let begun = Instant::now();
    let last = std::iter::repeat_with(|| client.answer()).find(|answer| answer.status >= 200).unwrap();
    assert!(matches!(last.status, 502 | 504), "{last:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(Client::connect(&listen).get("/fine").status, 200);
    towpath.stop(2);
}

#[test]
fn floods_of_interim_answers_to_a_client_that_does_not_read_are_not_kept() {
    let web = flooding_backend();
    let (listen, towpath) = balancer(&[&web.address], "answer_timeout = \"4s\"", POOL);
    let before = own_memory_bytes(towpath.pid());
    let mut clients: Vec<_> = (0..4).map(|_| connect(&listen)).collect();
    for client in &mut clients {
        client.write_all(b"GET /bad HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    }
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        most = most.max(own_memory_bytes(towpath.pid()).saturating_sub(before));
        assert!(most < 32 << 20, "{most} bytes for four clients after {:?}", begun.elapsed());
        // sleep: the gap between two looks at memory that is to stay as it is.
        thread::sleep(Duration::from_millis(50));
    }
    drop(clients);
    assert_eq!(Client::connect(&listen).get("/fine").status, 200);
}

/// Clients that come and go while the backend answers in every way: none ever gets another's answer.
#[test]
fn no_client_gets_the_answer_of_another() {
    let web = Web::answering(|request, stream| {
        let answer = echo(request);
        let lot = fastrand::usize(..12);
        let sent = match lot {
            0 => stream.write_all(&[&answer, HIDDEN.as_bytes()].concat()),
            1 => stream.write_all(&answer[..answer.len() - 1]),
            2 => stream.write_all(b"garbage\r\n\r\n"),
            3 => stream.write_all(&[b"HTTP/1.1 103 Early Hints\r\n\r\n", &answer[..]].concat()),
            4 => stream.write_all(&answer[..answer.len() / 2]),
            _ => stream.write_all(&answer),
        };
        sent.is_ok() && !matches!(lot, 1 | 2 | 4 | 5)
    });
    let (listen, towpath) = balancer(&[&web.address], "answer_timeout = \"5s\"", "eject_after = \"off\"");
    let seed = seed();
    let asked: usize = thread::scope(|scope| {
        let clients = (0..8).map(|number| {
            scope.spawn({
                let listen = &listen;
                move || ask_many(listen, number, fastrand::Rng::with_seed(seed + number))
            })
        });
        clients.collect::<Vec<_>>().into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(asked > 1000, "{asked} were answered well");
    drop(towpath);
}

/// Asks 400 times; how many answers were whole, each of which is this client's own.
fn ask_many(listen: &str, number: u64, mut lots: fastrand::Rng) -> usize {
    let (mut client, mut well) = (Client::connect(listen), 0);
    for count in 0..400 {
        let path = format!("/{number}/{count}");
        let request = match lots.bool() {
            true => format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            false => format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody"),
        };
        client.send(&request);
        let answer = std::iter::from_fn(|| client.next_answer()).find(|answer| answer.status >= 200);
        let is_whole = answer.as_ref().is_some_and(|answer| answer.is_whole && answer.status == 200);
        if is_whole {
            let body = &answer.as_ref().unwrap().body;
            assert!(
                body.ends_with(&format!(" {path} ")) || body.ends_with(&format!(" {path} body")),
                "{path}: {body}"
            );
            well += 1;
        }
        let goes_on = answer.is_some_and(|answer| answer.is_whole && answer.field("connection") != ["close"]);
        if !goes_on || lots.u8(..10) == 0 {
            client = Client::connect(listen);
        }
    }
    well
}
