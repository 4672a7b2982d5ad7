//! How connections end: in order, half by half, with resets, and with towpath itself.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::Signal;
use support::data::Data;
use support::net::{
    End, Server, assert_reset_or_refused, connect, end_writes, pair, read_exactly, read_to_end, read_with,
    reset, reset_after_delivery,
};
use support::ports::free_address;
use support::towpath::Towpath;
use support::{nightly, wait_for};

/// How much later the other side answers.
fn later() -> Duration {
    Duration::from_secs(if nightly() { 12 } else { 3 })
}

fn start(server: &Server) -> (String, Towpath) {
    let listen = free_address();
    let towpath = Towpath::tcp(&listen, &server.address(), &[]);
    (listen, towpath)
}

#[test]
fn a_client_that_has_ended_gets_the_late_answer() {
    let server = Server::start();
    let (listen, towpath) = start(&server);
    let (mut client, mut server) = pair(&listen, &server);
    client.write_all(b"question").unwrap();
    end_writes(&client);
    assert_eq!(read_to_end(&mut server), (b"question".to_vec(), End::Fin));
    // sleep: the answer is late on purpose.
    thread::sleep(later());
    server.write_all(b"late answer").unwrap();
    drop(server);
    assert_eq!(read_to_end(&mut client), (b"late answer".to_vec(), End::Fin));
    drop(client);
    let record = towpath.stop(1).remove(0);
    assert_eq!((record.bytes(), record.end().as_str()), ((8, 11), "relay: client closed"));
}

#[test]
fn a_server_that_has_ended_gets_the_late_upload() {
    let server = Server::start();
    let (listen, towpath) = start(&server);
    let (mut client, mut server) = pair(&listen, &server);
    server.write_all(b"banner").unwrap();
    end_writes(&server);
    assert_eq!(read_to_end(&mut client), (b"banner".to_vec(), End::Fin));
    // sleep: the upload is late on purpose.
    thread::sleep(later());
    let upload = Data::new(1).take(3_000_000);
    let bytes = upload.clone();
    let writer = thread::spawn(move || client.write_all(&bytes).map(|()| client));
    let received = read_exactly(&mut server, upload.len());
    assert!(received == upload, "the upload is not what was sent");
    drop(writer.join().unwrap().unwrap());
    assert_eq!(read_to_end(&mut server), (Vec::new(), End::Fin));
    drop(server);
    let record = towpath.stop(1).remove(0);
    assert_eq!((record.bytes(), record.end().as_str()), ((3_000_000, 6), "relay: server closed"));
}

#[test]
fn a_stream_of_the_server_cut_by_a_reset_does_not_end_in_order() {
    let server = Server::start();
    let (listen, towpath) = start(&server);
    let (mut client, mut server) = pair(&listen, &server);
    server.write_all(&Data::new(2).take(100_000)).unwrap();
    reset_after_delivery(server);
    let (bytes, end) = read_to_end(&mut client);
    assert!(bytes == Data::new(2).take(100_000), "{} bytes arrived before the reset", bytes.len());
    assert_eq!(end, End::Reset);
    let record = towpath.stop(1).remove(0);
    assert_eq!((record.bytes(), record.end().as_str()), ((0, 100_000), "relay: server reset"));
}

#[test]
fn a_stream_of_the_client_cut_by_a_reset_does_not_end_in_order() {
    let server = Server::start();
    let (listen, towpath) = start(&server);
    let (mut client, mut server) = pair(&listen, &server);
    client.write_all(&Data::new(3).take(100_000)).unwrap();
    reset_after_delivery(client);
    let (bytes, end) = read_to_end(&mut server);
    assert!(bytes == Data::new(3).take(100_000), "{} bytes arrived before the reset", bytes.len());
    assert_eq!(end, End::Reset);
    let record = towpath.stop(1).remove(0);
    assert_eq!((record.bytes(), record.end().as_str()), ((100_000, 0), "relay: client reset"));
}

#[test]
fn a_reset_follows_a_half_close() {
    for client_first in [true, false] {
        let server = Server::start();
        let (listen, towpath) = start(&server);
        let (client, server) = pair(&listen, &server);
        let (mut ended, mut other) = if client_first { (client, server) } else { (server, client) };
        end_writes(&ended);
        assert_eq!(read_to_end(&mut other), (Vec::new(), End::Fin));
        other.write_all(b"half an ans").unwrap();
        reset_after_delivery(other);
        assert_eq!(read_to_end(&mut ended), (b"half an ans".to_vec(), End::Reset));
        let record = towpath.stop(1).remove(0);
        let who = if client_first { "server" } else { "client" };
        assert_eq!(record.end(), format!("relay: {who} reset"));
    }
}

/// The one that ended its stream and only waits is gone: the other learns of it while it has nothing to say.
#[test]
fn a_side_that_resets_after_its_own_end_is_missed() {
    for client_first in [true, false] {
        let server = Server::start();
        let (listen, towpath) = start(&server);
        let (client, server) = pair(&listen, &server);
        let (ended, mut other) = if client_first { (client, server) } else { (server, client) };
        end_writes(&ended);
        assert_eq!(read_to_end(&mut other), (Vec::new(), End::Fin));
        reset(ended);
        wait_for("reset", || other.write_all(b"x").err());
        towpath.stop(1);
    }
}

