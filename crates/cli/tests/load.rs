//! Many connections: nothing of them is left behind, and thousands at once are carried well.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::net::{End, Server, connect, end_writes, narrow, pair, read_exactly, read_with, reset};
use support::ports::free_address;
use support::proc::{allow_descriptors, open_descriptors, own_memory_bytes};
use support::services::redis;
use support::towpath::{Towpath, command};
use support::turns::Turn;
use support::wait_for;

const MIB: u64 = 1024 * 1024;

/// How a connection is to end; the client says it with its first byte.
const WAYS: &[u8] = b"csCSrRi";

/// Ends every connection as its first byte says.
fn obliging_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || oblige(stream.unwrap()));
        }
    });
    address
}

fn oblige(mut stream: TcpStream) {
    let mut way = [0];
    if stream.read_exact(&mut way).is_err() || stream.write_all(b"ok").is_err() {
        return;
    }
    match way[0] {
        b's' => drop(stream),
        b'S' => {
            end_writes(&stream);
            read_with(&mut stream, |_| {});
        }
        b'R' => reset(stream),
        _ => {
            read_with(&mut stream, |_| {});
            // To the client that has ended its half.
            let _ = stream.write_all(b"late");
        }
    }
}

/// One connection that ends in `way`.
fn one(listen: &str, way: u8) {
    let mut client = connect(listen);
    client.write_all(&[way]).unwrap();
    read_exactly(&mut client, 2);
    match way {
        b'c' => drop(client),
        b'C' => {
            end_writes(&client);
            assert_eq!(read_exactly(&mut client, 4), b"late");
        }
        b'S' => {
            read_with(&mut client, |_| {});
            client.write_all(b"late").unwrap();
        }
        b'r' => reset(client),
        _ => {
            read_with(&mut client, |_| {});
        }
    }
}

/// 5,000 connections that end in every way, 700 of them refused.
fn every_way(listen: &str, refused: &str) {
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for round in 0..250 {
                    match WAYS.get(round % (WAYS.len() + 1)) {
                        Some(way) => one(listen, *way),
                        None => support::net::assert_reset_or_refused(refused),
                    }
                }
            });
        }
    });
}

#[test]
fn nothing_is_left_of_connections_that_end_in_every_way() {
    let _turn = Turn::alone();
    let (listen, refused, nobody) = (free_address(), free_address(), free_address());
    let text = format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\nidle_timeout = \"150ms\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"{}\"\n\
         [[listener]]\nname = \"refused\"\nbind = \"{refused}\"\npool = \"nobody\"\n\
         [[pool]]\nname = \"nobody\"\nbackend = \"{nobody}\"\nhold = \"off\"\n",
        obliging_server()
    );
    let towpath = Towpath::file_as(&text, None);
    let pid = towpath.pid();
    one(&listen, b'c');
    towpath.records(1);
    let descriptors = open_descriptors(pid);
    every_way(&listen, &refused);
    towpath.records(5_001);
    wait_for("closed descriptors", || (open_descriptors(pid) == descriptors).then_some(()));
    let memory = own_memory_bytes(pid);
    every_way(&listen, &refused);
    let records = towpath.records(10_001);
    wait_for("closed descriptors", || (open_descriptors(pid) == descriptors).then_some(()));
    let grown = own_memory_bytes(pid).saturating_sub(memory);
    assert!(grown <= 2 * MIB, "{grown} bytes more than after the first 5,000");
    for end in ["client closed", "server closed", "client reset", "server reset", "idle", "connect refused"] {
        let count = records.iter().filter(|record| record.text("end") == end).count();
        assert!(count > 600, "{count} connections ended with {end}");
    }
    towpath.stop(10_001);
}

/// Writes megabytes and resets, or writes until the other side resets.
fn pour(mut stream: TcpStream, cuts: bool) {
    let bytes = vec![7; 4_000_000];
    while stream.write_all(&bytes).is_ok() {
        if cuts {
            return reset(stream);
        }
    }
}

/// Reads until the other side resets, or some of it and resets.
fn drain(mut stream: TcpStream, cuts: bool) {
    if cuts {
        read_exactly(&mut stream, 2_000_000);
        reset(stream);
    } else {
        assert_eq!(read_with(&mut stream, |_| {}), End::Reset);
    }
}

/// A client and its server, of which each has heard the other: a server that breaks before is one that another replaces.
fn well_met(listen: &str, server: &Server) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = pair(listen, server);
    server.write_all(b"!").unwrap();
    assert_eq!(read_exactly(&mut client, 1), b"!");
    (client, server)
}

