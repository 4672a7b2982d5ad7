//! Peers that keep to the form of frames, and want to see how much this end keeps, or how long it waits.

use std::time::Duration;

use super::{LIMITS, TERMS, ack, block, events, sent, session};
use crate::tunnel::frame::{Frame, Last, Why};
use crate::tunnel::session::{Event, Queued, Role, Session};
use crate::tunnel::{Fault, Path};

const NOW: Duration = Duration::from_secs(1);
const RESET: Last = Last::Reset(Why::Reset);

#[test]
fn streams_without_end() {
    let mut far = session(Role::Far);
    let opened = (0..).take_while(|id| far.receive(0, block(*id, 0, 1, Last::More), NOW).is_ok()).count();
    assert_eq!((opened, far.streams()), (LIMITS.streams, LIMITS.streams));
    assert_eq!(far.receive(0, block(99, 0, 1, Last::More), NOW), Err(Fault::Streams));
}

#[test]
fn streams_that_are_slow_to_go_hold_up_new_ones_alone() {
    let (mut near, mut far) = (session(Role::Near), session(Role::Far));
    let mut opened = 0;
    for round in 0..50 {
        while let Some(id) = near.open() {
            near.finish(id, Last::End);
            near.release(id, NOW);
            opened += 1;
        }
        for _ in 0..3 {
            // Some of those at the far end stay for some time.
            let now = NOW * (round + 1);
            sent(&mut near, now).into_iter().for_each(|frame| far.receive(0, frame, now).unwrap());
            for event in events(&mut far) {
                let Event::Opened(id) = event else { continue };
                far.finish(id, Last::End);
            }
            for id in (0..opened).filter(|id| id % 4 != u64::from(round % 4)) {
                far.release(id, now);
            }
            sent(&mut far, now).into_iter().for_each(|frame| near.receive(0, frame, now).unwrap());
        }
        assert!(far.streams() <= LIMITS.streams);
    }
    assert!(opened > 100, "{opened}");
}

#[test]
fn nothing_is_ever_acknowledged() {
    let mut far = session(Role::Far);
    let data = vec![0; 1 << 20];
    for id in 0..LIMITS.streams as u64 {
        far.receive(0, block(id, 0, 1, Last::More), NOW).unwrap();
        far.receive(0, ack(id, 0, 1 << 60), NOW).unwrap();
    }
    let each = LIMITS.window as usize + 256 * 1024;
    for second in 1..200 {
        let now = NOW * second;
        for id in 0..LIMITS.streams as u64 {
            far.write(id, &data);
            assert!(sent(&mut far, now).len() < 200);
        }
        assert!(far.held_bytes() <= LIMITS.streams * (each + 1), "{}", far.held_bytes());
        far.receive(0, Frame::Pong(0), now).unwrap();
        far.tick(now);
    }
    assert!(far.is_over(), "nobody waits for ever");
    assert!(events(&mut far).contains(&Event::Over));
    assert_eq!((far.room(0), far.held_bytes()), (None, LIMITS.streams));
}

#[test]
fn windows_grow_within_the_memory() {
    let mut far = session(Role::Far);
    let data = vec![0; 1 << 20];
    let (mut sent_bytes, mut most) = (vec![0; LIMITS.streams], 0);
    for id in 0..LIMITS.streams as u64 {
        far.receive(0, block(id, 0, 1, Last::More), NOW).unwrap();
    }
    for round in 1..200 {
        let now = NOW + Duration::from_millis(round);
        for (id, all) in sent_bytes.iter_mut().enumerate() {
            far.receive(0, ack(id as u64, *all, 1 << 60), now).unwrap();
            while far.write(id as u64, &data) > 0 {
                for frame in sent(&mut far, now) {
                    let Frame::Block(block) = frame else { continue };
                    *all = block.end();
                }
            }
        }
        most = most.max(far.held_bytes());
    }
    let each = LIMITS.window as usize + 256 * 1024 + 1;
    assert!(most <= LIMITS.memory as usize + LIMITS.streams * each, "{most}");
    assert!(most > LIMITS.memory as usize + LIMITS.streams * LIMITS.window as usize, "{most}: they grow");
}

