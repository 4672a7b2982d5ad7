//! Lanes that break, die in silence, or take nothing: what goes over which.

use std::time::Duration;

use bytes::Bytes;

use super::{TERMS, ack, block, events, sent, session};
use crate::tunnel::frame::{Coding, Frame, Last};
use crate::tunnel::hello::{self, Terms};
use crate::tunnel::session::{Event, Read, Role, Session};
use crate::tunnel::{BLOCK_BYTES_MAX, Path};

const NOW: Duration = Duration::from_secs(1);

#[test]
fn all_that_a_lane_had_is_sent_again_at_once() {
    let mut near = session(Role::Near);
    let id = near.open().unwrap();
    let mut all = Vec::new();
    for _ in 0..20 {
        near.write(id, b"some bytes");
        all.extend(sent(&mut near, NOW));
    }
    assert_eq!(all.len(), 20);
    near.receive(0, ack(id, 50, 100_000), NOW).unwrap();
    near.remove_lane(0, NOW);
    assert_eq!(near.next_frame(NOW), None);
    near.add_lane(1, NOW);
    assert_eq!(sent(&mut near, NOW), all[5..]);
    assert_eq!(sent(&mut near, NOW), []);
}

#[test]
fn what_was_told_over_a_lane_is_told_again() {
    let mut far = session(Role::Far);
    far.receive(0, block(0, 0, 5, Last::More), NOW).unwrap();
    let later = NOW + Duration::from_millis(5);
    assert_eq!(far.next_frame(NOW), None, "there may be more to tell soon");
    assert_eq!(sent(&mut far, later), [ack(0, 5, 100_000)]);
    assert_eq!(sent(&mut far, 2 * later), []);
    far.add_lane(1, later);
    far.remove_lane(0, later);
    assert_eq!(sent(&mut far, 2 * later), [ack(0, 5, 100_000)]);
}

#[test]
fn a_block_that_is_late_goes_another_way() {
    let mut near = session(Role::Near);
    near.add_lane(1, Duration::ZERO);
    let id = near.open().unwrap();
    near.write(id, b"x");
    let (first, frame) = near.next_frame(NOW).unwrap();
    (0..2).for_each(|lane| near.receive(lane, Frame::Pong(0), NOW).unwrap());
    near.tick(NOW + Duration::from_millis(200));
    assert_eq!(near.next_frame(NOW), None, "it may still come");
    let late = NOW + Duration::from_millis(300);
    near.tick(late);
    assert_eq!(near.next_frame(late), Some((1 - first, frame)));
    near.tick(late + Duration::from_millis(300));
    assert_eq!(near.next_frame(late), None, "it has more time than before");
}

#[test]
fn blocks_go_where_they_arrive_first() {
    let mut near = session(Role::Near);
    near.add_lane(1, Duration::ZERO);
    let id = near.open().unwrap();
    let path =
        |unsent| Path { unsent, rate: 1_000_000, rtt: Duration::from_millis(20), is_recovering: false };
    let over = |near: &mut Session| {
        near.write(id, b"x");
        near.next_frame(NOW).map(|(lane, _)| lane)
    };
    near.set_lane(0, true, path(300_000), NOW);
    near.set_lane(1, true, path(100_000), NOW);
    assert_eq!(over(&mut near), Some(1));
    near.set_lane(1, false, path(100_000), NOW);
    assert_eq!(over(&mut near), None, "it is better to wait for the other");
    near.set_lane(1, false, path(290_000), NOW);
    assert_eq!(over(&mut near), None);
    near.set_lane(1, false, path(310_000), NOW);
    assert_eq!(over(&mut near), Some(0), "it is not any more");
}

