//! Frames that are read as they were written, however they come, and all that are none.

use bytes::Bytes;
use proptest::prelude::*;

use crate::tunnel::frame::{Block, Coding, Decoder, Frame, Last, Why};
use crate::tunnel::{BLOCK_BYTES_MAX, Fault, varint};

/// What is read of `bytes` that come in parts of these sizes, the last of them again and again.
fn read(bytes: &[u8], sizes: &[usize]) -> Result<Vec<Frame>, Fault> {
    let (mut decoder, mut frames, mut left) = (Decoder::default(), Vec::new(), bytes);
    let mut sizes = sizes.iter().chain(std::iter::repeat(sizes.last().unwrap()));
    while !left.is_empty() {
        let size = *sizes.next().unwrap();
        let count = decoder.fill(|room| {
            assert!(!room.is_empty());
            let count = size.min(room.len()).min(left.len());
            room[..count].copy_from_slice(&left[..count]);
            (count, count)
        });
        left = &left[count..];
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    if decoder.is_within_frame() { Err(Fault::Form) } else { Ok(frames) }
}

fn written(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut bytes));
    bytes
}

/// A frame of this kind, and of what follows.
fn raw(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..70_u64, 0..20_000_u64, 0..2_000_000_000_u64, 0..=varint::MAX, Just(varint::MAX)]
}

