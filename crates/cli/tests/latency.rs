//! What towpath must not add to the time that an answer takes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::net::{Server, connect, read_exactly};
use support::ports::free_address;
use support::towpath::Towpath;

/// Less than the 40 ms for which a kernel may hold an acknowledgement back.
const AT_ONCE: Duration = Duration::from_millis(20);

/// The middle one of so many tries counts, since the machine may be busy.
const TRIES: usize = 11;

#[test]
fn an_answer_in_several_writes_is_not_held_up_by_nagles_algorithm() {
    let server = Server::start();
    let listen = free_address();
    let towpath = Towpath::tcp(&listen, &server.address(), &[]);
    let answering = thread::spawn(move || {
        for _ in 0..TRIES {
            let mut client = server.accept();
            client.set_nodelay(false).unwrap();
            read_exactly(&mut client, 4);
            for part in [b"head", b"body", b"tail"] {
                client.write_all(part).unwrap();
            }
            read_exactly(&mut client, 1);
        }
    });
    let times = (0..TRIES).map(|_| {
        let mut client = connect(&listen);
        let start = Instant::now();
        client.write_all(b"tell").unwrap();
        assert_eq!(read_exactly(&mut client, 12), b"headbodytail");
        let time = start.elapsed();
        client.write_all(b"!").unwrap();
        time
    });
    let mut times: Vec<_> = times.collect();
    times.sort();
    answering.join().unwrap();
    drop(towpath);
    assert!(times[TRIES / 2] < AT_ONCE, "{times:?}");
}
