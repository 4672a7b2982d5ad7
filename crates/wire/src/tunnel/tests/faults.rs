//! What the protocol does not allow, each with its fault; and what looks like it, but happens between honest ends.

use std::time::Duration;

use bytes::Bytes;

use super::{LIMITS, ack, block, sent, session};
use crate::tunnel::Fault;
use crate::tunnel::frame::{Block, Coding, Frame, Last, Why};
use crate::tunnel::session::{Event, Read, Role, Session};

const END: Last = Last::End;
const MORE: Last = Last::More;
const RESET: Last = Last::Reset(Why::Reset);
const NOW: Duration = Duration::from_secs(1);

/// What a far end says to the last of these frames; all before are as they should be.
fn told(frames: Vec<Frame>) -> Result<(), Fault> {
    let mut far = session(Role::Far);
    let (last, before) = frames.split_last().unwrap();
    for frame in before {
        assert_eq!(far.receive(0, frame.clone(), NOW), Ok(()), "{before:?}");
    }
    far.receive(0, last.clone(), NOW)
}

#[test]
fn blocks_beyond_the_credit() {
    assert_eq!(told(vec![block(0, LIMITS.window - 10, 10, MORE)]), Ok(()));
    assert_eq!(told(vec![block(0, LIMITS.window - 10, 11, MORE)]), Err(Fault::Credit));
    assert_eq!(told(vec![block(0, (1 << 62) - 2, 1, MORE)]), Err(Fault::Credit));
    assert_eq!(told(vec![block(0, LIMITS.window + 1, 0, RESET)]), Err(Fault::Credit));
}

#[test]
fn blocks_that_overlap() {
    for blocks in [
        [(10, 10), (15, 10)],
        [(10, 10), (5, 6)],
        [(10, 10), (10, 5)],
        [(10, 10), (10, 20)],
        [(10, 10), (5, 30)],
        [(0, 10), (5, 10)],
        [(10, 10), (0, 11)],
    ] {
        let frames = blocks.map(|(offset, length)| block(0, offset, length, MORE));
        assert_eq!(told(frames.to_vec()), Err(Fault::Overlap), "{blocks:?}");
    }
    let with_its_end_later = vec![block(0, 0, 10, MORE), block(0, 0, 10, END)];
    assert_eq!(told(with_its_end_later), Err(Fault::Overlap));
}

#[test]
fn blocks_twice_are_taken_once() {
    for blocks in [[(10, 10), (10, 10)], [(0, 10), (0, 10)], [(10, 10), (0, 10)], [(0, 10), (10, 10)]] {
        let frames = blocks.map(|(offset, length)| block(0, offset, length, MORE));
        assert_eq!(told(frames.to_vec()), Ok(()), "{blocks:?}");
    }
    assert_eq!(told(vec![block(0, 10, 10, END), block(0, 10, 10, END), block(0, 0, 10, MORE)]), Ok(()));
    assert_eq!(told(vec![block(0, 0, 0, END), block(0, 0, 0, END)]), Ok(()));
    let mut far = session(Role::Far);
    let parts = [(20, 10), (0, 10), (0, 10), (10, 10), (20, 10), (10, 10), (30, 0), (30, 0)];
    for (offset, length) in parts {
        let last = if length == 0 { END } else { MORE };
        far.receive(0, block(0, offset, length, last), NOW).unwrap();
    }
    let mut read = 0;
    while let Read::Block(block) = far.read(0, NOW) {
        assert_eq!(block.offset, read);
        read += block.length as u64;
    }
    assert_eq!((read, far.read(0, NOW)), (30, Read::Over(END)));
}

