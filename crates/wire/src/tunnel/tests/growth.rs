//! The number of lanes goes to where one more carries nothing, and stays there.

use std::time::Duration;

use crate::tunnel::growth::Growth;

/// How often the number is looked at.
const STEP: Duration = Duration::from_millis(100);

/// A way, which is looked at for a time.
struct Way {
    growth: Growth,
    now: Duration,
    delivered: u64,
    lanes: usize,
    /// The numbers that there were, in their order.
    all: Vec<usize>,
}

impl Way {
    fn new(most: usize) -> Self {
        let now = Duration::from_secs(1000);
        Self { growth: Growth::new(most, now), now, delivered: 0, lanes: 1, all: vec![1] }
    }

    /// Carries what `rate` says that so many lanes do, in bytes a second.
    fn carry(&mut self, length: Duration, is_hungry: bool, rate: impl Fn(usize) -> u64) {
        let until = self.now + length;
        while self.now < until {
            self.now += STEP;
            self.delivered += rate(self.lanes) * STEP.as_millis() as u64 / 1000;
            let rtt = Duration::from_millis(100);
            let wanted = self.growth.look(self.now, self.lanes, rtt, self.delivered, is_hungry);
            if wanted != self.lanes {
                self.lanes = wanted;
                self.all.push(wanted);
            }
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn lanes_that_carry_more_are_kept() {
    let mut way = Way::new(64);
    way.carry(MINUTE / 4, true, |lanes| (10_000_000 * lanes as u64).min(160_000_000));
    assert_eq!(way.all[..6], [1, 2, 4, 8, 16, 32], "twice as many each time");
    way.carry(HOUR, true, |lanes| (10_000_000 * lanes as u64).min(160_000_000));
    assert_eq!(way.lanes, 16, "{:?}", way.all);
    assert!(way.all.len() < 30, "{:?}", way.all);
}

#[test]
fn no_more_lanes_than_allowed() {
    for most in [1, 2, 5, 6] {
        let mut way = Way::new(most);
        way.carry(MINUTE, true, |lanes| 1_000_000 * lanes as u64);
        assert_eq!(way.lanes, most);
        assert!(way.all.is_sorted(), "{:?}", way.all);
    }
}

#[test]
fn one_lane_that_carries_all_stays_alone() {
    let mut way = Way::new(16);
    way.carry(HOUR, true, |_| 100_000_000);
    assert!(way.all.iter().all(|lanes| *lanes <= 2), "{:?}", way.all);
    assert!(way.all.len() < 30, "it tries ever less often: {:?}", way.all);
    way.carry(MINUTE, true, |_| 100_000_000);
    assert_eq!(way.lanes, 1);
}

#[test]
fn a_burst_at_first_holds_more_lanes_up_for_a_moment_alone() {
    let mut way = Way::new(16);
    way.carry(MINUTE / 60, true, |_| 50_000_000);
    way.carry(MINUTE / 4, true, |lanes| 2_000_000 * lanes as u64);
    assert_eq!(way.lanes, 16, "{:?}", way.all);
}

#[test]
fn whoever_has_little_to_send_needs_one() {
    let mut way = Way::new(16);
    way.carry(MINUTE, false, |_| 1000);
    assert_eq!(way.all, [1]);
    way.carry(MINUTE, true, |lanes| 10_000_000 * lanes as u64);
    assert_eq!(way.lanes, 16);
    way.carry(MINUTE / 4, false, |_| 0);
    assert_eq!(way.lanes, 16, "a pause is none");
    way.carry(MINUTE, false, |_| 0);
    assert_eq!(way.lanes, 1);
    way.carry(MINUTE, true, |lanes| 10_000_000 * lanes as u64);
    assert_eq!(way.lanes, 16, "it grows again");
}

#[test]
fn lanes_that_cannot_be_had_are_waited_for() {
    let mut growth = Growth::new(16, Duration::ZERO);
    for step in 1..1000 {
        let wanted = growth.look(step * STEP, 1, Duration::ZERO, u64::from(step) * 1000, true);
        assert!(wanted <= 2);
    }
}
