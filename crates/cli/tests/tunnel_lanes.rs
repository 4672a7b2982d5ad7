//! What a far end makes of lanes that speak for themselves, byte by byte.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use support::net::{End, Server, assert_echo, connect, echo_server, end_writes, read_exactly, read_to_end};
use support::ports::free_address;
use support::towpath::Towpath;
use support::tunnel::Tunnel;
use support::wait_for;

/// What an answer says of a lane that is taken, of one of no session, of one that was there, and of one that is too much.
const WELCOME: u8 = 0;
const UNKNOWN_SESSION: u8 = 2;
const REPEATED: u8 = 3;
const FULL: u8 = 4;

/// Kinds of frames.
const PLAIN: u8 = 0x00;
const ZSTD: u8 = 0x02;

/// A lane, and what the far end has said to its hello.
struct Lane {
    stream: TcpStream,
    verdict: u8,
}

impl Lane {
    fn open(far: &str, number: u32, may_begin: bool, features: u32) -> Self {
        Self::open_of(b"the session here", far, number, may_begin, features)
    }

    fn open_of(session: &[u8; 16], far: &str, number: u32, may_begin: bool, features: u32) -> Self {
        let mut stream = connect(far);
        let mut hello = b"towpath\n\x01".to_vec();
        hello.push(u8::from(may_begin));
        hello.extend_from_slice(session);
        for part in [number, features, 1 << 20, 1, 0] {
            hello.extend_from_slice(&part.to_be_bytes());
        }
        stream.write_all(&hello).unwrap();
        let verdict = read_exactly(&mut stream, 26)[9];
        Self { stream, verdict }
    }

    /// Closes it, and waits until the far end has done so too.
    fn close(mut self) {
        end_writes(&self.stream);
        read_to_end(&mut self.stream);
    }

    /// Sends a block of the first stream, with small numbers before its bytes.
    fn block(&mut self, kind: u8, numbers: &[u8], bytes: &[u8]) {
        let length = u32::try_from(numbers.len() + bytes.len()).unwrap();
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.push(kind);
        frame.extend_from_slice(numbers);
        frame.extend_from_slice(bytes);
        self.stream.write_all(&frame).unwrap();
    }

    /// The next frame that comes, its kind and its bytes.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = read_exactly(&mut self.stream, 4);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        (head[3], read_exactly(&mut self.stream, length))
    }
}

fn asking(target: &str) -> Vec<u8> {
    let mut asking = u16::try_from(target.len()).unwrap().to_be_bytes().to_vec();
    asking.extend_from_slice(target.as_bytes());
    asking
}

/// The file of a far end, with these words in its table.
fn file(listen: &str, words: &str) -> String {
    format!(
        "[log]\nformat = \"json\"\n\n[[listener]]\nname = \"far\"\nbind = \"{listen}\"\nmode = \"tunnel\"\npool = \"out\"\n\
         allow_dest = [\"127.0.0.0/8\"]\ntunnel = {{ plain = true, {words} }}\n\n[[pool]]\nname = \"out\"\n"
    )
}

#[test]
fn a_block_that_is_not_coded_as_it_says_ends_its_session_with_a_record() {
    let listen = free_address();
    let far = Towpath::file(&file(&listen, "compress = \"off\""));
    let mut lanes = [1, 2].map(|number| Lane::open(&listen, number, number == 1, 3));
    assert!(lanes.iter().all(|lane| lane.verdict == WELCOME));
    lanes[0].block(ZSTD, &[0, 0, 20], b"no zstandard");
    for lane in &mut lanes {
        assert_ne!(read_to_end(&mut lane.stream).1, End::Fin, "nothing ends in order here");
    }
    let records = far.records(2);
    let of_frames = records.iter().filter(|record| record.end() == "identify: bad frames");
    assert_eq!(of_frames.count(), 1, "{records:?}");
    far.stderr.wait_for("the session was ended: ");
    far.signal(Signal::TERM);
    far.wait();
}

#[test]
fn a_hello_that_was_heard_before_gets_no_lane_and_disturbs_none() {
    let (listen, server) = (free_address(), Server::start());
    let far = Towpath::file(&file(&listen, "compress = \"off\""));
    let mut first = Lane::open(&listen, 1, true, 0);
    first.block(PLAIN, &[0, 0], &asking(&server.address()));
    let mut served = server.accept();
    for may_begin in [true, false] {
        assert_eq!(Lane::open(&listen, 1, may_begin, 0).verdict, REPEATED);
    }
    served.write_all(b"still").unwrap();
    let frames = std::iter::from_fn(|| Some(first.frame()));
    let mut blocks = frames.filter(|(kind, bytes)| *kind < 0x10 && bytes.ends_with(b"still"));
    assert!(blocks.next().is_some());
    let refused = far.records(2);
    assert!(refused.iter().all(|record| record.end() == "identify: repeated lane"), "{refused:?}");
}

