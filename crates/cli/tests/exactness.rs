//! Every byte arrives, in order and once, whatever the sizes, the pauses and the way in which they are carried.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use support::data::Data;
use support::net::{End, Server, end_writes, pair, read_with};
use support::ports::free_address;
use support::towpath::Towpath;
use support::{nightly, seed};

const CONNECTIONS: u64 = 4;

/// Sends `count` bytes in chunks and with pauses of `rng`'s choice, and then the end of the stream.
fn send(mut to: TcpStream, mut data: Data, count: u64, mut rng: Rng) -> JoinHandle<()> {
    thread::spawn(move || {
        while data.count() < count {
            let most = match rng.u8(..10) {
                0..3 => rng.usize(1..200),
                3..6 => rng.usize(1..20_000),
                _ => rng.usize(1..1_000_000),
            };
            let most = most.min((count - data.count()) as usize);
            to.write_all(data.next(most)).unwrap();
            if rng.u8(..40) == 0 {
                // sleep: a pause of the sender, part of what is tried.
                thread::sleep(Duration::from_millis(rng.u64(1..8)));
            }
        }
        end_writes(&to);
    })
}

/// Reads to the end with pauses, checks every byte, and expects `count` of them.
fn receive(mut from: TcpStream, mut data: Data, count: u64, mut rng: Rng) -> JoinHandle<()> {
    thread::spawn(move || {
        let end = read_with(&mut from, |bytes| {
            data.check(bytes);
            if rng.u16(..400) == 0 {
                // sleep: a slow reader, part of what is tried.
                thread::sleep(Duration::from_millis(rng.u64(1..10)));
            }
        });
        assert_eq!((data.count(), end), (count, End::Fin));
    })
}

/// Carries `total` bytes in all over four connections at once, as much up as down.
fn carry(relay: &str, total: u64) {
    carry_by(relay, "", total);
}

/// The same with sockets that have these options on both sides.
fn carry_by(relay: &str, keys: &str, total: u64) {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let (listen, server) = (free_address(), Server::start());
    let text = format!(
        "{relay}\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n{keys}\n\
         [[pool]]\nname = \"out\"\nbackend = \"{}\"\n{keys}\n",
        server.address()
    );
    let towpath = Towpath::file(&text);
    let mut threads = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..CONNECTIONS {
        let (client, server) = pair(&listen, &server);
        let each = total / CONNECTIONS / 2;
        let counts = [each + rng.u64(..1000), each - rng.u64(..1000)];
        expected.push((counts[0], counts[1]));
        for (count, from, to) in [(counts[0], &client, &server), (counts[1], &server, &client)] {
            let data = Data::new(rng.u64(..));
            threads.push(send(from.try_clone().unwrap(), data.clone(), count, rng.fork()));
            threads.push(receive(to.try_clone().unwrap(), data, count, rng.fork()));
        }
    }
    for thread in threads {
        thread.join().unwrap_or_else(|_| panic!("with TOWPATH_SEED={seed}"));
    }
    let mut counted: Vec<_> =
        towpath.stop(expected.len()).iter().map(support::towpath::Record::bytes).collect();
    counted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(counted, expected, "with TOWPATH_SEED={seed}");
}

/// Ten times a gigabyte at night, a quarter of one by day.
fn carry_bulk(relay: &str) {
    if !nightly() {
        return carry(relay, 256_000_000);
    }
    for _ in 0..10 {
        carry(relay, 1_000_000_000);
    }
}

#[test]
fn with_the_default_settings() {
    carry_bulk("");
}

#[test]
fn without_splice() {
    carry_bulk("[relay]\nsplice = false");
}

#[test]
fn with_an_early_splice() {
    carry_bulk("[relay]\nsplice_after = \"0B\"");
}

#[test]
fn with_the_smallest_buffers() {
    let relay = "[relay]\nsplice_after = \"1KiB\"\nbuffer = \"4KiB\"\npipe = \"4KiB\"";
    carry(relay, if nightly() { 500_000_000 } else { 64_000_000 });
}

#[test]
fn with_each_option_of_sockets() {
    let all = [
        "mss = 536",
        "write_size = 1000",
        "write_size = 10000\nwrite_gap = \"1ms\"",
        "nodelay = false",
        "cork = true",
        "send_buffer = \"4KiB\"\nreceive_buffer = \"4KiB\"",
        "notsent_lowat = \"1kB\"",
        "congestion = \"reno\"",
        "pacing_rate = \"20MiB/s\"",
        "fastopen = true",
        "mptcp = true",
        "dscp = \"ef\"\nquickack = true",
    ];
    for keys in all {
        println!("{keys}");
        carry_by("", keys, if nightly() { 64_000_000 } else { 4_000_000 });
    }
}
