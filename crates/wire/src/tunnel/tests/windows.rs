//! Windows of streams, which grow for those that are quick, and leave something for others.

use std::time::Duration;

use super::{LIMITS, ack, block, sent, session};
use crate::tunnel::frame::{Frame, Last};
use crate::tunnel::session::{Read, Role, Session};

const NOW: Duration = Duration::from_secs(1);

/// A far end with so many streams, of which the first byte has come and was read.
fn far_end(streams: u64) -> Session {
    let mut far = session(Role::Far);
    for id in 0..streams {
        far.receive(0, block(id, 0, 1, Last::More), NOW).unwrap();
        assert!(matches!(far.read(id, NOW), Read::Block(_)));
    }
    sent(&mut far, 2 * NOW);
    far
}

/// Writes to a stream for as long as that has more under way each time; tells how much that is in the end, when all has arrived.
fn send(far: &mut Session, id: u64, arrived: &mut u64, now: Duration) -> u64 {
    let (data, mut under_way) = (vec![0; 1 << 20], 0);
    loop {
        let mut end = *arrived;
        while far.write(id, &data) > 0 {
            for frame in sent(far, now) {
                let Frame::Block(block) = frame else { continue };
                end = end.max(block.end());
            }
        }
        let before = std::mem::replace(&mut under_way, end - *arrived);
        far.receive(0, ack(id, *arrived, 1 << 60), now).unwrap();
        far.receive(0, ack(id, end, 1 << 60), now).unwrap();
        *arrived = end;
        for frame in sent(far, now) {
            let Frame::Block(block) = frame else { continue };
            *arrived = block.end();
            far.receive(0, ack(id, *arrived, 1 << 60), now).unwrap();
        }
        if under_way <= before {
            return under_way;
        }
    }
}

#[test]
fn a_stream_that_has_sent_all_gives_its_window_back_soon() {
    let mut far = far_end(5);
    let mut arrived = [0; 5];
    for id in 0..4 {
        send(&mut far, id, &mut arrived[id as usize], NOW);
    }
    let all = far.grown();
    assert!(all.0 == all.1 && all.0 > LIMITS.memory - 100, "{all:?}: the first ones have all of it");
    let short = send(&mut far, 4, &mut arrived[4], NOW);
    let at = |millis| NOW + Duration::from_millis(millis);
    far.tick(at(900));
    assert_eq!(far.grown(), all, "they may go on");
    // One that still has something under way keeps its own.
    far.write(0, b"x");
    assert_eq!(sent(&mut far, at(900)).len(), 1);
    far.tick(at(1100));
    let own = LIMITS.window_max - LIMITS.window;
    assert_eq!(far.grown(), (own, own));
    let long = send(&mut far, 4, &mut arrived[4], at(1100));
    assert!(long >= short + own, "{long} bytes, and {short} before");
    for id in 1..4 {
        let again = send(&mut far, id, &mut arrived[id as usize], at(1200));
        assert!(again >= LIMITS.window, "{again}");
    }
    assert!(far.grown().0 == far.grown().1 && far.grown().0 > LIMITS.memory - 100, "{:?}", far.grown());
}

#[test]
fn quick_readers_leave_something_for_others() {
    let mut far = far_end(8);
    let mut windows = Vec::new();
    for id in 0..8 {
        let (mut at, mut limit, mut window) = (1, LIMITS.window, 0);
        for _ in 0..100 {
            while at + 10_000 <= limit {
                far.receive(0, block(id, at, 10_000, Last::More), NOW).unwrap();
                at += 10_000;
                while let Read::Block(_) = far.read(id, NOW) {}
            }
            for frame in sent(&mut far, NOW) {
                let Frame::Ack { limit: told, .. } = frame else { panic!("{frame:?}") };
                (limit, window) = (told, window.max(told - at));
            }
        }
        windows.push(window);
    }
    let (counted, grown) = far.grown();
    assert!(counted == grown && grown < LIMITS.memory, "{grown}");
    assert_eq!(windows[..4], [400_000, 400_000, 300_000, 200_000]);
    assert!(windows.iter().all(|window| *window > LIMITS.window + 5000), "{windows:?}");
}