#[test]
fn lanes_that_come_at_once_are_no_more_than_the_limit() {
    const MANY: usize = 12;
    let listen = free_address();
    let far = Towpath::file(&file(&listen, "lanes = 3"));
    let first = Lane::open(&listen, 1, true, 0);
    assert_eq!(first.verdict, WELCOME);
    let together = Barrier::new(MANY);
    let open = |number: usize| {
        together.wait();
        Lane::open(&listen, number as u32 + 2, false, 0)
    };
    let lanes: Vec<Lane> = thread::scope(|scope| {
        let opening: Vec<_> = (0..MANY).map(|number| scope.spawn(move || open(number))).collect();
        opening.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    assert_eq!(lanes.iter().filter(|lane| lane.verdict == WELCOME).count(), 2);
    assert_eq!(lanes.iter().filter(|lane| lane.verdict == FULL).count(), MANY - 2);
    drop((first, lanes));
    far.signal(Signal::TERM);
    far.wait();
}

#[test]
fn sessions_without_lanes_give_way_and_those_without_streams_first() {
    let (listen, server) = (free_address(), Server::start());
    // A lane is gone for all once it is gone for one, with one worker.
    let file = format!("workers = 1\n{}", file(&listen, "sessions = 2"));
    let far = Towpath::file(&file);
    let open = |session: &[u8; 16], number: u32| Lane::open_of(session, &listen, number, number == 1, 0);
    let mut busy = open(b"it has a stream.", 1);
    busy.block(PLAIN, &[0, 0], &asking(&server.address()));
    let mut served = server.accept();
    let idle = open(b"it has no stream", 1);
    assert_eq!([busy.verdict, idle.verdict], [WELCOME, WELCOME]);
    assert_eq!(open(b"one more of them", 1).verdict, FULL, "both live");
    busy.close();
    idle.close();
    let third = open(b"one more of them", 1);
    assert_eq!(third.verdict, WELCOME, "the one without streams gave way");
    assert_eq!(open(b"it has no stream", 2).verdict, UNKNOWN_SESSION);
    let back = open(b"it has a stream.", 2);
    assert_eq!(back.verdict, WELCOME, "the one with a stream goes on");
    back.close();
    assert_eq!(open(b"and yet another.", 1).verdict, WELCOME, "there was no other");
    assert_eq!(read_to_end(&mut served).1, End::Reset);
    assert_eq!(open(b"it has a stream.", 3).verdict, UNKNOWN_SESSION);
    drop((third, far));
}

#[test]
fn streams_take_places_of_all_connections_and_leave_some_to_lanes() {
    // One is the lane's, and one is left to those that come after it.
    let tunnel = Tunnel::to(&echo_server(), "lanes=1", &["--max-connections", "4"]);
    let mut clients = [connect(&tunnel.listen), connect(&tunnel.listen)];
    clients.iter_mut().for_each(|client| assert_echo(client, "before"));
    let mut third = connect(&tunnel.listen);
    third.write_all(b"one too many").unwrap();
    let refused = tunnel.far.records(1);
    assert_eq!((refused[0].end().as_str(), refused[0].bytes()), ("connect: no place", (0, 0)));
    assert!(refused[0].text("wanted").starts_with("127.0.0.1:"), "{refused:?}");
    drop(third);
    tunnel.middle.cut_one();
    clients.iter_mut().for_each(|client| assert_echo(client, "over another lane"));
    drop(clients);
    wait_for("a place that is free again", || {
        let mut client = connect(&tunnel.listen);
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).ok()
    });
}

#[test]
fn the_near_end_tells_why_it_gets_no_lane() {
    let (listen, near_listen) = (free_address(), free_address());
    let _far = Towpath::file(&file(&listen, "sessions = 1"));
    let _lane = Lane::open(&listen, 1, true, 0);
    let url = format!("towpath://{listen}?plain");
    let near = Towpath::tcp(&near_listen, &echo_server(), &["--via", &url, "--hold", "200ms"]);
    let mut client = connect(&near_listen);
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_eq!(near.record().end(), "connect: hop 1: no lane: it has too many sessions or lanes");
}

#[test]
fn a_session_has_new_lanes_after_a_reload_that_changes_its_table() {
    let listen = free_address();
    let far = Towpath::file(&file(&listen, "compress = \"off\""));
    let first = Lane::open(&listen, 1, true, 0);
    fs::write(far.folder().join("towpath.toml"), file(&listen, "compress = \"lz4\", lanes = 2")).unwrap();
    far.signal(Signal::HUP);
    far.stderr.wait_for("reloaded: ");
    let [second, third] = [2, 3].map(|number| Lane::open(&listen, number, false, 0));
    assert_eq!([first.verdict, second.verdict, third.verdict], [WELCOME, WELCOME, FULL]);
    drop((first, second, third));
    far.signal(Signal::TERM);
    far.wait();
}

#[test]
fn blocks_are_coded_as_the_other_end_understands() {
    let text = "all work and no play makes a dull text. ".repeat(2000);
    let server = Server::start();
    let asked = asking(&server.address());
    for (features, coding) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
        let listen = free_address();
        let _far = Towpath::file(&file(&listen, "compress = \"auto\""));
        let mut lane = Lane::open(&listen, 1, true, features);
        lane.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        lane.block(PLAIN, &[0, 0], &asked);
        let mut client = server.accept();
        client.write_all(text.as_bytes()).unwrap();
        let (mut codings, mut reached) = (Vec::new(), 0);
        while reached < text.len() {
            let (kind, bytes) = lane.frame();
            if kind < 0x10 {
                codings.push(kind & 3);
                // Where blocks are coded, 80 kB are few bytes.
                reached += if kind & 3 == 0 { bytes.len() - 2 } else { text.len() };
            }
        }
        assert!(
            codings.contains(&coding) && codings.iter().all(|other| [0, coding].contains(other)),
            "{codings:?}"
        );
    }
}
