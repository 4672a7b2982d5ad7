//! Any bytes are frames, not yet or never, however they come, and no frames make a session keep more than it may.

use std::time::Duration;

use bytes::Bytes;
use towpath_wire::tunnel::frame::{Coding, Decoder, Frame, Last, Why};
use towpath_wire::tunnel::hello::{ANSWER_BYTES, Answer, HELLO_BYTES, Hello, Terms};
use towpath_wire::tunnel::session::{Event, Limits, Read, Role, Session};
use towpath_wire::tunnel::{BLOCK_BYTES_MAX, Fault};

const LIMITS: Limits = Limits {
    window: 70_000,
    window_max: 140_000,
    memory: 200_000,
    streams: 4,
    resume: Duration::from_secs(5),
};

/// What a session keeps at most: windows each way, and what waits to be sent.
const HELD_BYTES_MAX: usize =
    LIMITS.memory as usize + LIMITS.streams * (2 * LIMITS.window as usize + 256 * 1024 + BLOCK_BYTES_MAX);

/// Panics when something does not hold for `input`.
pub(crate) fn hold(input: &[u8]) {
    greet(input);
    let whole = frames(input, usize::MAX / 2);
    for size in [1, 2, 7, 64] {
        if input.len() / size < 5000 {
            assert_eq!(frames(input, size), whole, "{size}");
        }
    }
    for frame in &whole.0 {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        assert_eq!(frames(&bytes, usize::MAX / 2), (vec![frame.clone()], None));
    }
    for role in [Role::Near, Role::Far] {
        drive(role, &whole.0, input);
    }
}

fn greet(input: &[u8]) {
    if let Some(Ok(hello)) = input.first_chunk::<HELLO_BYTES>().map(Hello::read) {
        assert_eq!(Hello::read(&hello.bytes()), Ok(hello));
    }
    if let Some(Ok(answer)) = input.first_chunk::<ANSWER_BYTES>().map(Answer::read) {
        assert_eq!(Answer::read(&answer.bytes()), Ok(answer));
    }
}

/// The frames of bytes that come in parts of `size`, and what is wrong behind them.
fn frames(input: &[u8], size: usize) -> (Vec<Frame>, Option<Fault>) {
    let (mut decoder, mut frames, mut left) = (Decoder::default(), Vec::new(), input);
    while !left.is_empty() {
        let count = decoder.fill(|room| {
            let count = size.min(room.len()).min(left.len());
            room[..count].copy_from_slice(&left[..count]);
            (count, count)
        });
        left = &left[count..];
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(fault) => return (frames, Some(fault)),
            }
        }
    }
    (frames, None)
}

/// Gives the frames to a session. Between them each byte of `input` says what those do who use it, and how time goes by.
fn drive(role: Role, frames: &[Frame], input: &[u8]) {
    let terms = Terms { features: 0, window: 100_000, streams: 4 };
    let mut now = Duration::ZERO;
    let mut session = Session::new(role, LIMITS, terms, now);
    session.add_lane(0, now);
    session.add_lane(1, now);
    let mut lanes = 2;
    let mut read = [0; 8];
    for (frame, act) in frames.iter().zip(input.iter().cycle()) {
        let id = u64::from(act >> 4 & 7);
        match act & 15 {
            0 => _ = session.open(),
            1 => _ = session.write(id, &input[..input.len().min(500)]),
            2 => _ = session.write(id, &[7; 100_000]),
            3 if session.room(id).is_some_and(|room| room > 0) => {
                session.write_coded(id, Bytes::from_static(b"coded"), 1000, Coding::Lz4);
            }
            4 => session.finish(id, Last::End),
            5 => session.finish(id, Last::Reset(Why::Denied)),
            6 => session.release(id, now),
            7 => {
                session.remove_lane(lanes - 2, now);
                session.add_lane(lanes, now);
                lanes += 1;
            }
            8 => now += Duration::from_secs(3),
            9 => now += Duration::from_millis(30),
            _ => read_all(&mut session, id, &mut read[id as usize], now),
        }
        let lane = lanes - 1 - u32::from(act >> 7);
        if session.receive(lane, frame.clone(), now).is_err() {
            session.end();
        }
        settle(&mut session, lanes, now);
    }
    finish(session, now);
}

/// Reads a stream as far as it has come.
fn read_all(session: &mut Session, id: u64, read: &mut u64, now: Duration) {
    while let Read::Block(block) = session.read(id, now) {
        assert_eq!(block.offset, *read);
        *read += block.length as u64;
    }
}

fn settle(session: &mut Session, lanes: u32, now: Duration) {
    let mut ticks = 0;
    while session.deadline().is_some_and(|at| at <= now) {
        session.tick(now);
        while session.next_frame(now).is_some() {}
        ticks += 1;
        assert!(ticks < 4, "time stands still");
    }
    let mut sent = 0;
    while let Some((lane, _)) = session.next_frame(now) {
        assert!(lane + 2 >= lanes, "a lane that is not there");
        sent += 1;
        assert!(sent < 5000, "it sends without end");
    }
    while session.poll_event().is_some() {}
    assert!(session.held_bytes() <= HELD_BYTES_MAX && session.streams() <= LIMITS.streams);
}

/// When all is over, nothing is left.
fn finish(mut session: Session, now: Duration) {
    session.end();
    let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
    assert!(session.is_over() && events.iter().filter(|event| **event == Event::Over).count() <= 1);
    (0..100).for_each(|id| session.release(id, now));
    assert_eq!((session.streams(), session.held_bytes(), session.deadline()), (0, 0, None));
}