#[test]
fn nothing_but_spare_pipes_is_left_of_transfers_that_are_cut() {
    let _turn = Turn::alone();
    let (listen, server) = (free_address(), Server::start());
    let flags = ["tcp", &listen, &server.address(), "--workers", "2", "--log-format", "json"];
    let towpath = Towpath::start_alone(command(flags));
    let before = open_descriptors(towpath.pid());
    for round in 0..20 {
        let pairs: Vec<_> = (0..20).map(|_| well_met(&listen, &server)).collect();
        thread::scope(|scope| {
            for (client, server) in pairs {
                let (source, sink) = if round % 2 == 0 { (client, server) } else { (server, client) };
                let source_cuts = round % 4 < 2;
                scope.spawn(move || pour(source, source_cuts));
                scope.spawn(move || drain(sink, !source_cuts));
            }
        });
    }
    towpath.records(400);
    // Sixteen spare pipes a worker at most, of two descriptors each.
    wait_for("closed descriptors", || (open_descriptors(towpath.pid()) <= before + 64).then_some(()));
    towpath.stop(400);
}

/// Redis echoes, in a process of its own: here and in towpath each connection takes descriptors already.
fn echo(stream: &mut TcpStream) {
    stream.write_all(b"ECHO towpath!\r\n").unwrap();
    assert_eq!(read_exactly(stream, 14), b"$8\r\ntowpath!\r\n");
}

#[test]
fn nine_thousand_live_connections_and_quick_service_for_the_next() {
    let _turn = Turn::alone();
    allow_descriptors(20_000);
    let (listen, redis) = (free_address(), redis());
    let towpath = Towpath::start_alone(command(["tcp", &listen, &redis.address(), "--log-format", "json"]));
    let mut live: Vec<TcpStream> = Vec::new();
    for _ in 0..9_000 {
        let mut client = connect(&listen);
        echo(&mut client);
        live.push(client);
    }
    let mut times: Vec<Duration> = (0..1_000)
        .map(|_| {
            let start = Instant::now();
            echo(&mut connect(&listen));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (p50, p99) = (times[500], times[990]);
    println!("connect and echo beside 9,000: p50 {p50:?}, p99 {p99:?}");
    assert!(p99 < Duration::from_millis(50), "{p99:?}");
    live.iter_mut().for_each(echo);
    println!("{} MiB for 9,000 connections", own_memory_bytes(towpath.pid()) / MIB);
    drop(live);
    towpath.stop(10_000);
}

/// Fills connections whose clients never read until nothing goes any more, and tells how much memory that took.
fn memory_of_slow_readers(relay: &str, count: u64) -> u64 {
    let (listen, server) = (free_address(), Server::start());
    let text = format!(
        "{relay}\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"{}\"\n",
        server.address()
    );
    let towpath = Towpath::file_as(&text, None);
    let pairs: Vec<_> = (0..count).map(|_| pair(&listen, &server)).collect();
    let before = own_memory_bytes(towpath.pid());
    thread::scope(|scope| {
        for (_, server) in &pairs {
            scope.spawn(move || {
                let (mut server, bytes) = (server, vec![1; 1 << 20]);
                server.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
                let full = loop {
                    if let Err(error) = server.write(&bytes) {
                        break error.kind();
                    }
                };
                assert_eq!(full, ErrorKind::WouldBlock, "it stops only when there is no room");
            });
        }
    });
    own_memory_bytes(towpath.pid()).saturating_sub(before)
}

#[test]
fn clients_that_never_read_take_bounded_memory() {
    let _turn = Turn::alone();
    for relay in ["", "[relay]\nsplice = false"] {
        let grown = memory_of_slow_readers(relay, 32);
        println!("{relay:?}: {grown} bytes for 32 connections");
        assert!(grown <= 32 * MIB, "{relay:?}: {grown} bytes for 32 connections");
    }
}

#[test]
fn memory_of_slow_readers_comes_back_while_they_live() {
    const MANY: usize = 100;
    const LENGTH: usize = 240_000;
    let (listen, server) = (free_address(), Server::start());
    let towpath = Towpath::file(&format!(
        "workers = 2\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\nsend_buffer = \"16KiB\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"{}\"\n",
        server.address()
    ));
    let mut pairs: Vec<_> = (0..MANY).map(|_| (narrow(&listen), server.accept())).collect();
    let pid = towpath.pid();
    let before = own_memory_bytes(pid);
    for (_, server) in &mut pairs {
        server.write_all(&vec![b'a'; LENGTH]).unwrap();
    }
    // What the readers leave is in towpath's own memory, as far as it was read at once.
    let held = (MANY * LENGTH / 8) as u64;
    wait_for("held bytes", || (own_memory_bytes(pid) > before + held).then_some(()));
    for (client, _) in &mut pairs {
        read_exactly(client, LENGTH);
    }
    // All but a third: workers keep a little at hand.
    wait_for("memory that is given back", || (own_memory_bytes(pid) < before + held / 3).then_some(()));
    drop(pairs);
    towpath.stop(MANY);
}
