//! How fast a lane may send at most: what leaves faster than all lanes together carry is only lost on the way.

use std::time::Duration;

/// A lane sends at most so many times its share of what all carry.
const HASTE: f64 = 1.5;

/// What is carried is looked at so often.
const LOOKS: Duration = Duration::from_millis(500);

/// Lanes that carry so much more each time have not found out yet what they can; they have once that stops for so long.
const GROWTH: f64 = 1.1;
const GROWTH_TIME: Duration = Duration::from_millis(1500);

/// So long counts what was carried best, and then so much of it; and so slow is no lane held.
const BEST_TIME: Duration = Duration::from_secs(10);
const FADING: f64 = 0.8;
const PACE_MIN: f64 = 250_000.0;

/// What all lanes of a session have carried at their best.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pacing {
    /// When this was looked at last, and how much was delivered by then.
    looked: Duration,
    delivered: u64,
    /// Bytes a second, and since when.
    best: f64,
    since: Duration,
    /// Whether it is as much as they can, rather than what they have come to so far.
    is_found: bool,
}

impl Pacing {
    /// Bytes a second that each of the `lanes` may send from now on, 0 for no limit, if that is to be said again. `delivered` is how
    /// much was carried in all; only while more waits (`is_hungry`) does that tell what they can.
    pub(super) fn look(
        &mut self,
        now: Duration,
        delivered: u64,
        lanes: usize,
        is_hungry: bool,
    ) -> Option<u64> {
        let time = now.saturating_sub(self.looked);
        if time < LOOKS {
            return None;
        }
        let rate = delivered.saturating_sub(self.delivered) as f64 / time.as_secs_f64();
        (self.looked, self.delivered) = (now, delivered);
        if !is_hungry {
            self.since = now;
            return None;
        }
        let limit = if self.is_found { BEST_TIME } else { GROWTH_TIME };
        if rate > self.best * GROWTH || (self.is_found && rate > self.best) {
            (self.best, self.since) = (rate, now);
        } else if now >= self.since + limit {
            // It grows no more, or was better long ago.
            self.best = if self.is_found { rate.max(self.best * FADING) } else { self.best };
            (self.since, self.is_found) = (now, true);
        }
        let share = self.best * HASTE / lanes.max(1) as f64;
        let is_known = self.is_found && lanes > 1 && share >= PACE_MIN;
        Some(if is_known { share as u64 } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pace after each half second in which so many bytes were carried by two lanes.
    fn paces(carried: &[u64]) -> Vec<u64> {
        let (mut pacing, mut delivered) = (Pacing::default(), 0);
        let at = (1..).map(|half| Duration::from_millis(500 * half));
        let look = |(now, bytes): (Duration, &u64)| {
            delivered += bytes;
            pacing.look(now, delivered, 2, true).unwrap()
        };
        at.zip(carried).map(look).collect()
    }

    #[test]
    fn lanes_are_held_once_they_carry_no_more() {
        const MEGA: u64 = 1_000_000;
        assert_eq!(paces(&[MEGA, 2 * MEGA, 4 * MEGA, 8 * MEGA]), [0; 4], "they grow");
        let settled = paces(&[8 * MEGA, 8 * MEGA, 7 * MEGA, 8 * MEGA, 9 * MEGA]);
        assert_eq!(settled[..3], [0; 3]);
        assert_eq!(settled[3..], [12 * MEGA, 13_500_000], "1.5 times the share, and more when there is more");
        assert!(paces(&[100_000; 10]).iter().all(|pace| *pace == 0), "slow ones are not held");
    }

    #[test]
    fn who_has_little_to_send_shows_nothing() {
        let mut pacing = Pacing::default();
        let seconds = (1..60).map(|second| (Duration::from_secs(second), 1_000_000 * second));
        assert!(seconds.into_iter().all(|(now, delivered)| pacing.look(now, delivered, 4, false).is_none()));
        assert!(!pacing.is_found);
    }

    #[test]
    fn what_was_carried_long_ago_counts_less_and_less() {
        let mut carried = vec![8_000_000; 4];
        carried.extend([1_000_000; 60]);
        let paces = paces(&carried);
        assert_eq!(paces[10], 12_000_000);
        assert!(*paces.last().unwrap() < 8_000_000 && *paces.last().unwrap() > 3_000_000, "{paces:?}");
    }
}
