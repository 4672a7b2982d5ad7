//! One record for each connection: its bytes to the last one, where it ended and why.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use rustix::process::Signal;
use support::data::Data;
use support::net::{
    End, Server, assert_reset_or_refused, connect, end_writes, pair, read_exactly, read_to_end, reset,
    telling_server,
};
use support::ports::free_address;
use support::services::dns;
use support::towpath::Towpath;

/// 64 MB are spliced by default, copied without splice.
const BULK: u64 = 64_000_000;

/// Sends `count` bytes on a thread.
fn send(mut to: TcpStream, start: u64, count: u64) -> thread::JoinHandle<TcpStream> {
    thread::spawn(move || {
        let mut data = Data::new(start);
        while data.count() < count {
            let most = (count - data.count()).min(1 << 20) as usize;
            to.write_all(data.next(most)).unwrap();
        }
        to
    })
}

fn receive(from: &mut TcpStream, start: u64, count: u64) {
    let mut data = Data::new(start);
    while data.count() < count {
        let most = (count - data.count()).min(1 << 20) as usize;
        data.check(&read_exactly(from, most));
    }
}

fn counts_bulk(relay: &str) {
    let (listen, server) = (free_address(), Server::start());
    let text = format!(
        "{relay}\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"{}\"\n",
        server.address()
    );
    let towpath = Towpath::file(&text);
    let (client, server) = pair(&listen, &server);
    let address = client.local_addr().unwrap().to_string();
    let (mut client_reads, mut server_reads) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let up = send(client, 1, BULK + 17);
    let down = send(server, 2, BULK / 2 + 5);
    let reader = thread::spawn(move || receive(&mut client_reads, 2, BULK / 2 + 5));
    receive(&mut server_reads, 1, BULK + 17);
    reader.join().unwrap();
    let (client, server) = (up.join().unwrap(), down.join().unwrap());
    end_writes(&server);
    assert_eq!(read_to_end(&mut client.try_clone().unwrap()).1, End::Fin);
    drop((client, server, server_reads));
    let record = towpath.stop(1).remove(0);
    assert_eq!(record.bytes(), (BULK + 17, BULK / 2 + 5));
    assert_eq!(record.end(), "relay: server closed");
    assert_eq!(
        (record.text("listener"), record.text("pool"), record.text("client")),
        ("in", "out", &*address)
    );
    assert!(record.text("start").parse::<String>().unwrap().ends_with('Z'), "{record:?}");
}

#[test]
fn spliced_bytes_are_counted_exactly() {
    counts_bulk("");
}

#[test]
fn copied_bytes_are_counted_exactly() {
    counts_bulk("[relay]\nsplice = false");
}

/// A transfer that is cut: the record counts what the other side got, no more.
#[test]
fn bytes_of_a_cut_transfer_are_those_that_were_delivered() {
    let (listen, server) = (free_address(), Server::start());
    let towpath = Towpath::tcp(&listen, &server.address(), &[]);
    let (mut client, mut server) = pair(&listen, &server);
    let endless = thread::spawn(move || {
        let mut data = Data::new(9);
        while server.write_all(data.next(300_000)).is_ok() {}
    });
    receive(&mut client, 9, 30_000_000);
    reset(client);
    endless.join().unwrap();
    let record = towpath.stop(1).remove(0);
    let (up, down) = record.bytes();
    // What the client's kernel had taken and its program had not read was delivered all the same.
    assert!(up == 0 && (30_000_000..60_000_000).contains(&down), "{record:?}");
    assert_eq!(record.end(), "relay: client reset");
}

#[test]
fn each_reason_has_its_words() {
    let (listen, refused) = (free_address(), free_address());
    let (nobody, server) = (free_address(), Server::start());
    let text = format!(
        "[[listener]]\nname = \"served\"\nbind = \"{listen}\"\npool = \"served\"\nidle_timeout = \"1s\"\n\
         [[pool]]\nname = \"served\"\nbackend = \"{}\"\n\
         [[listener]]\nname = \"refused\"\nbind = \"{refused}\"\npool = \"refused\"\n\
         [[pool]]\nname = \"refused\"\nbackend = \"{nobody}\"\n",
        server.address()
    );
    let towpath = Towpath::file(&text);
    let mut ended = 0;
    let mut next = |expected: &str| {
        ended += 1;
        let record = towpath.records(ended).pop().unwrap();
        assert_eq!(record.end(), expected);
        record
    };
    let ended_by = |client_first: bool, by_reset: bool| {
        let (mut client, mut server) = pair(&listen, &server);
        // By then towpath knows that it is connected.
        client.write_all(b"x").unwrap();
        read_exactly(&mut server, 1);
        let (first, mut second) = if client_first { (client, server) } else { (server, client) };
        if by_reset {
            reset(first)
        } else {
            drop(first)
        };
        assert_eq!(read_to_end(&mut second).1, if by_reset { End::Reset } else { End::Fin });
    };
    for (client_first, by_reset, words) in [
        (true, false, "relay: client closed"),
        (false, false, "relay: server closed"),
        (true, true, "relay: client reset"),
        (false, true, "relay: server reset"),
    ] {
        ended_by(client_first, by_reset);
        assert_eq!(next(words).bytes(), (1, 0));
    }
    let (mut client, _server) = pair(&listen, &server);
    assert_eq!(read_to_end(&mut client).1, End::Reset);
    assert_eq!(next("relay: idle").text("listener"), "served");
    assert_reset_or_refused(&refused);
    assert_eq!(next("connect: connect refused").text("listener"), "refused");
    let (_client, _server) = pair(&listen, &server);
    towpath.signal(Signal::TERM);
    towpath.signal(Signal::TERM);
    let ended = towpath.wait();
    let last = ended.records.last().unwrap();
    assert!(["relay: shutdown", "relay: idle"].contains(&&*last.end()), "{last:?}");
    assert_eq!(ended.records.len(), 7, "{:#?}", ended.records);
}

#[test]
fn the_last_answer_for_a_name_lives_on_when_there_is_no_new_one() {
    let (listen, server) = (free_address(), telling_server("here"));
    let port = server.rsplit_once(':').unwrap().1;
    let mut names = dns("127.0.0.1 db.test\n", &[]);
    let text = format!(
        "[dns]\nservers = \"{}\"\ntimeout = \"2s\"\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"db.test:{port}\"\nhold = \"off\"\n",
        names.service.address(),
    );
    let towpath = Towpath::file(&text);
    let mut clients = 0;
    let mut is_served = || {
        clients += 1;
        assert_eq!(read_to_end(&mut connect(&listen)), (b"here".to_vec(), End::Fin));
    };
    is_served();
    names.change("");
    towpath.stderr.wait_for("no such host: db.test; going on with the last answer");
    is_served();
    names.change("127.0.0.1 db.test\n");
    towpath.stderr.wait_for("db.test:");
    is_served();
    names.service.program.stop();
    towpath.stderr.wait_for("cannot look up db.test");
    is_served();
    let records = towpath.stop(clients);
    assert!(records.iter().all(|record| record.text("backend") == format!("db.test:{port}")), "{records:#?}");
    // Without an answer before, there is none.
    let listen = free_address();
    let text = text.replace("bind = ", &format!("bind = \"{listen}\" # "));
    let towpath = Towpath::file(&text);
    support::net::assert_reset_or_refused(&listen);
    assert_eq!(towpath.stop(1).remove(0).end(), "connect: name servers failed");
}
