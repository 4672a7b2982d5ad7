//! Memory that has become free goes back to the kernel, a while after it was last in use.
//!
//! mimalloc keeps what is free for whoever wants some next, and gives it back with a later allocation, which in a forwarder that
//! fell silent never comes. Giving all back at once would cost faults of its pages for what comes and goes under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use towpath_sys::memory;

use crate::worker::{Colleague, Errand, Mail};

/// Between the first thing that a worker does and the next look at what is free by then.
const AFTER: Duration = Duration::from_secs(1);

/// Whether a worker has done something since the last look. Each has its own, which it writes once for each look.
#[derive(Debug, Default)]
pub(crate) struct Stirred {
    has: AtomicBool,
    tidying: Arc<Notify>,
}

impl Stirred {
    /// `tidying` is the same for all workers.
    pub(crate) fn new(tidying: Arc<Notify>) -> Self {
        Self { has: AtomicBool::new(false), tidying }
    }

    /// Bytes were carried or a connection has ended: some memory may be free for it.
    #[inline]
    pub(crate) fn note(&self) {
        // Most of the time it is, and a load costs less than a swap.
        if !self.has.load(Relaxed) {
            self.has.store(true, Relaxed);
            self.tidying.notify_one();
        }
    }

    /// Whether there was something since this was asked last.
    fn take(&self) -> bool {
        self.has.swap(false, Relaxed)
    }
}

/// Gives free memory back, as long as this is polled; asleep while none of `workers` does anything.
pub(crate) async fn tidy(tidying: Arc<Notify>, workers: Arc<[Arc<Colleague>]>) {
    loop {
        tidying.notified().await;
        sleep(AFTER).await;
        for worker in workers.iter().filter(|worker| worker.stirred.take()) {
            // Each thread has pages of its own. One that has ended has given back all of them.
            let _ = worker.inbox.send(Mail::Errand(Errand::new(memory::give_back)));
        }
    }
}
