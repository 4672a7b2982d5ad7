//! Servers that fail in every way beside ones that work: no client notices.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::net::read_to_end;
use support::odd::{resetting, silent};
use support::ports::free_address;
use support::towpath::Towpath;
use support::turns::Turn;
use support::{seed, wait_for};

/// A server that answers each client's line with one of its own, until it is stopped: then it resets what it has.
struct Worker {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    served: Arc<AtomicUsize>,
}

impl Worker {
    fn on(address: &str) -> Self {
        let listener = wait_for("the port of a server", || TcpListener::bind(address).ok());
        listener.set_nonblocking(true).unwrap();
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = listener.local_addr().unwrap().to_string();
        let (stopping, count) = (stop.clone(), served.clone());
        let thread = thread::spawn(move || serve(&listener, &stopping, &count));
        Self { address, stop, thread: Some(thread), served }
    }

    /// Lets clients finish, for a short while, or not.
    fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Takes no more clients once it is stopped: those that wait are reset, those that were taken are served.
fn serve(listener: &TcpListener, stop: &AtomicBool, served: &Arc<AtomicUsize>) {
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((mut client, _)) => {
                let served = served.clone();
                thread::spawn(move || {
                    client.set_nonblocking(false).unwrap();
                    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    let mut line = [0; 5];
                    if client.read_exact(&mut line).is_ok() && client.write_all(b"pong\n").is_ok() {
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            // sleep: the listener is asked again and again, so that it can be stopped.
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Asks once and returns how long the answer took.
fn ask(address: &str) -> Result<Duration, String> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"ping\n").map_err(|error| format!("write: {error}"))?;
    let (got, end) = read_to_end(&mut stream);
    if got == b"pong\n" {
        Ok(start.elapsed())
    } else {
        Err(format!("{got:?}, {end:?} after {:?}", start.elapsed()))
    }
}

/// `count` clients, a few at a time; returns the failures and the longest time.
fn ask_many(address: &str, count: usize) -> (Vec<String>, Duration) {
    let next = AtomicUsize::new(0);
    let results: Vec<_> = thread::scope(|scope| {
        let client = || {
            let mut results = Vec::new();
            while next.fetch_add(1, Ordering::SeqCst) < count {
                results.push(ask(address));
            }
            results
        };
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let slowest = results.iter().filter_map(|result| result.as_ref().ok()).max().copied().unwrap_or_default();
    assert_eq!(results.len(), count);
    (results.into_iter().filter_map(Result::err).collect(), slowest)
}

fn config(listen: &str, backends: &[String], more: &str) -> String {
    let backends: Vec<_> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = [{}]\n{more}\n",
        backends.join(", ")
    )
}

/// 500 clients through three backends of which one is `bad`: none may fail, none may take a second.
fn assert_unnoticed(bad: &str, more: &str) -> Towpath {
    let (listen, good) = (free_address(), [Worker::on("127.0.0.1:0"), Worker::on("127.0.0.1:0")]);
    let backends = [good[0].address.clone(), bad.to_owned(), good[1].address.clone()];
    let towpath = Towpath::file(&config(&listen, &backends, more));
    let (failures, slowest) = ask_many(&listen, 500);
    assert!(
        failures.is_empty(),
        "{} of 500 failed: {:?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    assert!(slowest < Duration::from_secs(1), "the slowest took {slowest:?}");
    towpath
}

#[test]
fn one_of_three_refuses() {
    let towpath = assert_unnoticed(&free_address(), "");
    towpath.stderr.wait_for("is out for");
}

#[test]
fn one_of_three_swallows_what_clients_send_to_connect() {
    let (silent, _filling) = silent();
    assert_unnoticed(&silent.local_addr().unwrap().as_socket().unwrap().to_string(), "");
}

#[test]
fn one_of_three_accepts_and_resets_after_the_first_bytes() {
    assert_unnoticed(&resetting(true), "replay = \"always\"");
}

#[test]
fn one_of_three_accepts_and_resets_at_once() {
    assert_unnoticed(&resetting(false), "replay = \"always\"");
}

#[test]
fn first_bytes_are_not_sent_twice_unless_that_is_safe() {
    let (listen, good) = (free_address(), Worker::on("127.0.0.1:0"));
    let towpath =
        Towpath::file(&config(&listen, &[resetting(true), good.address.clone()], "eject_after = \"off\""));
    let failed = (0..10).filter(|_| ask(&listen).is_err()).count();
    assert_eq!(failed, 5, "each second client's bytes went to the one that resets");
    let records = towpath.records(10);
    let resets = records.iter().filter(|record| record.end() == "relay: server reset").count();
    assert_eq!(resets, 5, "{records:#?}");
}

/// Three servers of which two are killed and started at random, one always alive.
#[test]
fn servers_that_are_killed_and_started_at_random_are_not_noticed() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let seconds = if support::nightly() { 60 } else { 8 };
    let (listen, _turn) = (free_address(), Turn::alone());
    let mut servers: Vec<_> = (0..3).map(|_| Worker::on("127.0.0.1:0")).collect();
    let addresses: Vec<_> = servers.iter().map(|server| server.address.clone()).collect();
    let _towpath = Towpath::file_as(&config(&listen, &addresses, "replay = \"always\""), None);
    let over = AtomicBool::new(false);
    let (failures, asked) = thread::scope(|scope| {
        let load = scope.spawn(|| under_load(&listen, &over));
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            let chosen = rng.usize(..3);
            let alive = servers.iter().filter(|server| server.thread.is_some()).count();
            if servers[chosen].thread.is_none() {
                servers[chosen] = Worker::on(&addresses[chosen]);
            } else if alive > 1 {
                servers[chosen].stop();
            }
            // sleep: the pace of the changes.
            thread::sleep(Duration::from_millis(rng.u64(20..300)));
        }
        over.store(true, Ordering::SeqCst);
        load.join().unwrap()
    });
    assert!(
        failures.is_empty(),
        "{} of {asked} failed: {:?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    assert!(asked as u64 > seconds * 100, "only {asked} were asked");
}

#[test]
fn a_rolling_restart_is_not_noticed() {
    let (listen, _turn) = (free_address(), Turn::alone());
    let mut servers: Vec<_> = (0..3).map(|_| Worker::on("127.0.0.1:0")).collect();
    let addresses: Vec<_> = servers.iter().map(|server| server.address.clone()).collect();
    let _towpath = Towpath::file_as(&config(&listen, &addresses, "replay = \"always\""), None);
    let over = AtomicBool::new(false);
    let (failures, asked) = thread::scope(|scope| {
        let load = scope.spawn(|| under_load(&listen, &over));
        for place in 0..3 {
            servers[place].stop();
            // sleep: the time that a restart takes.
            thread::sleep(Duration::from_millis(700));
            servers[place] = Worker::on(&addresses[place]);
            let before = servers[place].served.load(Ordering::SeqCst);
            wait_for("clients at the one that is back", || {
                (servers[place].served.load(Ordering::SeqCst) > before).then_some(())
            });
        }
        over.store(true, Ordering::SeqCst);
        load.join().unwrap()
    });
    assert!(
        failures.is_empty(),
        "{} of {asked} failed: {:?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
}

/// About 200 clients a second until it is over; returns the failures and how many were asked.
fn under_load(listen: &str, over: &AtomicBool) -> (Vec<String>, usize) {
    thread::scope(|scope| {
        let client = |first: u64| {
            move || {
                let (mut failures, mut asked) = (Vec::new(), 0);
                // sleep: an open loop at a steady pace.
                thread::sleep(Duration::from_millis(first));
                while !over.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    failures.extend(ask(listen).err());
                    asked += 1;
                    // sleep: the rest of the beat.
                    thread::sleep(Duration::from_millis(80).saturating_sub(start.elapsed()));
                }
                (failures, asked)
            }
        };
        let clients: Vec<_> = (0..16).map(|place| scope.spawn(client(place * 5))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).fold(
            (Vec::new(), 0),
            |mut all, (failures, asked)| {
                all.0.extend(failures);
                (all.0, all.1 + asked)
            },
        )
    })
}

#[test]
fn clients_wait_while_all_are_down() {
    let (listen, address) = (free_address(), [free_address(), free_address()]);
    let towpath = Towpath::file(&config(&listen, &address, ""));
    let (failures, slowest) = thread::scope(|scope| {
        let clients = scope.spawn(|| ask_many(&listen, 50));
        // sleep: how long all are down.
        thread::sleep(Duration::from_secs(3));
        let _back = Worker::on(&address[0]);
        clients.join().unwrap()
    });
    assert!(failures.is_empty(), "{failures:?}");
    assert!(slowest >= Duration::from_secs(2), "{slowest:?}");
    let records = towpath.stop(50);
    assert!(records.iter().all(|record| record.end() == "relay: server closed"), "{records:#?}");
}
