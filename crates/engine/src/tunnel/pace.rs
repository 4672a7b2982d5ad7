//! How fast a lane may send at most: where somebody drops what is above a rate, to send more is only to send it again.

use std::time::Duration;

use towpath_sys::path::TcpPath;

/// What has become of what was sent is looked at so often, but for ways that are longer than half of it.
const LOOKS: Duration = Duration::from_millis(100);

/// What arrived at best in so many looks is what a way can carry.
const REMEMBERED: usize = 8;

/// Less than so much tells nothing, and fewer losses than so many bytes are chance.
const LEAST_BYTES: u64 = 32 * 1024;
const LEAST_LOST: u64 = 24 * 1024;

/// When more than this share was lost, the lane is held to a little more than what arrives.
const LOSSY: f64 = 0.08;
const HASTE: f64 = 1.02;

/// When little more than at best is lost while it is held, and the pace is what it sends, it may send more: a little at first, and
/// step by step more of it.
const CLEAN: f64 = 0.02;
const USED: f64 = 0.85;
const STEP: f64 = 0.01;
const STEPS_MAX: u32 = 10;

/// How quickly it is forgotten that less was lost.
const FORGETS: f64 = 0.005;

/// A way that still loses as much, that often, loses it however fast it is used; it is not held for so long.
const STRIKES: u32 = 12;
const TRUST: Duration = Duration::from_secs(60);

/// So slow is no lane held.
const PACE_MIN: f64 = 100_000.0;

/// What a lane has sent, and what of it arrived.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// When this was looked at last, and what was counted by then.
    looked: Option<(Duration, TcpPath)>,
    /// Bytes a second that arrived lately.
    rates: [f64; REMEMBERED],
    /// Bytes a second; 0 is no limit.
    pace: f64,
    /// The share that is lost at best while it is held.
    floor: f64,
    /// How often in a row it was let send more.
    steps: u32,
    strikes: u32,
    trusted_until: Duration,
}

impl Pacing {
    /// Bytes a second that the lane may send from now on, 0 for no limit, if that has changed.
    pub(super) fn look(&mut self, now: Duration, path: &TcpPath) -> Option<u64> {
        let Some((looked, before)) = &self.looked else {
            self.looked = Some((now, *path));
            return None;
        };
        let time = now.saturating_sub(*looked);
        if time < LOOKS.max(path.rtt) {
            return None;
        }
        let since = |count: fn(&TcpPath) -> u64| count(path).saturating_sub(count(before));
        let (sent, again) = (since(|path| path.sent), since(|path| path.sent_again));
        let rate = since(|path| path.arrived) as f64 / time.as_secs_f64();
        self.looked = Some((now, *path));
        if sent < LEAST_BYTES {
            return None;
        }
        self.rates.rotate_right(1);
        self.rates[0] = rate;
        let before = self.pace;
        self.judge(now, again as f64 / sent as f64, again >= LEAST_LOST);
        (self.pace != before).then_some(self.pace as u64)
    }

    /// Sets the pace by the share that was `lost`, if that is enough to tell something.
    fn judge(&mut self, now: Duration, lost: f64, is_enough: bool) {
        if lost > LOSSY && is_enough {
            if now < self.trusted_until {
                return;
            }
            let best = self.rates.iter().copied().fold(0.0, f64::max);
            (self.strikes, self.steps, self.floor) = (self.strikes + 1, 0, lost);
            if self.strikes > STRIKES {
                (self.pace, self.strikes, self.trusted_until) = (0.0, 0, now + TRUST);
            } else {
                self.pace = (best * HASTE).max(PACE_MIN);
            }
            return;
        }
        self.strikes = 0;
        if self.pace == 0.0 {
            return;
        }
        let is_clean = lost < self.floor + CLEAN;
        self.floor = if lost < self.floor { lost } else { self.floor + (lost - self.floor) * FORGETS };
        if is_clean && self.rates[0] > self.pace * USED {
            self.steps = (self.steps + 1).min(STEPS_MAX);
            self.pace *= 1.0 + STEP * f64::from(self.steps);
        } else {
            self.steps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    /// A lane that sends as fast as it may, at most `wants` bytes a second, and a way of which `carry` tells how much arrives of what is
    /// sent in a second. The pace after each tick.
    fn paces(ticks: u32, wants: f64, carry: impl Fn(u32, f64) -> f64) -> Vec<u64> {
        let (mut pacing, mut now) = (Pacing::default(), Duration::ZERO);
        let (mut sent, mut arrived, mut pace) = (0.0, 0.0, 0);
        let mut path = TcpPath {
            unsent: 0,
            window: 1_000_000,
            rtt: Duration::from_millis(50),
            is_recovering: false,
            sent: 0,
            sent_again: 0,
            arrived: 0,
        };
        pacing.look(now, &path);
        let step = |tick: u32| {
            let rate = if pace == 0 { wants } else { wants.min(pace as f64) };
            sent += rate / 10.0;
            arrived += carry(tick, rate) / 10.0;
            (path.sent, path.arrived, path.sent_again) =
                (sent as u64, arrived as u64, (sent - arrived) as u64);
            now += TICK;
            pace = pacing.look(now, &path).unwrap_or(pace);
            pace
        };
        (0..ticks).map(step).collect()
    }

    #[test]
    fn a_lane_that_is_policed_sends_little_more_than_passes() {
        let paces = paces(100, 5e6, |_, rate| rate.min(2e6));
        assert!(paces[20..].iter().all(|pace| (2_000_000..2_200_000).contains(pace)), "{paces:?}");
    }

    #[test]
    fn it_follows_a_rate_that_grows() {
        let paces = paces(300, 5e6, |tick, rate| rate.min(if tick < 30 { 1e6 } else { 3e6 }));
        assert!((1_000_000..1_200_000).contains(&paces[25]), "{paces:?}");
        assert!((3_000_000..3_300_000).contains(paces.last().unwrap()), "{paces:?}");
    }

    #[test]
    fn losses_that_no_pace_ends_do_not_slow_it_down_for_long() {
        let paces = paces(600, 5e6, |_, rate| rate * 0.85);
        let held = paces.iter().filter(|pace| **pace > 0).count();
        assert!(held <= 30 && paces[30..500].iter().all(|pace| *pace == 0), "{paces:?}");
        let least = paces.iter().filter(|pace| **pace > 0).min().unwrap();
        assert!(*least > 1_000_000, "{paces:?}");
    }

    #[test]
    fn losses_of_the_way_itself_do_not_keep_a_lane_slow() {
        // At first a queue on the way overflows.
        let paces = paces(100, 5e6, |tick, rate| rate * if tick < 5 { 0.3 } else { 0.95 });
        assert!((1..2_000_000).contains(&paces[5]), "{paces:?}");
        assert!(*paces.last().unwrap() > 5_000_000, "{paces:?}");
    }

    #[test]
    fn a_few_losses_hold_nothing_back() {
        assert!(paces(100, 5e6, |_, rate| rate * 0.97).iter().all(|pace| *pace == 0));
    }

    #[test]
    fn who_has_little_to_send_shows_nothing() {
        assert!(paces(100, 1e5, |_, rate| rate * 0.5).iter().all(|pace| *pace == 0));
    }
}
