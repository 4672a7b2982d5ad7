//! What streams of a tunnel cost each other, and what a tunnel costs at all: time, round trips and memory.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::middle::Middle;
use support::net::{End, Server, assert_echo, connect, echo_server, end_writes, read_to_end};
use support::ports::free_address;
use support::proc::own_memory_bytes;
use support::towpath::Towpath;
use support::tunnel::{Tunnel, exchange, far, fill, new_key};

const MIB: u64 = 1024 * 1024;

/// Has so many streams exchange bytes at the same time, and tells how long that took.
fn exchange_at_once(listen: &str, streams: u64) -> Duration {
    let begun = Instant::now();
    thread::scope(|scope| {
        for start in 0..streams {
            scope.spawn(move || exchange(connect(listen), 100_000, start));
        }
    });
    begun.elapsed()
}

#[test]
fn one_of_a_hundred_streams_that_stalls_costs_the_others_no_time() {
    let server = Server::start();
    let tunnel = Tunnel::to(&server.address(), "lanes=2&compress=off", &[]);
    let mut stalled = connect(&tunnel.listen);
    stalled.write_all(b"x").unwrap();
    let _unread = server.accept();
    server.try_clone().echo();
    let usual = exchange_at_once(&tunnel.listen, 99);
    fill(&mut stalled);
    let beside_it = exchange_at_once(&tunnel.listen, 99);
    assert!(beside_it < 2 * usual + Duration::from_secs(1), "{beside_it:?} in place of {usual:?}");
}

/// A server that answers once its client has ended.
fn answering_at_the_end() -> String {
    let server = Server::start();
    let address = server.address();
    thread::spawn(move || {
        loop {
            let mut served = server.accept();
            read_to_end(&mut served);
            served.write_all(b"done").unwrap();
        }
    });
    address
}

fn ended(client: TcpStream) -> TcpStream {
    end_writes(&client);
    client
}

#[test]
fn a_stream_of_a_tunnel_that_is_there_costs_one_round_trip() {
    const ONE_WAY: Duration = Duration::from_millis(100);
    let folder = tempfile::tempdir().unwrap();
    let (key, far_listen, listen) = (new_key(&folder, "key"), free_address(), free_address());
    let _far = far(&far_listen, &["--key-file", &key]);
    let middle = Middle::with_delay(&far_listen, ONE_WAY);
    let url = format!("towpath://{}?key-file={key}&lanes=2", middle.address);
    let _near = Towpath::tcp(&listen, &echo_server(), &["--via", &url, "--connect-timeout", "10s"]);
    let ends = free_address();
    let _other = Towpath::tcp(&ends, &answering_at_the_end(), &["--via", &url, "--connect-timeout", "10s"]);
    assert_echo(&mut connect(&listen), "it is there now");
    assert_eq!(read_to_end(&mut ended(connect(&ends))), (b"done".to_vec(), End::Fin));
    let times = (0..5).map(|_| {
        let begun = Instant::now();
        assert_echo(&mut connect(&listen), "a question");
        begun.elapsed()
    });
    let mut times: Vec<_> = times.collect();
    times.sort();
    assert!(times[0] >= 2 * ONE_WAY, "the way is as long as it is: {times:?}");
    assert!(times[2] < 3 * ONE_WAY, "not a second time there and back: {times:?}");
    // The end of what a client has to say leaves with it.
    let mut client = connect(&ends);
    let asked = Instant::now();
    client.write_all(b"all").unwrap();
    end_writes(&client);
    assert_eq!(read_to_end(&mut client), (b"done".to_vec(), End::Fin));
    assert!(asked.elapsed() < 3 * ONE_WAY, "{:?}", asked.elapsed());
    // What comes while the stream is being opened leaves too.
    let mut client = connect(&listen);
    // sleep: the stream is to be on its way by then.
    thread::sleep(ONE_WAY / 4);
    let asked = Instant::now();
    assert_echo(&mut client, "a late question");
    assert!(asked.elapsed() < 3 * ONE_WAY, "{:?}", asked.elapsed());
}

#[test]
fn memory_of_both_ends_is_bounded_whoever_reads_nothing() {
    const STREAMS: u64 = 12;
    // What docs/tunnel.md says, and what a process has anyway.
    const BOUND: u64 = 8 * MIB + STREAMS * 768 * 1024 + 2 * 512 * 1024 + 24 * MIB;
    let (far_listen, listen, server) = (free_address(), free_address(), Server::start());
    let far = Towpath::file(&format!(
        "[[listener]]\nname = \"far\"\nbind = \"{far_listen}\"\nmode = \"tunnel\"\npool = \"out\"\n\
         allow_dest = [\"127.0.0.0/8\"]\ntunnel = {{ plain = true, window = \"4MiB\", memory = \"8MiB\" }}\n\n\
         [[pool]]\nname = \"out\"\n"
    ));
    let url = format!("towpath://{far_listen}?plain&lanes=2&window=4MiB&memory=8MiB");
    let near = Towpath::tcp(&listen, &server.address(), &["--via", &url]);
    let mut streams = Vec::new();
    for is_down in (0..STREAMS).map(|stream| stream % 2 == 0) {
        let mut client = connect(&listen);
        client.write_all(b"x").unwrap();
        let mut served = server.accept();
        served.read_exact(&mut [0]).unwrap();
        fill(if is_down { &mut served } else { &mut client });
        streams.push((client, served));
    }
    let held = [&near, &far].map(|end| own_memory_bytes(end.pid()));
    assert!(held.iter().all(|held| *held < BOUND), "{held:?} of {BOUND}");
    drop(streams);
}