#[test]
fn a_window_is_left_room_for_a_block() {
    let mut near = session(Role::Near);
    let id = near.open().unwrap();
    assert_eq!(near.write(id, &[0; 40_000]), 40_000);
    let mut far = session(Role::Far);
    let mut carry = |near: &mut Session, now| {
        sent(near, now).into_iter().for_each(|frame| far.receive(0, frame, now).unwrap());
        while far.read(id, now) != Read::Nothing {}
        sent(&mut far, now + Duration::from_millis(10))
            .into_iter()
            .for_each(|frame| near.receive(0, frame, now).unwrap());
        far.read(id, now)
    };
    carry(&mut near, NOW);
    let whole = Bytes::from_static(b"coded");
    near.write_coded(id, whole, BLOCK_BYTES_MAX, Coding::Lz4);
    carry(&mut near, 2 * NOW);
    carry(&mut near, 3 * NOW);
    assert!(near.is_delivered(id));
}

#[test]
fn a_lane_that_died_in_silence_carries_no_acknowledgements() {
    let mut near = session(Role::Near);
    near.add_lane(1, Duration::ZERO);
    let quick = Path { unsent: 0, rate: 1 << 30, rtt: Duration::from_millis(1), is_recovering: false };
    let slow = Path { rtt: Duration::from_millis(100), ..quick };
    near.set_lane(0, true, quick, Duration::ZERO);
    near.set_lane(1, true, slow, Duration::ZERO);
    let id = near.open().unwrap();
    near.write(id, b"x");
    assert_eq!(near.next_frame(NOW).map(|(lane, _)| lane), Some(0));
    let later = 5 * NOW;
    near.receive(1, block(id, 0, 5, Last::End), later).unwrap();
    let answer = near.next_frame(later);
    assert!(matches!(answer, Some((1, Frame::Ack { .. }))), "{answer:?}");
    near.tick(later);
    assert_eq!(near.next_frame(later), Some((0, Frame::Ping(0))), "it is asked whether it lives");
    let last = later + Duration::from_secs(4);
    near.tick(last);
    assert!(events(&mut near).contains(&Event::Silent(0)));
}

#[test]
fn a_block_that_waits_for_another_lane_holds_up_no_other_stream() {
    let mut near = session(Role::Near);
    near.add_lane(1, Duration::ZERO);
    let path = Path { unsent: 0, rate: 1 << 30, rtt: Duration::from_millis(1), is_recovering: false };
    near.set_lane(0, true, path, Duration::ZERO);
    near.set_lane(1, false, path, Duration::ZERO);
    let (first, second) = (near.open().unwrap(), near.open().unwrap());
    near.write(first, b"x");
    assert_eq!(near.next_frame(NOW), Some((0, block(first, 0, 1, Last::More))));
    near.tick(2 * NOW);
    assert!(near.is_hungry(), "it goes out again, and not over its lane");
    near.write(second, b"x");
    let next =
        std::iter::from_fn(|| near.next_frame(2 * NOW)).find(|(_, frame)| matches!(frame, Frame::Block(_)));
    assert_eq!(next, Some((0, block(second, 0, 1, Last::More))));
    near.set_lane(1, true, path, 2 * NOW);
    assert_eq!(near.next_frame(2 * NOW), Some((1, block(first, 0, 1, Last::More))));
}

#[test]
fn what_a_session_said_is_said_again_after_a_lane_broke() {
    let mut far = session(Role::Far);
    far.leave();
    assert_eq!(sent(&mut far, NOW), [Frame::Bye]);
    far.remove_lane(0, NOW);
    far.add_lane(1, NOW);
    assert_eq!(sent(&mut far, NOW), [Frame::Bye]);
    let mut near = session(Role::Near);
    (0..2).for_each(|_| near.receive(0, Frame::Bye, NOW).unwrap());
    assert_eq!(events(&mut near), [Event::Leaving]);
    assert!(!near.has_room());
}

