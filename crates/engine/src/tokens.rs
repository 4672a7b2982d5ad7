//! Buckets of tokens: how often something may come, and how much of it at once.

use std::time::{Duration, Instant};

/// Nobody is told to wait longer, however slow a rate is.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How fast a bucket fills, and how much is in a full one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    per_second: f64,
    burst: f64,
}

impl Rate {
    /// A bucket holds one token at least, or nothing would ever come.
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst: burst.max(1.0) }
    }
}

/// A bucket, whose rate its owner keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    left: f64,
    at: Instant,
}

impl Tokens {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, at: now }
    }

    /// Takes one token, or tells when there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        // Workers see the time at slightly different moments; it must not run back.
        (self.left, self.at) = (self.left(rate, now), self.at.max(now));
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let wait = Duration::try_from_secs_f64((1.0 - self.left) / rate.per_second);
        Err(wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT))
    }

    /// Whether it is as a new one.
    pub(crate) fn is_full(&self, rate: Rate, now: Instant) -> bool {
        self.left(rate, now) >= rate.burst
    }

    fn left(&self, rate: Rate, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + since * rate.per_second).min(rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_time() {
        let (rate, start) = (Rate::new(7.0, 3.0), Instant::now());
        let mut tokens = Tokens::full(rate, start);
        let taken =
            (0..100_000).filter(|step| tokens.take(rate, start + Duration::from_millis(*step)).is_ok());
        assert_eq!(taken.count(), 3 + 699);
    }

    #[test]
    fn a_wait_is_long_enough_and_no_longer() {
        let (rate, now) = (Rate::new(0.3, 0.0), Instant::now());
        let mut tokens = Tokens::full(rate, now);
        assert_eq!(tokens.take(rate, now), Ok(()));
        let wait = tokens.take(rate, now).unwrap_err();
        assert!(tokens.take(rate, now + wait - Duration::from_millis(1)).is_err());
        assert!(!tokens.is_full(rate, now + wait - Duration::from_millis(1)));
        assert!(tokens.take(rate, now + wait + Duration::from_nanos(1)).is_ok());
        assert!(tokens.is_full(rate, now + wait * 3));
        for never in [0.0, 1e-300] {
            let rate = Rate::new(never, 1.0);
            let mut tokens = Tokens::full(rate, now);
            assert_eq!([(); 2].map(|()| tokens.take(rate, now)), [Ok(()), Err(LONGEST_WAIT)]);
        }
    }

    #[test]
    fn time_that_runs_back_brings_nothing() {
        let (rate, now) = (Rate::new(1.0, 1.0), Instant::now() + Duration::from_secs(10));
        let mut tokens = Tokens::full(rate, now);
        assert!(tokens.take(rate, now).is_ok());
        assert!(tokens.take(rate, now - Duration::from_secs(5)).is_err());
        assert!(tokens.take(rate, now).is_err());
    }
}