/// Megabytes that the slow side has not read yet are in the forwarder when the fast side resets.
fn reset_behind_a_slow_reader(client_is_slow: bool) {
    let size = 1_500_000;
    let server = Server::start();
    let (listen, towpath) = start(&server);
    let (client, server) = pair(&listen, &server);
    let (mut fast, mut slow) = if client_is_slow { (server, client) } else { (client, server) };
    sockopt::set_socket_recv_buffer_size(&slow, 32 * 1024).unwrap();
    fast.write_all(&Data::new(4).take(size)).unwrap();
    reset_after_delivery(fast);
    let mut data = Data::new(4);
    for _ in 0..10 {
        // sleep: the reader is slow on purpose.
        thread::sleep(Duration::from_millis(50));
        data.check(&read_exactly(&mut slow, 20_000));
    }
    let (rest, end) = read_to_end(&mut slow);
    data.check(&rest);
    assert_eq!((data.count(), end), (size as u64, End::Reset));
    let record = towpath.stop(1).remove(0);
    let (bytes, who) =
        if client_is_slow { ((0, size as u64), "server") } else { ((size as u64, 0), "client") };
    assert_eq!((record.bytes(), record.end()), (bytes, format!("relay: {who} reset")));
}

#[test]
fn what_waits_for_a_slow_client_arrives_before_the_reset() {
    reset_behind_a_slow_reader(true);
}

#[test]
fn what_waits_for_a_slow_server_arrives_before_the_reset() {
    reset_behind_a_slow_reader(false);
}

#[test]
fn a_client_whose_servers_all_refuse_is_reset() {
    let (listen, first, second) = (free_address(), free_address(), free_address());
    let towpath = Towpath::tcp(&listen, &format!("{first},{second}"), &["--hold", "off"]);
    assert_reset_or_refused(&listen);
    let record = towpath.stop(1).remove(0);
    assert_eq!((record.bytes(), record.end().as_str()), ((0, 0), "connect: connect refused"));
    assert_eq!(record.text("address"), second, "the record names the server that was tried last");
}

#[test]
fn killed_in_mid_stream_it_leaves_no_stream_that_looks_complete() {
    let server = Server::start();
    let (listen, towpath) = start(&server);
    let (mut client, mut server_end) = pair(&listen, &server);
    let (mut quiet_client, mut quiet_server) = pair(&listen, &server);
    let (mut half_client, mut half_server) = pair(&listen, &server);
    end_writes(&half_client);
    assert_eq!(read_to_end(&mut half_server).1, End::Fin);
    client.write_all(b"some of it").unwrap();
    read_exactly(&mut server_end, 10);
    server_end.write_all(b"and back").unwrap();
    read_exactly(&mut client, 8);
    towpath.signal(Signal::KILL);
    towpath.wait();
    for stream in [&mut client, &mut server_end, &mut quiet_client, &mut quiet_server, &mut half_client] {
        assert_eq!(read_to_end(stream), (Vec::new(), End::Reset));
    }
}

#[test]
fn killed_in_mid_transfer_it_cuts_it_with_a_reset() {
    for up in [true, false] {
        let server = Server::start();
        let (listen, towpath) = start(&server);
        let (client, server) = pair(&listen, &server);
        let (mut source, mut sink) = if up { (client, server) } else { (server, client) };
        let endless = thread::spawn(move || {
            let mut data = Data::new(5);
            while source.write_all(data.next(65_536)).is_ok() {}
        });
        let mut data = Data::new(5);
        data.check(&read_exactly(&mut sink, 20_000_000));
        towpath.signal(Signal::KILL);
        towpath.wait();
        assert_eq!(read_with(&mut sink, |bytes| data.check(bytes)), End::Reset);
        endless.join().unwrap();
    }
}

#[test]
fn a_silent_connection_ends_after_the_idle_time_and_a_busy_one_does_not() {
    let server = Server::start();
    let listen = free_address();
    let towpath = Towpath::tcp(&listen, &server.address(), &["--idle-timeout", "1s"]);
    let (mut silent_client, mut silent_server) = pair(&listen, &server);
    let (mut client, mut server) = pair(&listen, &server);
    for round in 0..30 {
        let (from, to) = if round % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        from.write_all(b"x").unwrap();
        read_exactly(to, 1);
        // sleep: the connection is busy for three times the idle time, in steps well below it.
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(read_to_end(&mut silent_client), (Vec::new(), End::Reset));
    assert_eq!(read_to_end(&mut silent_server), (Vec::new(), End::Reset));
    let record = towpath.record();
    assert_eq!((record.end().as_str(), record.bytes()), ("relay: idle", (0, 0)));
    assert!((1.0..1.5).contains(&record.seconds()), "{record:?}");
    drop(client);
    assert_eq!(read_to_end(&mut server).1, End::Fin);
    drop(server);
    let records = towpath.stop(2);
    assert_eq!((records[1].end().as_str(), records[1].bytes()), ("relay: client closed", (15, 15)));
}

#[test]
fn a_client_that_comes_and_goes_leaves_a_record() {
    let server = Server::start();
    let (listen, towpath) = start(&server);
    drop(connect(&listen));
    let mut server = server.accept();
    assert_eq!(read_to_end(&mut server), (Vec::new(), End::Fin));
    drop(server);
    assert_eq!(towpath.stop(1)[0].end(), "relay: client closed");
}
