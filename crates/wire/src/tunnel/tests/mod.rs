//! Frames, hellos, and whole sessions in virtual time.

mod faults;
mod frames;
mod growth;
mod hellos;
mod hostile;
mod lanes;
mod simulation;
mod windows;

use std::time::Duration;

use bytes::Bytes;

use super::frame::{Block, Coding, Frame, Last};
use super::hello::Terms;
use super::session::{Event, Limits, Role, Session};

const LIMITS: Limits = Limits {
    window: 100_000,
    window_max: 400_000,
    memory: 1_000_000,
    streams: 8,
    resume: Duration::from_secs(10),
};

const TERMS: Terms = Terms { features: 0, window: 100_000, streams: 8 };

/// One end of a session, which has lane 0.
fn session(role: Role) -> Session {
    let mut session = Session::new(role, LIMITS, TERMS, Duration::ZERO);
    session.add_lane(0, Duration::ZERO);
    session
}

/// A block of nothing but `x`.
fn block(stream: u64, offset: u64, length: usize, last: Last) -> Frame {
    let payload = Bytes::from(vec![b'x'; length]);
    Frame::Block(Block { stream, offset, length, coding: Coding::Plain, last, payload })
}

fn ack(stream: u64, received: u64, limit: u64) -> Frame {
    Frame::Ack { stream, received, limit }
}

/// All that a session sends now.
fn sent(session: &mut Session, now: Duration) -> Vec<Frame> {
    std::iter::from_fn(|| session.next_frame(now)).map(|(_, frame)| frame).collect()
}

/// All that has happened to it since this was last asked.
fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}
