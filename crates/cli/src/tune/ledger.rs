//! What a run may take and has taken, and what its transfers have noticed.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// An answer shorter than this is over before a way shows what it carries.
const TINY_BYTES: u64 = 256 * 1024;

/// A part of what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) time: Duration,
    pub(super) bytes: u64,
}

/// The books of a run.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Bytes that may be carried in all, and until when.
    amount: u64,
    end: Instant,
    /// What is left for the last part of it.
    reserve: Cell<Share>,
    /// Bytes that were carried.
    carried: Cell<u64>,
    /// Somebody wants it to end.
    is_interrupted: Arc<AtomicBool>,
    /// How long the target is, where it is shorter than what is wanted of it.
    shortest: Cell<u64>,
    /// The server sends all of it, whatever is asked for.
    ignores_ranges: Cell<bool>,
    /// The amount was too small for a way to find out how many lanes it needs.
    has_short_growth: Cell<bool>,
}

impl Ledger {
    /// Of so much in all, some of which is kept until it is wanted.
    pub(super) fn new(whole: Share, reserve: Share, is_interrupted: Arc<AtomicBool>) -> Self {
        Self {
            amount: whole.bytes,
            end: Instant::now() + whole.time,
            reserve: Cell::new(reserve),
            carried: Cell::new(0),
            is_interrupted,
            shortest: Cell::new(u64::MAX),
            ignores_ranges: Cell::new(false),
            has_short_growth: Cell::new(false),
        }
    }

    /// Lets the rest be used.
    pub(super) fn free_reserve(&self) {
        self.reserve.take();
    }

    /// Whether the time, or the amount, is over, or somebody wants it to be.
    pub(super) fn is_spent(&self) -> bool {
        !self.may_go_on() || self.is_amount_spent()
    }

    pub(super) fn is_amount_spent(&self) -> bool {
        self.carried.get() + self.reserve.get().bytes >= self.amount
    }

    /// Whether a transfer may wait for more.
    pub(super) fn may_go_on(&self) -> bool {
        !self.is_interrupted() && Instant::now() + self.reserve.get().time < self.end
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Relaxed)
    }

    pub(super) fn carried(&self) -> u64 {
        self.carried.get()
    }

    pub(super) fn count(&self, bytes: u64) {
        self.carried.set(self.carried.get() + bytes);
    }

    pub(super) fn target_has(&self, bytes: u64) {
        self.shortest.set(self.shortest.get().min(bytes));
    }

    pub(super) fn server_ignores_ranges(&self) {
        self.ignores_ranges.set(true);
    }

    pub(super) fn growth_was_short(&self) {
        self.has_short_growth.set(true);
    }

    /// What to think of before the figures are believed, each in whole sentences.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.shortest.get() < TINY_BYTES {
            notes.push(format!(
                "The target has {} bytes, so it was mostly connecting that was measured: name something of some MB.",
                self.shortest.get()
            ));
        }
        if self.ignores_ranges.get() {
            notes.push(
                "The server knows no Range: it sends all of the target, and is hung up on. So more is on its way than --amount \
                 counts, and may slow what comes next: name a server that knows it, or something smaller."
                    .to_owned(),
            );
        }
        if self.has_short_growth.get() {
            notes.push(
                "The --amount was too small for lanes=auto to find out in time how many it needs: give more of it."
                    .to_owned(),
            );
        }
        notes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// With a lot of all.
    pub(in crate::tune) fn rich() -> Ledger {
        let whole = Share { time: Duration::from_secs(600), bytes: u64::MAX };
        Ledger::new(whole, Share::default(), Arc::default())
    }

    #[test]
    fn what_is_reserved_is_spent_last() {
        let whole = Share { time: Duration::from_secs(600), bytes: 100 };
        let ledger = Ledger::new(whole, Share { bytes: 40, ..Share::default() }, Arc::default());
        ledger.count(59);
        assert!(!ledger.is_spent());
        ledger.count(1);
        assert!(ledger.is_spent() && ledger.may_go_on(), "what is on its way may come");
        ledger.free_reserve();
        assert!(!ledger.is_spent());
        ledger.count(40);
        assert!(ledger.is_spent());
        let ledger = Ledger::new(whole, Share { time: whole.time, bytes: 0 }, Arc::default());
        assert!(ledger.is_spent() && !ledger.may_go_on());
        ledger.free_reserve();
        assert!(ledger.may_go_on());
    }
}
