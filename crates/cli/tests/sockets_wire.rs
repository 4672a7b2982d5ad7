//! Segments as they pass on the wire: their size, their marks, and the data of first packets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::data::Data;
use support::net::{End, connect, echo_server, end_writes, read_with, telling_server};
use support::ports::free_address;
use support::towpath::Towpath;
use support::wait_for;
use support::wire::{Capture, Packet, alone_in_a_network, carried, is_connecting_to, nft, set_kernel};

const BYTES: usize = 100_000;

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// A forwarder with these keys in its listener and its pool.
fn forwarder(listen: &str, of_listener: &str, backend: &str, of_pool: &str) -> Towpath {
    Towpath::file(&format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n{of_listener}\n\
         [[pool]]\nname = \"out\"\nbackend = \"{backend}\"\n{of_pool}\n"
    ))
}

/// Sends `count` bytes and expects them back.
fn echo(client: TcpStream, count: usize) {
    let mut reader = client.try_clone().unwrap();
    let mut sent = Data::new(5);
    let mut got = sent.clone();
    let writing = thread::spawn(move || {
        let mut client = client;
        while (sent.count() as usize) < count {
            client.write_all(sent.next((count - sent.count() as usize).min(30_000))).unwrap();
        }
        end_writes(&client);
    });
    let end = read_with(&mut reader, |bytes| got.check(bytes));
    writing.join().unwrap();
    assert_eq!((got.count() as usize, end), (count, End::Fin));
}

#[test]
fn no_segment_is_longer_than_the_mss() {
    alone_in_a_network("no_segment_is_longer_than_the_mss", || {
        let (listen, backend) = (free_address(), echo_server());
        let folder = tempfile::tempdir().unwrap();
        let capture = Capture::start("tcp", folder.path());
        let towpath = forwarder(&listen, "mss = 536", &backend, "mss = 700");
        echo(connect(&listen), BYTES);
        let (listen, backend) = (port(&listen), port(&backend));
        let of_client = |packet: &Packet| packet.from == listen || packet.to == listen;
        let of_backend = |packet: &Packet| packet.from == backend || packet.to == backend;
        let is_all = |packets: &[Packet]| {
            let ways: [&dyn Fn(&Packet) -> bool; 4] = [
                &|packet| packet.from == listen,
                &|packet| packet.to == listen,
                &|packet| packet.from == backend,
                &|packet| packet.to == backend,
            ];
            ways.iter().all(|way| carried(packets, way) == BYTES)
        };
        let packets = capture.packets("four times all bytes", is_all);
        let longest = |is_of: &dyn Fn(&Packet) -> bool| {
            packets.iter().filter(|packet| is_of(packet)).map(|packet| packet.length).max().unwrap()
        };
        // Timestamps take twelve bytes of each segment (RFC 7323).
        assert_eq!((longest(&of_client), longest(&of_backend)), (536 - 12, 700 - 12));
        let told = |is_of: &dyn Fn(&Packet) -> bool| {
            packets.iter().filter(|packet| is_of(packet)).find_map(|packet| packet.mss)
        };
        assert_eq!(told(&|packet| packet.from == listen), Some(536), "what the client is told");
        assert_eq!(told(&|packet| packet.to == backend), Some(700), "what the backend is told");
        assert_eq!(towpath.stop(1)[0].bytes(), (BYTES as u64, BYTES as u64));
    });
}

#[test]
fn each_piece_is_a_segment_that_is_pushed() {
    alone_in_a_network("each_piece_is_a_segment_that_is_pushed", || {
        let (listen, backend) = (free_address(), echo_server());
        let folder = tempfile::tempdir().unwrap();
        let capture = Capture::start("tcp", folder.path());
        let towpath = forwarder(&listen, "write_size = 100", &backend, "write_size = 333");
        echo(connect(&listen), BYTES);
        let (listen, backend) = (port(&listen), port(&backend));
        let packets = capture.packets("all bytes both ways", |packets| {
            carried(packets, |packet| packet.from == listen) == BYTES
                && carried(packets, |packet| packet.to == backend) == BYTES
        });
        for (side, length) in [(listen, 100), (backend, 333)] {
            let of_side =
                |packet: &&Packet| if side == listen { packet.from == side } else { packet.to == side };
            let pieces: Vec<_> = packets.iter().filter(of_side).filter(|packet| packet.length > 0).collect();
            assert!(pieces.len() >= BYTES.div_ceil(length), "{} pieces", pieces.len());
            for piece in pieces {
                assert!(piece.length <= length && piece.flags.contains('P'), "{length}: {piece:?}");
            }
        }
        assert_eq!(towpath.stop(1)[0].bytes(), (BYTES as u64, BYTES as u64));
    });
}