#[test]
fn ends_that_are_none() {
    for frames in [
        vec![block(0, 0, 10, END), block(0, 0, 11, MORE)],
        vec![block(0, 0, 10, END), block(0, 10, 1, MORE)],
        vec![block(0, 0, 10, END), block(0, 10, 0, RESET)],
        vec![block(0, 10, 0, END), block(0, 10, 0, RESET)],
        vec![block(0, 10, 0, END), block(0, 10, 10, MORE)],
        vec![block(0, 10, 0, END), block(0, 0, 5, END)],
        vec![block(0, 10, 10, MORE), block(0, 5, 0, END)],
        vec![block(0, 0, 10, MORE), block(0, 5, 0, END)],
        vec![block(0, 10, 0, RESET), block(0, 10, 0, Last::Reset(Why::Denied))],
    ] {
        assert_eq!(told(frames.clone()), Err(Fault::End), "{frames:?}");
    }
}

#[test]
fn acknowledgements_of_what_was_not_sent() {
    let mut near = session(Role::Near);
    let id = near.open().unwrap();
    assert_eq!(near.write(id, b"twelve bytes"), 12);
    assert_eq!(near.receive(0, ack(id, 1, 1000), NOW), Err(Fault::Ack), "it was not sent yet");
    assert_eq!(sent(&mut near, NOW).len(), 1);
    assert_eq!(near.receive(0, ack(id, 13, 1000), NOW), Err(Fault::Ack));
    assert_eq!(near.receive(0, ack(id + 1, 0, 1000), NOW), Err(Fault::Ack));
    assert_eq!(near.receive(0, ack(id, 12, 1000), NOW), Ok(()));
    assert_eq!(near.receive(0, ack(id, 5, 0), NOW), Ok(()), "an old one");
    near.finish(id, END);
    assert_eq!(sent(&mut near, NOW).len(), 1);
    assert_eq!(near.receive(0, ack(id, 14, 1000), NOW), Err(Fault::Ack));
    assert_eq!(near.receive(0, ack(id, 13, 1000), NOW), Ok(()));
}

#[test]
fn streams_that_nobody_may_open() {
    let mut near = session(Role::Near);
    assert_eq!(near.receive(0, block(0, 0, 1, MORE), NOW), Err(Fault::Streams), "only near ends open them");
    let streams = LIMITS.streams as u64;
    assert_eq!(told(vec![block(streams - 1, 0, 1, MORE)]), Ok(()));
    assert_eq!(told(vec![block(streams, 0, 1, MORE)]), Err(Fault::Streams));
    assert_eq!(told(vec![block((1 << 62) - 1, 0, 1, MORE)]), Err(Fault::Streams));
    assert_eq!(told(vec![ack(0, 0, 10)]), Err(Fault::Ack));
    assert_eq!(told(vec![Frame::Streams(1000)]), Err(Fault::Streams), "nobody makes room but who has it");
}

#[test]
fn too_many_blocks_out_of_order() {
    let mut far = session(Role::Far);
    for place in 0..4096 {
        far.receive(0, block(0, 1 + 2 * place, 1, MORE), NOW).unwrap();
    }
    assert_eq!(far.receive(0, block(0, 90_000, 1, MORE), NOW), Err(Fault::Blocks));
    assert_eq!(far.receive(0, block(0, 0, 1, MORE), NOW), Ok(()), "but the one that is missing");
}

#[test]
fn too_many_coded_blocks_that_nobody_reads() {
    let coded = |offset| {
        let (coding, payload) = (Coding::Zstd, Bytes::from_static(b"x"));
        Frame::Block(Block { stream: 0, offset, length: 1, coding, last: MORE, payload })
    };
    let most = 4096 + LIMITS.window / 256;
    let mut far = session(Role::Far);
    for offset in 0..most {
        far.receive(0, coded(offset), NOW).unwrap();
    }
    assert_eq!(far.receive(0, coded(most), NOW), Err(Fault::Blocks));
}

#[test]
fn short_blocks_that_nobody_reads_are_joined() {
    let mut far = session(Role::Far);
    for offset in 0..LIMITS.window {
        far.receive(0, block(0, offset, 1, MORE), NOW).unwrap();
    }
    let (mut count, mut read) = (0, 0);
    while let Read::Block(block) = far.read(0, NOW) {
        assert_eq!((block.offset, block.payload.len()), (read, block.length));
        (count, read) = (count + 1, read + block.length as u64);
    }
    assert_eq!(read, LIMITS.window);
    assert!(count < 30, "{count} blocks");
}