fn block() -> impl Strategy<Value = Block> {
    let why = prop_oneof![Just(Why::Reset), Just(Why::Denied), Just(Why::TimedOut), Just(Why::NoName)];
    let last = prop_oneof![3 => Just(Last::More), 1 => Just(Last::End), 1 => why.prop_map(Last::Reset)];
    let coding = prop_oneof![2 => Just(Coding::Plain), 1 => Just(Coding::Lz4), 1 => Just(Coding::Zstd)];
    let length = prop_oneof![1..100_usize, 1..=BLOCK_BYTES_MAX, Just(BLOCK_BYTES_MAX)];
    (number(), number(), length, coding, last, 0..=100_usize).prop_map(
        |(stream, offset, length, coding, last, part)| match last {
            Last::Reset(_) => {
                Block { stream, offset, length: 0, coding: Coding::Plain, last, payload: Bytes::new() }
            }
            _ => {
                let offset = offset.min(varint::MAX - length as u64);
                let coded = if coding == Coding::Plain { length } else { length * part / 100 };
                Block { stream, offset, length, coding, last, payload: vec![part as u8; coded].into() }
            }
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    let ack = (number(), number(), number());
    prop_oneof![
        4 => block().prop_map(Frame::Block),
        2 => ack.prop_map(|(stream, received, limit)| Frame::Ack { stream, received, limit }),
        1 => number().prop_map(Frame::Gone),
        1 => number().prop_map(Frame::Ping),
        1 => number().prop_map(Frame::Pong),
        1 => number().prop_map(Frame::Streams),
        1 => Just(Frame::Bye),
        1 => Just(Frame::Over),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_are_read_as_they_were_written(
        frames in proptest::collection::vec(frame(), 1..12),
        sizes in proptest::collection::vec(prop_oneof![1..8_usize, 1..5000_usize, Just(1 << 20)], 1..20),
    ) {
        prop_assert_eq!(read(&written(&frames), &sizes), Ok(frames));
    }

    #[test]
    fn any_bytes_are_frames_or_not_however_they_come(
        bytes in proptest::collection::vec(prop_oneof![Just(0_u8), 0..0x18_u8, any::<u8>()], 0..300), size in 1..40_usize,
    ) {
        prop_assert_eq!(read(&bytes, &[1 << 20]), read(&bytes, &[size]));
    }
}

#[test]
fn an_end_and_nothing_else_is_a_block() {
    let end = Block {
        stream: 1,
        offset: 70_000,
        length: 0,
        coding: Coding::Plain,
        last: Last::End,
        payload: Bytes::new(),
    };
    let frames = [Frame::Block(end)];
    assert_eq!(written(&frames), raw(0x04, &[1, 0x80, 0x01, 0x11, 0x70]));
    assert_eq!(read(&written(&frames), &[1]), Ok(frames.to_vec()));
}

#[test]
fn reasons_that_are_not_known_are_resets() {
    let Ok(frames) = read(&raw(0x08, &[1, 5, 200]), &[9]) else { panic!("it is one") };
    let [Frame::Block(block)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((block.offset, block.last), (5, Last::Reset(Why::Reset)));
}

#[test]
fn what_is_too_long_is_told_by_its_head() {
    let most = BLOCK_BYTES_MAX + 24;
    for (length, fault) in [(most + 1, Some(Fault::Long)), (0xff_ffff, Some(Fault::Long)), (most, None)] {
        let mut head = (length as u32).to_be_bytes()[1..].to_vec();
        head.push(0x12);
        let mut decoder = Decoder::default();
        decoder.fill(|room| {
            room[..4].copy_from_slice(&head);
            (4, ())
        });
        assert_eq!(decoder.next_frame().err(), fault);
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    let long = vec![0; BLOCK_BYTES_MAX + 1];
    let mut too_long = vec![1, 0];
    too_long.extend_from_slice(&long);
    let mut told_long = vec![1, 0];
    varint::write(BLOCK_BYTES_MAX as u64 + 1, &mut told_long);
    let mut beyond = vec![1];
    varint::write(varint::MAX, &mut beyond);
    beyond.push(b'x');
    let bodies: &[(&str, u8, &[u8])] = &[
        ("no known kind", 0x17, &[]),
        ("no known kind", 0xff, &[0]),
        ("no known coding", 0x03, &[1, 0, 1, 1]),
        ("an end and a reset", 0x0c, &[1, 0, 0]),
        ("no fields", 0x00, &[]),
        ("no offset", 0x00, &[1]),
        ("half of an offset", 0x00, &[1, 0x40]),
        ("nothing", 0x00, &[1, 0]),
        ("coded nothing", 0x01, &[1, 0, 0]),
        ("no length", 0x01, &[1, 0]),
        ("more coded than plain", 0x02, &[1, 0, 2, 1, 2, 3]),
        ("a block that is too long", 0x00, &too_long),
        ("one that says so", 0x01, &told_long),
        ("one that ends beyond all numbers", 0x00, &beyond),
        ("a reset without a reason", 0x08, &[1, 0]),
        ("a reset with two", 0x08, &[1, 0, 0, 0]),
        ("a reset that is coded", 0x09, &[1, 0, 0, 0]),
        ("an acknowledgement without a limit", 0x10, &[1, 0]),
        ("bytes behind one", 0x10, &[1, 0, 0, 0]),
        ("gone, but nobody", 0x11, &[]),
        ("bytes behind a ping", 0x12, &[1, 1]),
        ("half of a number", 0x13, &[0xc0, 1, 2]),
        ("bytes behind a bye", 0x14, &[0]),
        ("room for nobody knows how many", 0x15, &[]),
    ];
    for (what, kind, body) in bodies {
        for size in [1, 1 << 20] {
            assert_eq!(read(&raw(*kind, body), &[size]), Err(Fault::Form), "{what}");
        }
    }
}

#[test]
fn numbers_are_written_as_the_rfc_shows_them() {
    for (number, bytes) in [
        (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..]),
        (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
        (15_293, &[0x7b, 0xbd]),
        (37, &[0x25]),
    ] {
        let mut written = Vec::new();
        varint::write(number, &mut written);
        assert_eq!(written, bytes);
        assert_eq!(varint::read(&mut &written[..]), Ok(number));
        assert_eq!(varint::read(&mut &written[..bytes.len() - 1]), Err(Fault::Form));
    }
    assert_eq!(varint::read(&mut &[0x40, 0x25][..]), Ok(37), "longer than it needs");
}

#[test]
fn a_decoder_keeps_little() {
    let mut decoder = Decoder::default();
    let frame = written(&[Frame::Ping(1)]);
    for _ in 0..10_000 {
        decoder.fill(|room| {
            assert!(room.len() <= 128 * 1024);
            room[..frame.len()].copy_from_slice(&frame);
            (frame.len(), ())
        });
        assert_eq!(decoder.next_frame(), Ok(Some(Frame::Ping(1))));
        assert!(!decoder.is_within_frame());
    }
}

/// The blocks of `bytes` that come as fast as they are read, each with whether its payload is a part of the room that it was read into.
fn blocks(bytes: &[u8]) -> Vec<(Block, bool)> {
    let (mut decoder, mut blocks, mut left) = (Decoder::default(), Vec::new(), bytes);
    while !left.is_empty() {
        let (count, room) = decoder.fill(|room| {
            let count = room.len().min(left.len());
            room[..count].copy_from_slice(&left[..count]);
            (count, (count, room.as_ptr_range()))
        });
        left = &left[count..];
        while let Some(frame) = decoder.next_frame().unwrap() {
            let Frame::Block(block) = frame else { continue };
            // Its last byte came by this read.
            let last = block.payload.as_ptr_range().end.wrapping_sub(1);
            blocks.push((block, room.contains(&last)));
        }
    }
    blocks
}

fn plain(offset: u64, length: usize) -> Frame {
    let payload = vec![offset as u8; length].into();
    Frame::Block(Block { stream: 1, offset, length, coding: Coding::Plain, last: Last::More, payload })
}

#[test]
fn whole_blocks_are_not_copied() {
    let ack = Frame::Ack { stream: 1, received: 1 << 40, limit: 1 << 41 };
    for acks in [0, 1, 20] {
        let each =
            |place: u64| [vec![plain(place * 65_536, BLOCK_BYTES_MAX)], vec![ack.clone(); acks]].concat();
        let bytes = written(&(0..500).flat_map(each).collect::<Vec<_>>());
        let blocks = blocks(&bytes);
        let copied = blocks.iter().filter(|(_, is_part)| !is_part).count();
        assert!(blocks.len() == 500 && copied <= 5, "{copied} of {} with {acks}", blocks.len());
    }
}

#[test]
fn what_is_less_than_half_of_the_room_does_not_keep_it() {
    let pings = vec![Frame::Ping(1); 20_000];
    for length in [32 * 1024, 1, 4096, 16 * 1024, 33_000] {
        let each = |place: u64| [vec![plain(place * 65_536, length)], pings.clone()].concat();
        let blocks = blocks(&written(&(0..50).flat_map(each).collect::<Vec<_>>()));
        assert_eq!(blocks.len(), 50);
        assert!(blocks.iter().all(|(_, is_part)| !is_part), "{length}");
    }
}
