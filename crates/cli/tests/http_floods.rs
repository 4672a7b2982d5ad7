//! Clients that flood: their neighbours hardly notice, memory is bounded, and they are cut.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frames, GET, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use support::net::{connect, read_with};
use support::proc::{allow_descriptors, own_memory_bytes};
use support::raw_web::{Client, Web, balancer_file};
use support::towpath::Towpath;
use support::turns::Turn;

/// What a flood may cost in memory.
const MEMORY: u64 = 48 << 20;

/// Times are compared no finer than that: the machine has other things to do, and the client of a flood takes its processors.
const NOISE: Duration = Duration::from_millis(30);

/// How long a flood goes on, unless it is cut before.
const FLOOD: Duration = Duration::from_secs(4);

/// Set when this is dropped, be it by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// towpath in front of one backend, alone on the machine.
struct Flooded {
    listen: String,
    towpath: Towpath,
    _web: Web,
    _turn: Turn,
}

impl Flooded {
    fn start(listener: &str) -> Self {
        Self::start_before(Web::start(), listener)
    }

    fn start_before(web: Web, listener: &str) -> Self {
        let (turn, listen) = (Turn::alone(), support::ports::free_address());
        let file = balancer_file(&listen, &[&web.address], listener, "");
        let towpath = Towpath::file_as(&format!("[log]\nrecords = false\n{file}"), None);
        Self { listen, towpath, _web: web, _turn: turn }
    }

    /// The time within which 99 of 100 requests of two neighbours are answered, until `is_over`, at least 400 requests.
    fn p99(&self, is_over: impl Fn() -> bool + Sync) -> Duration {
        let mut times: Vec<Duration> = thread::scope(|scope| {
            let neighbours = [0, 1].map(|_| {
                scope.spawn(|| {
                    let (mut client, mut times) = (Client::connect(&self.listen), Vec::new());
                    while times.len() < 200 || !is_over() {
                        let begun = Instant::now();
                        assert_eq!(client.get("/neighbour").status, 200);
                        times.push(begun.elapsed());
                        // sleep: neighbours are in no hurry.
                        thread::sleep(Duration::from_millis(2));
                    }
                    times
                })
            });
            neighbours.into_iter().flat_map(|neighbour| neighbour.join().unwrap()).collect()
        });
        times.sort_unstable();
        times[times.len() * 99 / 100]
    }

    /// Has `flood` on its way beside the neighbours: it returns what it thinks of its end.
    fn flood<T: Send>(&self, flood: impl FnOnce() -> T + Send) -> T {
        let calm = beside_busy_threads(|| self.p99(|| true));
        let before = own_memory_bytes(self.towpath.pid());
        let is_over = AtomicBool::new(false);
        let (result, busy, most) = thread::scope(|scope| {
            let memory = scope.spawn(|| {
                let mut most = 0;
                while !is_over.load(Ordering::SeqCst) {
                    most = most.max(own_memory_bytes(self.towpath.pid()).saturating_sub(before));
                    // sleep: the gap between two looks.
                    thread::sleep(Duration::from_millis(20));
                }
                most
            });
            let flooding = scope.spawn(|| {
                let _over = Over(&is_over);
                flood()
            });
            let busy = self.p99(|| is_over.load(Ordering::SeqCst));
            (flooding.join().unwrap(), busy, memory.join().unwrap())
        });
        println!("p99 {calm:?} and {busy:?}, {most} bytes more");
        assert!(busy <= (2 * calm).max(NOISE), "{busy:?} beside the flood and {calm:?} without");
        assert!(most <= MEMORY, "{most} bytes more");
        result
    }
}

/// Writes `part` again and again while somebody reads what comes, until the connection ends or the time is over: whether it was
/// ended by the other side, and how many parts went.
fn pour(mut stream: TcpStream, mut part: impl FnMut(u32) -> Vec<u8>) -> (bool, u32) {
    let mut reader = stream.try_clone().unwrap();
    let reading = thread::spawn(move || {
        read_with(&mut reader, |_| {});
    });
    let begun = Instant::now();
    for number in 0.. {
        if begun.elapsed() > FLOOD {
            stream.shutdown(Shutdown::Both).unwrap();
            reading.join().unwrap();
            return (false, number);
        }
        if stream.write_all(&part(number)).is_err() || reading.is_finished() {
            return (true, number);
        }
    }
    unreachable!("it ends by time")
}