#[test]
fn floods_are_answered_in_few_words() {
    let mut far = session(Role::Far);
    for id in 0..20_000 {
        far.receive(0, block(id, 0, 0, RESET), NOW).unwrap();
        far.release(id, NOW);
        sent(&mut far, NOW);
    }
    for round in 0..3 {
        for id in 0..20_000 {
            far.receive(0, Frame::Ping(id), NOW).unwrap();
            far.receive(0, block(id, 0, 0, RESET), NOW).unwrap();
            far.receive(0, ack(id, 0, 0), NOW).unwrap();
        }
        let answers = sent(&mut far, NOW);
        assert!(answers.len() <= 4100, "{} in round {round}", answers.len());
        assert_eq!(answers.iter().filter(|frame| matches!(frame, Frame::Pong(_))).count(), 1);
    }
}

#[test]
fn whoever_reads_nothing_is_told_nothing() {
    let mut far = session(Role::Far);
    far.receive(0, block(0, 0, 0, RESET), NOW).unwrap();
    far.release(0, NOW);
    sent(&mut far, NOW);
    far.set_lane(0, false, Path::default(), NOW);
    for round in 0..10_000 {
        let frames = [Frame::Ping(1), block(0, 0, 0, RESET), ack(0, 0, 0), block(1, round, 1, Last::More)];
        frames.into_iter().for_each(|frame| far.receive(0, frame, NOW).unwrap());
        assert_eq!(sent(&mut far, NOW), []);
        assert!(far.deadline().is_some_and(|at| at > NOW || far.next_frame(NOW).is_none()));
    }
    far.set_lane(0, true, Path::default(), NOW);
    let told = [Frame::Pong(1), Frame::Gone(0), ack(1, 10_000, LIMITS.window)];
    assert_eq!(sent(&mut far, 2 * NOW), told);
}

#[test]
fn whoever_opens_and_resets_streams_and_reads_nothing_runs_out_of_them() {
    let mut far = session(Role::Far);
    far.set_lane(0, false, Path::default(), NOW);
    let streams = LIMITS.streams as u64;
    let reset = |far: &mut Session, id: u64| {
        far.receive(0, block(id, 0, 1, Last::More), NOW)?;
        far.write(id, b"an answer");
        far.receive(0, block(id, 1, 0, RESET), NOW)?;
        far.release(id, NOW);
        assert_eq!(sent(far, NOW), []);
        far.tick(NOW);
        events(far);
        check_queues(far);
        Ok(())
    };
    assert_eq!((0..streams).try_for_each(|id| reset(&mut far, id)), Ok(()));
    assert_eq!(reset(&mut far, streams), Err(Fault::Streams));
    for id in (0..streams).cycle().take(10_000) {
        for frame in [block(id, 1, 0, RESET), ack(id, 0, 1 << 60), Frame::Gone(id), Frame::Ping(id)] {
            far.receive(0, frame, NOW).unwrap();
        }
        assert_eq!((sent(&mut far, NOW), far.streams()), (vec![], LIMITS.streams));
        events(&mut far);
        check_queues(&far);
    }
    // Whoever reads after all hears of each, and may open as many again.
    far.set_lane(0, true, Path::default(), NOW);
    let acks = (0..streams).map(|id| ack(id, 2, LIMITS.window));
    let told: Vec<_> =
        [Frame::Pong(0)].into_iter().chain(acks).chain([Frame::Streams(streams + 5)]).collect();
    assert_eq!((sent(&mut far, 2 * NOW), far.streams()), (told, 0));
    far.receive(0, block(streams, 0, 0, RESET), NOW).unwrap();
}

#[test]
fn whoever_asks_for_what_is_gone_and_reads_nothing_is_told_of_so_many() {
    let mut far = session(Role::Far);
    for id in 0..20_000 {
        far.receive(0, block(id, 0, 0, RESET), NOW).unwrap();
        far.release(id, NOW);
        sent(&mut far, NOW);
        events(&mut far);
    }
    far.set_lane(0, false, Path::default(), NOW);
    for id in 0..20_000 {
        far.receive(0, block(id, 0, 0, RESET), NOW).unwrap();
        assert_eq!(sent(&mut far, NOW), []);
        check_queues(&far);
    }
    assert_eq!(far.queued().gone, 4096);
}