#[test]
fn there_is_time_between_two_pieces() {
    alone_in_a_network("there_is_time_between_two_pieces", || {
        let (listen, backend) = (free_address(), echo_server());
        let folder = tempfile::tempdir().unwrap();
        let capture = Capture::start("tcp", folder.path());
        let towpath = forwarder(&listen, "", &backend, "write_size = 10\nwrite_gap = \"20ms\"");
        let began = Instant::now();
        echo(connect(&listen), 100);
        assert!(began.elapsed() >= Duration::from_millis(180), "{:?}", began.elapsed());
        let backend = port(&backend);
        let packets =
            capture.packets("all bytes", |packets| carried(packets, |packet| packet.to == backend) == 100);
        let times: Vec<_> = packets
            .iter()
            .filter(|packet| packet.to == backend && packet.length > 0)
            .map(|packet| packet.time)
            .collect();
        assert_eq!(times.len(), 10, "{packets:#?}");
        assert!(times.windows(2).all(|two| two[1] - two[0] >= 0.019), "{times:?}");
        towpath.stop(1);
    });
}

#[test]
fn packets_are_marked() {
    alone_in_a_network("packets_are_marked", || {
        let (listen, backend) = (free_address(), echo_server());
        let folder = tempfile::tempdir().unwrap();
        // The code points of ef and cs1.
        let capture = Capture::start("tcp and (ip[1] & 0xfc == 0xb8 or ip[1] & 0xfc == 0x20)", folder.path());
        let towpath = forwarder(&listen, "dscp = \"ef\"", &backend, "dscp = \"cs1\"");
        echo(connect(&listen), 1000);
        let (listen, backend) = (port(&listen), port(&backend));
        let packets = capture.packets("the marked bytes", |packets| {
            carried(packets, |packet| packet.from == listen) == 1000
                && carried(packets, |packet| packet.to == backend) == 1000
        });
        let others = packets.iter().filter(|packet| packet.to == listen || packet.from == backend);
        assert_eq!(others.count(), 0, "the packets of others are theirs to mark");
        towpath.stop(1);
    });
}

/// Two in a row: what the first sends with its first packet the second takes.
fn two_in_a_row(keys: &str) -> (Towpath, Towpath, String, String) {
    let (far, near) = (free_address(), free_address());
    let second = forwarder(&far, keys, &echo_server(), "");
    let first = forwarder(&near, "", &far, keys);
    (first, second, near, far)
}

/// An answer of HTTP, behind which the server closes.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// Asks, ends its stream at once, and expects that answer.
fn ask(address: &str) {
    expect_answer(question(address));
}