#[test]
fn the_room_for_streams_is_said_again_after_a_lane_broke() {
    let mut far = session(Role::Far);
    for id in 0..8 {
        far.receive(0, block(id, 0, 0, Last::End), NOW).unwrap();
        far.finish(id, Last::End);
        far.release(id, NOW);
    }
    assert_eq!(sent(&mut far, NOW).len(), 16, "ends, and acknowledgements of ends");
    (0..8).for_each(|id| far.receive(0, ack(id, 1, 0), NOW).unwrap());
    let told = sent(&mut far, 2 * NOW);
    assert_eq!(told, [Frame::Streams(13)], "for now that is enough");
    far.remove_lane(0, NOW);
    far.remove_lane(0, NOW);
    far.add_lane(1, NOW);
    assert_eq!(sent(&mut far, 2 * NOW), [Frame::Streams(13)]);
}

#[test]
fn whoever_lacks_room_asks_whether_the_other_end_is_there() {
    let mut near = session(Role::Near);
    let id = near.open().unwrap();
    near.write(id, &[0; 150_000]);
    let asks = |near: &mut Session, second: u32| {
        let now = NOW * second;
        near.receive(0, Frame::Pong(0), now).unwrap();
        near.tick(now);
        sent(near, now + Duration::from_millis(10)).contains(&ack(id, 4, 100_000))
    };
    assert_eq!(sent(&mut near, NOW).len(), 1, "there is no room for another whole block");
    near.receive(0, block(id, 0, 4, Last::More), NOW).unwrap();
    assert_eq!(sent(&mut near, 2 * NOW), [ack(id, 4, 100_000)]);
    near.receive(0, ack(id, 65_536, 100_000), 2 * NOW).unwrap();
    let asked: Vec<_> = (3..70).filter(|second| asks(&mut near, *second)).collect();
    assert_eq!(asked, [20, 40, 60]);
}

#[test]
fn an_end_that_only_receives_asks_its_lanes_too() {
    let mut near = session(Role::Near);
    near.add_lane(1, Duration::ZERO);
    let id = near.open().unwrap();
    near.receive(1, block(id, 0, 5, Last::More), 3 * NOW).unwrap();
    let mut pings = Vec::new();
    while let Some(at) = near.deadline().filter(|at| *at < 6 * NOW) {
        let now = at.max(3 * NOW);
        near.tick(now);
        let asked = sent(&mut near, now).into_iter().filter(|frame| matches!(frame, Frame::Ping(_)));
        pings.extend(asked.map(|ping| (now.as_secs(), ping)));
    }
    assert_eq!(pings, [(3, Frame::Ping(0)), (4, Frame::Ping(1))]);
    let rest = near.deadline().unwrap();
    assert!(rest >= 6 * NOW, "{rest:?}: it rests when nothing more comes");
}

#[test]
fn streams_take_turns() {
    let mut near = session(Role::Near);
    let ids: Vec<_> = (0..3).map(|_| near.open().unwrap()).collect();
    for id in &ids {
        near.write(*id, &[0; BLOCK_BYTES_MAX]);
        near.finish(*id, Last::End);
    }
    let streams = sent(&mut near, NOW).into_iter().map(|frame| match frame {
        Frame::Block(block) => block.stream,
        other => panic!("{other:?}"),
    });
    assert_eq!(streams.collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn who_ends_a_session_tells_who_understands_it() {
    for (features, told) in [(hello::OVER, vec![Frame::Over, Frame::Over]), (0, Vec::new())] {
        let (mut near, mut far) = (session(Role::Near), session(Role::Far));
        near.set_terms(Terms { features, ..TERMS });
        near.add_lane(1, NOW);
        let id = near.open().unwrap();
        near.write(id, b"x");
        sent(&mut near, NOW).into_iter().for_each(|frame| far.receive(0, frame, NOW).unwrap());
        near.write(id, b"more");
        near.part();
        let frames = sent(&mut near, NOW);
        assert_eq!(frames, told);
        assert!(near.is_over() && near.room(id).is_none());
        frames.into_iter().for_each(|frame| far.receive(0, frame, NOW).unwrap());
        assert_eq!(far.is_over(), features != 0);
        assert_eq!(far.is_reset(0), features != 0, "what has come is not all");
    }
}