/// Measures while two threads do what they can: those of a flood's client take the processors too.
fn beside_busy_threads<T>(measure: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let _over = Over(&is_over);
        measure()
    })
}

fn hello(listen: &str) -> TcpStream {
    Frames::connect(listen, &[]).0
}

#[test]
fn rapid_resets() {
    let flooded = Flooded::start("");
    let get = block(GET);
    let (is_cut, count) = flooded.flood(|| {
        pour(hello(&flooded.listen), |number| {
            let streams = (0..50).map(|place| 2 * (50 * number + place) + 1);
            let pair = |stream| {
                let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get);
                [head, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            };
            streams.flat_map(pair).collect()
        })
    });
    assert!(is_cut, "{} streams were begun and reset, and it goes on", 50 * count);
}

/// The same more slowly: each stream is at the backend before it is reset.
#[test]
fn resets_of_streams_that_are_at_the_backend() {
    let flooded = Flooded::start("");
    let (is_cut, count) = flooded.flood(|| {
        let mut client = Frames::connect(&flooded.listen, &[]);
        let begun = Instant::now();
        for number in 0..20_000 {
            let stream = 2 * number + 1;
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            let ping = frame(PING, 0, 0, &[0; 8]);
            let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(GET));
            if client.0.write_all(&[head, ping, reset].concat()).is_err() {
                return (true, number);
            }
            // Until it has got as far as the ping.
            loop {
                match client.next() {
                    None => return (true, number),
                    Some(frame) if frame.kind == GOAWAY => return (true, number),
                    Some(frame) if frame.kind == PING => break,
                    Some(_) => {}
                }
            }
            if begun.elapsed() > FLOOD {
                return (false, number);
            }
        }
        (false, 20_000)
    });
    println!("cut: {is_cut}, after {count} streams");
}

#[test]
fn continuations_without_end() {
    let flooded = Flooded::start("");
    for (name, part) in [
        ("large ones", frame(CONTINUATION, 0, 1, &block([("x", "a".repeat(16_000).as_str())]))),
        ("small ones", frame(CONTINUATION, 0, 1, &block([("x", "a")])).repeat(100)),
        ("empty ones", frame(CONTINUATION, 0, 1, &[]).repeat(100)),
    ] {
        let (is_cut, count) = flooded.flood(|| {
            let mut stream = hello(&flooded.listen);
            stream.write_all(&frame(HEADERS, END_STREAM, 1, &block(GET))).unwrap();
            pour(stream, |_| part.clone())
        });
        assert!(is_cut, "{name}: {count} parts, and it goes on");
        let bytes = part.len() * count as usize;
        assert!(bytes < 48 << 20, "{name}: cut after {bytes} bytes");
    }
}

/// A flood of these frames, whose answers are read.
fn assert_cut(part: &[u8]) {
    let flooded = Flooded::start("");
    let (is_cut, count) = flooded.flood(|| pour(hello(&flooded.listen), |_| part.to_vec()));
    assert!(is_cut, "{} frames, and it goes on", 100 * count);
}

#[test]
fn settings_that_say_nothing() {
    assert_cut(&frame(SETTINGS, 0, 0, &[]).repeat(100));
}

#[test]
fn settings_that_change_their_mind() {
    let windows = (0..100).flat_map(|number: u32| {
        let window = (65_535 + number % 2).to_be_bytes();
        frame(SETTINGS, 0, 0, &[&[0, 4][..], &window].concat())
    });
    assert_cut(&windows.collect::<Vec<u8>>());
}

#[test]
fn pings() {
    assert_cut(&frame(PING, 0, 0, b"01234567").repeat(100));
}

/// Answers to pings that nobody reads are not kept.
#[test]
fn pings_of_a_client_that_does_not_read() {
    let flooded = Flooded::start("");
    flooded.flood(|| {
        let mut stream = hello(&flooded.listen);
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let (pings, begun) = (frame(PING, 0, 0, b"01234567").repeat(1_000), Instant::now());
        while begun.elapsed() < FLOOD {
            match stream.write_all(&pings) {
                Ok(()) => {}
                // It is not read any more: it pays itself.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(_) => break,
            }
        }
    });
}

/// A backend whose answers have a body of a megabyte, but for the neighbours'.
fn large() -> Web {
    Web::answering(|request, stream| {
        let size = if request.path() == "/neighbour" { 10 } else { 1 << 20 };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), &vec![b'a'; size]].concat()).is_ok()
    })
}