#[test]
fn what_a_session_without_lanes_has_to_tell_is_told_over_the_next_one() {
    let mut far = session(Role::Far);
    far.receive(0, block(0, 0, 0, RESET), NOW).unwrap();
    far.receive(0, block(1, 0, 0, RESET), NOW).unwrap();
    far.remove_lane(0, NOW);
    far.release(0, NOW);
    assert_eq!((sent(&mut far, NOW), far.streams()), (vec![], 2));
    far.add_lane(1, NOW);
    far.release(1, NOW);
    assert_eq!(sent(&mut far, NOW), [ack(0, 1, LIMITS.window), ack(1, 1, LIMITS.window)]);
    assert_eq!(far.streams(), 0);
    // Without another lane it is over with the session.
    far.receive(1, block(2, 0, 0, RESET), NOW).unwrap();
    far.remove_lane(1, NOW);
    far.release(2, NOW);
    assert_eq!(far.streams(), 1);
    far.tick(NOW + LIMITS.resume);
    events(&mut far);
    assert_eq!((far.is_over(), far.streams(), far.queued()), (true, 0, Queued::default()));
}

/// None of the queues of a session with a lane is longer than it may be, once it was asked for all that has happened.
fn check_queues(session: &Session) {
    let Queued { notes, gone, untold, ready, events } = session.queued();
    let most = (3, 4096, session.streams(), session.streams(), 0);
    assert!(
        notes <= most.0 && gone <= most.1 && untold <= most.2 && ready <= most.3,
        "{:?}",
        session.queued()
    );
    assert_eq!(events, most.4);
}

#[test]
fn what_nobody_reads_is_cut_once_nobody_holds_it() {
    let mut near = session(Role::Near);
    let id = near.open().unwrap();
    near.write(id, &[0; 150_000]);
    near.finish(id, Last::End);
    near.release(id, NOW);
    assert_eq!(sent(&mut near, NOW).len(), 1);
    near.receive(0, ack(id, 65_536, 100_000), NOW).unwrap();
    let tell = |near: &mut Session, second: u32| {
        near.receive(0, Frame::Pong(0), NOW * second).unwrap();
        near.tick(NOW * second);
        sent(near, NOW * second)
    };
    assert!((2..61).all(|second| tell(&mut near, second).is_empty()));
    assert_eq!(tell(&mut near, 62), [block(id, 65_536, 0, RESET)]);
    assert_eq!((near.streams(), near.held_bytes()), (1, 0));
    near.receive(0, ack(id, 65_537, 100_000), NOW * 62).unwrap();
    assert_eq!(near.streams(), 0);
}

#[test]
fn what_nobody_will_read_is_dropped() {
    let (mut near, data) = (session(Role::Near), 10_000);
    let id = near.open().unwrap();
    near.write(id, b"x");
    assert_eq!(sent(&mut near, NOW).len(), 1);
    near.receive(0, block(id, 0, data, Last::More), NOW).unwrap();
    assert_eq!(near.held_bytes(), data + 1);
    near.release(id, NOW);
    near.receive(0, block(id, data as u64, data, Last::More), NOW).unwrap();
    assert_eq!((near.streams(), near.held_bytes()), (1, 1));
}

#[test]
fn a_session_that_is_over_takes_nothing() {
    let mut far = Session::new(Role::Far, LIMITS, TERMS, Duration::ZERO);
    assert_eq!(far.deadline(), Some(LIMITS.resume));
    far.tick(LIMITS.resume);
    assert!(far.is_over());
    far.receive(0, block(0, 0, 1, Last::More), NOW).unwrap();
    assert_eq!((far.streams(), far.deadline(), far.next_frame(NOW)), (0, None, None));
    assert_eq!(events(&mut far), [Event::Over]);
}
