//! Counters of one worker, which only that worker changes and anyone may read and sum, and a brake for warnings.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What one worker has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    live: AtomicU64,
    accepted: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
}

/// The sums over all workers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections taken from clients.
    pub accepted: u64,
    /// Those that have ended.
    pub finished: u64,
    /// Those of them that never reached a backend.
    pub failed: u64,
    /// Bytes from clients to servers.
    pub up_bytes: u64,
    /// Bytes from servers to clients.
    pub down_bytes: u64,
}

impl Totals {
    /// Connections that are live.
    pub fn live(&self) -> u64 {
        self.accepted.saturating_sub(self.finished)
    }
}

impl Counters {
    pub(crate) fn accepted(&self) {
        add(&self.accepted, 1);
        self.arrived();
    }

    pub(crate) fn finished(&self, reached_backend: bool) {
        add(&self.finished, 1);
        add(&self.failed, u64::from(!reached_backend));
        self.left();
    }

    /// A connection came from another worker.
    pub(crate) fn arrived(&self) {
        add(&self.live, 1);
    }

    /// A connection went to another worker, or ended.
    pub(crate) fn left(&self) {
        self.live.store(self.live.load(Relaxed).saturating_sub(1), Relaxed);
    }

    pub(crate) fn carried_up(&self, bytes: u64) {
        add(&self.up_bytes, bytes);
    }

    pub(crate) fn carried_down(&self, bytes: u64) {
        add(&self.down_bytes, bytes);
    }

    /// Connections of this worker that are live.
    pub(crate) fn live(&self) -> u64 {
        self.live.load(Relaxed)
    }

    pub(crate) fn add_to(&self, totals: &mut Totals) {
        totals.finished += self.finished.load(Relaxed);
        totals.accepted += self.accepted.load(Relaxed);
        totals.failed += self.failed.load(Relaxed);
        totals.up_bytes += self.up_bytes.load(Relaxed);
        totals.down_bytes += self.down_bytes.load(Relaxed);
    }
}

/// A load and a store, without the bus lock of `fetch_add`: each counter has one writer.
#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed) + more, Relaxed);
}

/// Lets one warning a second pass, for all workers together.
#[derive(Debug)]
pub(crate) struct NowAndThen {
    start: Instant,
    due_millis: AtomicU64,
}

/// Between two warnings of one kind.
pub(crate) const WARN_GAP: Duration = Duration::from_secs(1);

impl Default for NowAndThen {
    fn default() -> Self {
        Self { start: Instant::now(), due_millis: AtomicU64::new(0) }
    }
}

impl NowAndThen {
    /// Whether this one may pass.
    pub(crate) fn is_due(&self) -> bool {
        let now = self.start.elapsed();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let due = self.due_millis.load(Relaxed);
        let next = millis(now + WARN_GAP);
        millis(now) >= due && self.due_millis.compare_exchange(due, next, Relaxed, Relaxed).is_ok()
    }
}
