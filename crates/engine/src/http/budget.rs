//! How many requests may be sent again: a share of those of late, so that retries do not bring down what is left.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// What happened so long ago counts a third.
const MEMORY: Duration = Duration::from_secs(10);

/// So many retries a second are always allowed, for pools with few requests.
const FLOOR: f64 = 3.0;

/// What was counted fades in steps, as an exponential for each request would cost more than it tells.
const STEP: Duration = Duration::from_millis(100);

/// The requests and retries of a pool, as one worker sees them.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: Cell<f64>,
    retries: Cell<f64>,
    at: Cell<Instant>,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { requests: Cell::new(0.0), retries: Cell::new(0.0), at: Cell::new(now) }
    }

    /// There is one more request, which is not a retry.
    pub(crate) fn request(&self, now: Instant) {
        self.fade(now);
        self.requests.set(self.requests.get() + 1.0);
    }

    /// Whether a request may be sent again, which is counted then: no more than `share` of the requests may, and a few.
    pub(crate) fn try_retry(&self, share: f64, now: Instant) -> bool {
        self.fade(now);
        let most = share * self.requests.get() + FLOOR * MEMORY.as_secs_f64();
        let is_allowed = self.retries.get() + 1.0 <= most;
        if is_allowed {
            self.retries.set(self.retries.get() + 1.0);
        }
        is_allowed
    }

    fn fade(&self, now: Instant) {
        let since = now.saturating_duration_since(self.at.get());
        if since >= STEP {
            let left = (-since.as_secs_f64() / MEMORY.as_secs_f64()).exp();
            self.requests.set(self.requests.get() * left);
            self.retries.set(self.retries.get() * left);
            self.at.set(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `rate` requests a second that all fail may be sent again, of each second once the budget is used to it.
    fn steady(rate: u32, share: f64) -> f64 {
        let start = Instant::now();
        let budget = Budget::new(start);
        let mut allowed = 0;
        for number in 0..rate * 100 {
            let now = start + Duration::from_secs(1) * number / rate;
            budget.request(now);
            let is_late = number >= rate * 60;
            allowed += u32::from(budget.try_retry(share, now) && is_late);
        }
        f64::from(allowed) / 40.0
    }

    #[test]
    fn a_share_and_a_few_are_sent_again() {
        for (rate, share, wanted) in [(1000, 0.2, 203.0), (1000, 0.0, 3.0), (100, 1.0, 100.0), (2, 0.2, 2.0)]
        {
            let found = steady(rate, share);
            assert!((found - wanted).abs() < wanted * 0.02, "{rate} a second, {share}: {found}");
        }
    }

    #[test]
    fn what_is_used_up_comes_back_with_time() {
        let now = Instant::now();
        let budget = Budget::new(now);
        let retries = |now| (0..100).filter(|_| budget.try_retry(0.2, now)).count();
        assert_eq!([retries(now), retries(now)], [30, 0]);
        let later = now + Duration::from_secs(1);
        assert_eq!([retries(later), retries(now), retries(later)], [2, 0, 0]);
        assert_eq!(retries(now + Duration::from_secs(3600)), 30);
    }

    #[test]
    fn requests_of_long_ago_allow_nothing() {
        let now = Instant::now();
        let budget = Budget::new(now);
        for _ in 0..1000 {
            budget.request(now);
        }
        let late = now + Duration::from_secs(100);
        assert_eq!((0..1000).filter(|_| budget.try_retry(0.2, late)).count(), 30);
    }
}