#[test]
fn streams_that_are_over_are_gone() {
    let mut far = session(Role::Far);
    far.receive(0, block(0, 0, 5, MORE), NOW).unwrap();
    far.receive(0, block(0, 5, 0, RESET), NOW).unwrap();
    far.release(0, NOW);
    assert_eq!(far.streams(), 1, "the other end is still to be told");
    assert_eq!(sent(&mut far, NOW), [ack(0, 6, LIMITS.window)]);
    assert_eq!(far.streams(), 0);
    for frame in [block(0, 5, 0, RESET), ack(0, 0, LIMITS.window)] {
        far.receive(0, frame, NOW).unwrap();
        assert_eq!(sent(&mut far, NOW), [Frame::Gone(0)]);
    }
    for frame in [Frame::Gone(0), Frame::Gone(77), Frame::Pong(3)] {
        far.receive(0, frame, NOW).unwrap();
        assert_eq!(sent(&mut far, NOW), []);
    }
}

/// Opens a stream at the near end, which sends its first bytes.
fn opened() -> (Session, u64) {
    let mut near = session(Role::Near);
    let id = near.open().unwrap();
    near.write(id, b"first");
    assert_eq!(sent(&mut near, NOW).len(), 1);
    (near, id)
}

#[test]
fn whoever_waits_for_room_hears_that_the_stream_is_gone() {
    let (mut near, id) = opened();
    near.finish(id, END);
    let mut far = session(Role::Far);
    for frame in sent(&mut near, NOW) {
        far.receive(0, frame, NOW).unwrap();
    }
    far.receive(0, block(id, 0, 5, MORE), NOW).unwrap();
    // All that the near end takes, and more that waits.
    let full = vec![0; 150_000];
    far.write(id, &full);
    for frame in sent(&mut far, NOW) {
        near.receive(0, frame, NOW).unwrap();
    }
    near.release(id, NOW);
    assert_eq!(near.streams(), 0);
    for frame in sent(&mut near, NOW) {
        far.receive(0, frame, NOW).unwrap();
    }
    assert_eq!(far.room(id), None);
    assert!(std::iter::from_fn(|| far.poll_event()).any(|event| event == Event::Writable(id)));
}

#[test]
fn blocks_behind_a_gone_are_late() {
    let (mut near, id) = opened();
    near.receive(0, block(id, 0, 5, MORE), NOW).unwrap();
    near.receive(0, block(id, 10, 5, MORE), NOW).unwrap();
    near.receive(0, Frame::Gone(id), NOW).unwrap();
    near.receive(0, block(id, 5, 5, MORE), NOW).unwrap();
    near.receive(0, block(id, 15, 0, END), NOW).unwrap();
    let Read::Block(first) = near.read(id, NOW) else { panic!("it has come") };
    assert_eq!((first.offset, first.length), (0, 5));
    assert_eq!(near.read(id, NOW), Read::Over(RESET));
    assert_eq!(near.room(id), None);
}

#[test]
fn nothing_is_told_of_streams_that_the_other_end_may_not_know() {
    let mut near = session(Role::Near);
    let id = near.open().unwrap();
    near.remove_lane(0, NOW);
    near.add_lane(1, NOW);
    assert_eq!(sent(&mut near, 2 * NOW), []);
    near.write(id, b"x");
    assert_eq!(sent(&mut near, 2 * NOW).len(), 1);
}

#[test]
fn what_is_written_behind_an_end_goes_nowhere() {
    let (mut near, id) = opened();
    near.finish(id, END);
    near.finish(id, RESET);
    assert_eq!(near.write(id, b"more"), 0);
    near.write_coded(id, Bytes::from_static(b"x"), 9, Coding::Lz4);
    assert_eq!(sent(&mut near, NOW), [block(id, 5, 0, END)]);
}
