//! How many new connections a listener takes a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// So long a listener that had nothing to do may make up for it at once.
const BURST: Duration = Duration::from_secs(1);

/// Spaces connections so that their rate holds, after a burst of one second's worth (GCRA, ATM Forum TM 4.0 section 4.4).
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: f64) -> Self {
        let gap = Duration::from_secs_f64(1.0 / per_second);
        Self { gap, next: Mutex::new(Instant::now()) }
    }

    /// Waits until the next connection is due.
    pub(super) async fn turn(&self) {
        let due = self.reserve(Instant::now());
        sleep_until(due).await;
    }

    /// Takes the next place and says when it is due.
    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let burst = BURST.max(self.gap) - self.gap;
        let due = (*next).max(now.checked_sub(burst).unwrap_or(now));
        *next = due + self.gap;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_a_second_and_then_the_rate() {
        let pace = Pace::new(10.0);
        let start = Instant::now() + Duration::from_secs(60);
        let due: Vec<Instant> = (0..30).map(|_| pace.reserve(start)).collect();
        let at_once = due.iter().filter(|due| **due <= start).count();
        assert_eq!(at_once, 10);
        assert_eq!(due[29] - start, Duration::from_secs(2));
    }
}
