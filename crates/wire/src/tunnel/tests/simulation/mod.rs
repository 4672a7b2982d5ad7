//! Two ends of a session in virtual time, with applications that do anything, over lanes that suffer anything.
//!
//! What must hold is asserted where it is seen: in [`app`] what readers find, in [`bounds`] what a session keeps, in [`world`]
//! how often it wants to be called, and here that nothing waits for ever.

mod app;
mod bounds;
mod wire;
mod world;

use std::time::Duration;

use fastrand::Rng;

use crate::tunnel::StreamId;
use crate::tunnel::session::Limits;
use app::App;
use wire::Wire;
use world::{Action, FAR, NEAR, World};

/// Says which seed it was, if a test fails with it.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("TOWPATH_SEED={}", self.0);
        }
    }
}

/// Plays with many seeds, or with the one that is asked for.
fn with_seeds(usual: u64, nightly: u64, play: impl Fn(u64)) {
    let given = std::env::var("TOWPATH_SEED").ok().and_then(|text| text.parse().ok());
    let is_nightly = std::env::var_os("TOWPATH_NIGHTLY").is_some_and(|value| value == "1");
    let seeds = match given {
        Some(seed) => seed..seed + 1,
        None => 0..if is_nightly { nightly } else { usual },
    };
    for seed in seeds {
        let guard = Seed(seed);
        play(guard.0);
    }
}

fn any_limits(rng: &mut Rng) -> Limits {
    let window = rng.u64(64 * 1024..400 * 1024);
    Limits {
        window,
        window_max: window * rng.u64(1..8),
        memory: [0, 2 << 20, 64 << 20][rng.usize(..3)],
        streams: rng.usize(1..20),
        resume: Duration::from_secs(rng.u64(3..30)),
    }
}

#[test]
fn streams_arrive_in_order_and_once_or_are_reset() {
    with_seeds(300, 10_000, |seed| {
        let mut rng = Rng::with_seed(seed);
        let limits = [any_limits(&mut rng), any_limits(&mut rng)];
        let mut world = World::new(limits, Duration::from_millis(rng.u64(..100_000)), rng);
        let chaos = plan(&mut world);
        world.run(chaos);
        world.is_calm = true;
        for _ in 0..90 {
            if world.waiting().is_empty() {
                break;
            }
            world.run(Duration::from_secs(1));
        }
        assert_eq!(world.waiting(), [], "wait for ever: {:?}", world.ends);
        for _ in 0..20 {
            world.leave_all();
            world.run(Duration::from_secs(10));
        }
        for end in world.ends.iter().flatten() {
            assert_eq!((end.session.streams(), end.session.held_bytes()), (0, 0), "{:?}", world.ends);
        }
        let ticks = world.ticks();
        world.run(Duration::from_secs(60));
        assert!(world.ticks() - ticks < 60, "{} ticks in an idle minute", world.ticks() - ticks);
    });
}

/// What befalls a session, and how long that goes on.
fn plan(world: &mut World) -> Duration {
    let rng = &mut world.rng;
    let length = Duration::from_millis(rng.u64(500..40_000));
    let at = |rng: &mut Rng| Duration::from_millis(rng.u64(..length.as_millis() as u64));
    let mut actions = Vec::new();
    for _ in 0..rng.usize(1..12) {
        actions.push((at(rng), Action::Open));
    }
    for _ in 0..[0, 3, 12][rng.usize(..3)] {
        let action = match rng.u32(..100) {
            0..40 => Action::Kill,
            40..55 => {
                let side = if rng.bool() { NEAR } else { FAR };
                Action::Choke(side, Duration::from_millis(rng.u64(1..15_000)))
            }
            55..80 => Action::Stall(Duration::from_millis(rng.u64(1..8000))),
            80..92 => Action::Blackout(Duration::from_millis(rng.u64(1..10_000))),
            92..95 => Action::Blackout(Duration::from_secs(40)),
            _ => Action::Restart(if rng.bool() { NEAR } else { FAR }),
        };
        actions.push((at(rng), action));
    }
    for _ in 0..rng.usize(1..5) {
        actions.push((Duration::ZERO, Action::Connect));
    }
    actions.into_iter().for_each(|(after, action)| world.plan(after, action));
    length
}

#[test]
fn a_stream_that_stalls_holds_up_no_other() {
    let all_but_one = |any_app: fn(StreamId, usize, Duration, &mut Rng) -> App| {
        let limits = Limits {
            window: 128 * 1024,
            window_max: 256 * 1024,
            memory: 0,
            streams: 100,
            resume: Duration::from_secs(10),
        };
        let mut world = World::new([limits; 2], Duration::ZERO, Rng::with_seed(1));
        world.any_app = any_app;
        world.any_wire = |_| Wire::new(Duration::from_millis(20), 4_000_000, 128 * 1024);
        (0..3).for_each(|_| world.plan(Duration::ZERO, Action::Connect));
        (0..100).for_each(|_| world.plan(Duration::from_millis(100), Action::Open));
        world.run(Duration::from_millis(200));
        while world.ends.iter().flatten().any(|end| end.apps.keys().any(|id| *id > 0)) {
            world.run(Duration::from_millis(10));
            assert!(world.now < Duration::from_secs(60), "{:?}", world.waiting());
        }
        world.now
    };
    let usual = all_but_one(|id, side, _, _| App::bulk(id, side, 64 * 1024));
    let beside = all_but_one(|id, side, _, _| {
        let mut app = App::bulk(id, side, if id == 0 { 1 << 20 } else { 64 * 1024 });
        app.never_reads = id == 0;
        app
    });
    assert!(beside < usual.mul_f64(1.1), "{beside:?}, and {usual:?} if none stalls");
}