fn question(address: &str) -> TcpStream {
    let mut client = connect(address);
    client.write_all(b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody").unwrap();
    end_writes(&client);
    client
}

fn expect_answer(mut client: TcpStream) {
    let mut got = Vec::new();
    let end = read_with(&mut client, |bytes| got.extend_from_slice(bytes));
    assert!(
        got.ends_with(b"\r\n\r\nok") && end == End::Fin,
        "{end:?} after {}",
        String::from_utf8_lossy(&got)
    );
}

#[test]
fn the_first_packet_carries_data_once_the_server_is_known() {
    alone_in_a_network("the_first_packet_carries_data_once_the_server_is_known", || {
        set_kernel("net.ipv4.tcp_fastopen", "3");
        let folder = tempfile::tempdir().unwrap();
        let capture = Capture::start("tcp", folder.path());
        let (far, near) = (free_address(), free_address());
        let second = forwarder(&far, "fastopen = true", &telling_server(ANSWER), "");
        // Its connections always begin with a request.
        let first = forwarder(&near, "mode = \"http\"", &far, "fastopen = true");
        (0..3).for_each(|_| ask(&near));
        let far = port(&far);
        let is_first = |packet: &&Packet| packet.to == far && packet.flags.starts_with('S');
        let packets =
            capture.packets("three first packets", |packets| packets.iter().filter(is_first).count() == 3);
        let early: Vec<_> = packets.iter().filter(is_first).map(|packet| packet.length > 0).collect();
        assert_eq!(early, [false, true, true], "the first connection brings the cookie");
        let told = |records: &[support::towpath::Record], key: &str| -> Vec<bool> {
            records.iter().map(|record| record.0[key]["fastopen"].as_bool().unwrap()).collect()
        };
        assert_eq!(told(&first.stop(3), "backend_socket"), early);
        assert_eq!(told(&second.stop(3), "client_socket"), early);
    });
}

#[test]
fn a_server_that_is_known_and_gone_costs_no_client() {
    alone_in_a_network("a_server_that_is_known_and_gone_costs_no_client", || {
        set_kernel("net.ipv4.tcp_fastopen", "3");
        for mode in ["tcp", "http"] {
            let (far, near) = (free_address(), free_address());
            let there = forwarder(&far, "fastopen = true", &telling_server(ANSWER), "");
            let other = telling_server(ANSWER);
            let pool =
                format!("fastopen = true\nbackend = [\"{far}\", {{ address = \"{other}\", backup = true }}]");
            let towpath = Towpath::file(&format!(
                "[[listener]]\nname = \"in\"\nbind = \"{near}\"\nmode = \"{mode}\"\npool = \"out\"\n\
                 [[pool]]\nname = \"out\"\n{pool}\n"
            ));
            // A first packet carries what is there by the time the client is accepted.
            (0..3).for_each(|_| expect_answer(towpath.while_stopped(|| question(&near))));
            there.stop(3);
            ask(&near);
            let records = towpath.stop(4);
            let places: Vec<_> = records.iter().map(|record| record.text("address")).collect();
            assert_eq!(places, [&*far, &far, &far, &other], "{mode}");
            let early: Vec<_> =
                records.iter().map(|record| record.0["backend_socket"]["fastopen"] == true).collect();
            assert_eq!(early[1..3], [true, true], "{mode}: the first one may have to bring the cookie");
        }
    });
}

#[test]
fn an_end_behind_early_data_waits_until_that_is_answered() {
    alone_in_a_network("an_end_behind_early_data_waits_until_that_is_answered", || {
        set_kernel("net.ipv4.tcp_fastopen", "3");
        let (far, near) = (free_address(), free_address());
        let second = forwarder(&far, "fastopen = true", &telling_server("answer"), "");
        let first = forwarder(&near, "", &far, "fastopen = true");
        let begin = || {
            // All that the client says is there by the time it is accepted, so that it leaves with the first packet.
            first.while_stopped(|| {
                let mut client = connect(&near);
                client.write_all(b"question").unwrap();
                end_writes(&client);
                client
            })
        };
        let finish = |mut client: TcpStream| {
            let mut got = Vec::new();
            let end = read_with(&mut client, |bytes| got.extend_from_slice(bytes));
            assert_eq!((got, end), (b"answer".to_vec(), End::Fin));
        };
        finish(begin());
        let port = port(&far);
        nft("add table ip held { chain out { type filter hook output priority 0; }; }");
        nft(&format!("add rule ip held out tcp dport {port} drop"));
        let client = begin();
        wait_for("connection that is under way", || is_connecting_to(port).then_some(()));
        nft("delete table ip held");
        finish(client);
        assert_eq!(first.stop(2)[1].bytes(), (8, 6));
        assert_eq!(second.stop(2)[1].bytes(), (8, 6));
    });
}

#[test]
fn a_server_that_takes_no_early_data_gets_it_later() {
    alone_in_a_network("a_server_that_takes_no_early_data_gets_it_later", || {
        set_kernel("net.ipv4.tcp_fastopen", "1");
        let (first, second, near, _) = two_in_a_row("fastopen = true");
        second.stderr.wait_for("set net.ipv4.tcp_fastopen = 3");
        for _ in 0..3 {
            echo(connect(&near), 10_000);
        }
        for (records, key) in [(first.stop(3), "backend_socket"), (second.stop(3), "client_socket")] {
            assert!(records.iter().all(|record| record.0[key]["fastopen"] == false), "{records:?}");
        }
    });
}

#[test]
fn mptcp_is_spoken_where_both_ends_do() {
    alone_in_a_network("mptcp_is_spoken_where_both_ends_do", || {
        let (first, second, near, far) = two_in_a_row("mptcp = true\nmss = 1000\nuser_timeout = \"1m\"");
        for _ in 0..3 {
            echo(connect(&near), BYTES);
        }
        // A client that does not speak it.
        echo(connect(&far), BYTES);
        let told = |records: &[support::towpath::Record], key: &str| -> Vec<bool> {
            records.iter().map(|record| record.0[key]["mptcp"].as_bool().unwrap()).collect()
        };
        assert_eq!(told(&first.stop(3), "backend_socket"), [true; 3]);
        assert_eq!(told(&second.stop(4), "client_socket"), [true, true, true, false]);

        // A server that does not, and a kernel that has none.
        let near = free_address();
        let towpath = forwarder(&near, "", &echo_server(), "mptcp = true");
        echo(connect(&near), BYTES);
        set_kernel("net.mptcp.enabled", "0");
        echo(connect(&near), BYTES);
        assert_eq!(told(&towpath.stop(2), "backend_socket"), [false; 2]);
    });
}
