//! What a far end makes of lanes that speak for themselves, byte by byte.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use support::net::{End, Server, connect, read_exactly, read_to_end};
use support::ports::free_address;
use support::towpath::Towpath;

/// What an answer says of a lane that is taken, and of one that is too much.
const WELCOME: u8 = 0;
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
        let mut stream = connect(far);
        let mut hello = b"towpath\n\x01".to_vec();
        hello.push(u8::from(may_begin));
        hello.extend_from_slice(b"the session here");
        for part in [number, features, 1 << 20, 1, 0] {
            hello.extend_from_slice(&part.to_be_bytes());
        }
        stream.write_all(&hello).unwrap();
        let verdict = read_exactly(&mut stream, 26)[9];
        Self { stream, verdict }
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
    far.signal(Signal::TERM);
    far.wait();
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
