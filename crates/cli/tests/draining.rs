//! What SIGTERM does: no new connections, the live ones go on, and there is an end to it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::data::Data;
use support::lines::Lines;
use support::net::{
    End, Server, assert_echo, assert_refused, connect, echo_server, pair, read_exactly, read_to_end,
};
use support::ports::free_address;
use support::towpath::{Guarded, Towpath, command};
use support::wait_for;

/// A towpath with `flags` that drains with one live connection.
fn draining(flags: &[&str], signal: Signal) -> (Towpath, String, TcpStream, TcpStream) {
    let server = Server::start();
    let listen = free_address();
    let towpath = Towpath::tcp(&listen, &server.address(), flags);
    let (client, server) = pair(&listen, &server);
    towpath.signal(signal);
    towpath.stderr.wait_for("draining");
    // To connect would not do: who comes just in time is served.
    wait_for("closed port", || TcpListener::bind(&listen).ok());
    (towpath, listen, client, server)
}

#[test]
fn a_running_transfer_is_finished_and_new_clients_are_refused() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut towpath, listen, mut client, mut server) = draining(&[], signal);
        assert_refused(&listen);
        let data = Data::new(1).take(8_000_000);
        let bytes = data.clone();
        let writer = std::thread::spawn(move || server.write_all(&bytes).map(|()| server));
        assert!(read_exactly(&mut client, data.len()) == data, "the transfer is not what was sent");
        client.write_all(b"thanks").unwrap();
        let mut server = writer.join().unwrap().unwrap();
        assert_eq!(read_exactly(&mut server, 6), b"thanks");
        assert!(towpath.is_running(), "it waits for the live connection");
        drop(client);
        assert_eq!(read_to_end(&mut server), (Vec::new(), End::Fin));
        drop(server);
        let ended = towpath.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        let record = &ended.records[0];
        assert_eq!((record.bytes(), record.end().as_str()), ((6, 8_000_000), "relay: client closed"));
    }
}

#[test]
fn a_second_signal_resets_at_once() {
    let (towpath, _, mut client, mut server) = draining(&[], Signal::TERM);
    towpath.signal(Signal::TERM);
    let start = Instant::now();
    let ended = towpath.wait();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_eq!(read_to_end(&mut server), (Vec::new(), End::Reset));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let ends: Vec<_> = ended.records.iter().map(|record| record.end()).collect();
    assert_eq!(ends, ["relay: shutdown"]);
}

#[test]
fn the_drain_timeout_resets_what_is_left() {
    let start = Instant::now();
    let (towpath, _, mut client, mut server) = draining(&["--drain-timeout", "1s"], Signal::TERM);
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_eq!(read_to_end(&mut server), (Vec::new(), End::Reset));
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    let ended = towpath.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("drain timeout"), "{}", ended.stderr);
    assert_eq!(ended.records[0].end(), "relay: shutdown");
}

#[test]
fn without_connections_it_ends_at_once() {
    let listen = free_address();
    let towpath = Towpath::tcp(&listen, &free_address(), &[]);
    let start = Instant::now();
    towpath.stop(0);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// Who waits for the line that tells of a listener may send the signal at once.
#[test]
fn a_signal_right_after_the_listener_was_told_is_heard() {
    for _ in 0..10 {
        let mut command = command(["tcp", &free_address(), &free_address()]);
        let mut child = Guarded::spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        let stderr = Lines::read(child.stderr.take().unwrap());
        stderr.wait_for("listener tcp on");
        child.signal(Signal::TERM);
        let status = child.wait();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

/// Clients that the kernel has let in are served although nobody had accepted them by then.
#[test]
fn a_signal_among_arriving_clients_loses_none_that_were_let_in() {
    for _ in 0..20 {
        let listen = free_address();
        let towpath = Towpath::tcp(&listen, &echo_server(), &[]);
        let mut clients: Vec<_> = (0..50).map(|_| connect(&listen)).collect();
        towpath.signal(Signal::TERM);
        for client in &mut clients {
            assert_echo(client, "still here");
        }
        drop(clients);
        let ended = towpath.wait();
        assert_eq!((ended.status.code(), ended.records.len()), (Some(0), 50), "{}", ended.stderr);
    }
}

/// Nobody reads the records any more, and the pipe is full: that must not keep it from ending.
#[test]
fn a_stopped_reader_of_the_records_does_not_keep_it_from_ending() {
    let listen = free_address();
    let (reader, writer) = std::io::pipe().unwrap();
    let arguments = ["tcp", &listen, &echo_server(), "--drain-timeout", "1s"];
    let mut towpath = Towpath::start_with_stdout(command(arguments), writer.into());
    for _ in 0..2_000 {
        assert_echo(&mut connect(&listen), "x");
    }
    towpath.signal(Signal::TERM);
    wait_for("end of towpath", || (!towpath.is_running()).then_some(()));
    drop(reader);
}