/// Reads until there is a word of the end, or that itself; whether it came within a time.
fn is_cut_within(client: &mut Frames, limit: Duration) -> bool {
    let begun = Instant::now();
    client.0.set_read_timeout(Some(limit)).unwrap();
    while begun.elapsed() < limit {
        match client.next() {
            // A timeout too is an end of reading.
            None => return begun.elapsed() < limit,
            Some(frame) if matches!(frame.kind, GOAWAY | RST_STREAM) => return true,
            Some(_) => {}
        }
    }
    false
}

#[test]
fn windows_that_never_open() {
    let flooded = Flooded::start_before(large(), "body_timeout = \"2s\"");
    let is_cut = flooded.flood(|| {
        // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
        let mut closed = Frames::connect(&flooded.listen, &[(4, 0)]);
        for number in 0..100 {
            closed.get(2 * number + 1, GET);
        }
        let is_served = AtomicBool::new(false);
        thread::scope(|scope| {
            // Others on such a connection that open theirs.
            scope.spawn(|| {
                let mut open = Frames::connect(&flooded.listen, &[(4, 1 << 24)]);
                open.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()));
                for number in 0..50 {
                    open.get(2 * number + 1, GET);
                }
                let mut ended = 0;
                while ended < 50 {
                    let frame = open.next().expect("all are served");
                    assert!(!matches!(frame.kind, GOAWAY | RST_STREAM), "{frame:?}");
                    ended += usize::from(frame.kind <= HEADERS && frame.flags & END_STREAM != 0);
                }
                is_served.store(true, Ordering::SeqCst);
            });
            let is_cut = is_cut_within(&mut closed, Duration::from_secs(15));
            (is_cut, is_served.load(Ordering::SeqCst))
        })
    });
    assert_eq!(is_cut, (true, true), "cut, and the others served before");
}

/// The same over HTTP/1: clients that ask for much and read nothing.
#[test]
fn readers_that_never_read() {
    let flooded = Flooded::start_before(large(), "body_timeout = \"2s\"");
    flooded.flood(|| {
        let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(&flooded.listen)).collect();
        for client in &mut clients {
            let get = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
            // More than fits into all the buffers on the way.
            client.write_all(&get.repeat(20)).unwrap();
        }
        // sleep: far longer than a body may pause.
        thread::sleep(Duration::from_secs(8));
        for client in &mut clients {
            let mut count = 0;
            let begun = Instant::now();
            client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut part = vec![0; 1 << 20];
            while let Ok(read @ 1..) = client.read(&mut part) {
                count += read;
            }
            assert!(count < 20 << 20, "an answer that nobody has read for 8 s is cut off");
            assert!(begun.elapsed() < Duration::from_secs(2), "its connection is still open");
        }
    });
}

#[test]
fn thousands_of_heads_that_never_end() {
    allow_descriptors(12_000);
    let flooded = Flooded::start("header_timeout = \"3s\"");
    let count = 10_000;
    let statuses = flooded.flood(|| {
        let mut clients: Vec<TcpStream> = (0..count).map(|_| connect(&flooded.listen)).collect();
        let begun = Instant::now();
        let mut letters = "GET / HTTP/1.1\r\nHost: a.example\r\nX: ".bytes().chain(std::iter::repeat(b'a'));
        while begun.elapsed() < Duration::from_secs(5) {
            let letter = [letters.next().unwrap()];
            // Those that are cut take no more.
            clients.iter_mut().for_each(|client| drop(client.write_all(&letter)));
            // sleep: the clients are slow on purpose.
            thread::sleep(Duration::from_millis(100));
        }
        let status = |client: &mut TcpStream| {
            let mut start = [0; 12];
            // A reset may take the answer along; what matters is the end.
            client.read_exact(&mut start).map_or_else(
                |error| error.kind().to_string(),
                |()| String::from_utf8_lossy(&start).into_owned(),
            )
        };
        clients.iter_mut().map(status).collect::<Vec<_>>()
    });
    let late = statuses.iter().filter(|status| *status == "HTTP/1.1 408").count();
    let waiting =
        statuses.iter().filter(|status| status.contains("block") || status.contains("timed")).count();
    assert_eq!(waiting, 0, "all are cut");
    assert!(late > count / 2, "{late} of {count} were told that they are late");
}
