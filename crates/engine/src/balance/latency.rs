//! How slow a backend is: the peak EWMA of Finagle (Twitter, `PeakEwma.scala`).
//!
//! A slow answer counts at once; faster ones after it let the value fall off over [`DECAY`]. So one that has become slow
//! is avoided with its next answer, and one that is fast again comes back slowly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// In this time, an old value loses all but a part of 1/e.
const DECAY: Duration = Duration::from_secs(10);

/// A failure counts as an answer that took at least so long.
const PENALTY: Duration = Duration::from_secs(1);

/// The latency of one backend. All workers share it; when two write at a time, one observation may be lost.
#[derive(Debug)]
pub(crate) struct PeakEwma {
    epoch: Instant,
    /// In nanoseconds, as of `at`.
    value: AtomicU64,
    /// Microseconds since `epoch`.
    at: AtomicU64,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { epoch: Instant::now(), value: AtomicU64::new(0), at: AtomicU64::new(0) }
    }
}

impl PeakEwma {
    /// An answer took `nanos`.
    pub(crate) fn observe(&self, now: Instant, nanos: u64) {
        let (old, keep) = (self.value.load(Relaxed), self.keep(now));
        let new = if nanos > mix(old, 0, keep) { nanos } else { mix(old, nanos, keep) };
        self.value.store(new, Relaxed);
        self.at.store(self.micros(now), Relaxed);
    }

    /// A connection came to nothing.
    pub(crate) fn observe_failure(&self, now: Instant) {
        let penalty = u64::try_from(PENALTY.as_nanos()).unwrap_or(u64::MAX);
        self.observe(now, self.read(now).saturating_mul(2).clamp(penalty, penalty * 60));
    }

    /// The latency by now, in nanoseconds; without observations it falls towards 0. 0 when nothing is known.
    pub(crate) fn read(&self, now: Instant) -> u64 {
        mix(self.value.load(Relaxed), 0, self.keep(now))
    }

    /// The part of the old value that counts still.
    fn keep(&self, now: Instant) -> f64 {
        let since = self.micros(now).saturating_sub(self.at.load(Relaxed));
        (-(since as f64) / DECAY.as_micros() as f64).exp()
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }
}

fn mix(old: u64, new: u64, keep: f64) -> u64 {
    (old as f64 * keep + new as f64 * (1.0 - keep)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_count_at_once_and_fall_off() {
        let latency = PeakEwma::default();
        let start = Instant::now();
        latency.observe(start, 1_000_000);
        latency.observe(start, 9_000_000);
        assert_eq!(latency.read(start), 9_000_000);
        latency.observe(start + Duration::from_secs(1), 1_000_000);
        let soon = latency.read(start + Duration::from_secs(1));
        assert!((8_000_000..9_000_000).contains(&soon), "{soon}");
        let late = latency.read(start + Duration::from_secs(60));
        assert!(late < 100_000, "{late}");
    }

    #[test]
    fn failures_count_as_slow_answers() {
        let latency = PeakEwma::default();
        let now = Instant::now();
        latency.observe(now, 100_000);
        latency.observe_failure(now);
        assert!(latency.read(now) >= 1_000_000_000);
    }
}
