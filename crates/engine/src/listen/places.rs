//! The places of all connections of a process, which descriptors bound.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Streams of tunnels leave one of so many places free: lanes are to come back whatever streams there are.
const SHARE: usize = 8;

/// Places of connections, whichever listener they come to.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(super) in_all: Arc<Semaphore>,
    /// So many of them streams of tunnels leave free.
    pub(super) kept: usize,
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.min(Semaphore::MAX_PERMITS);
        Self { in_all: Arc::new(Semaphore::new(count)), kept: (count / SHARE).max(1) }
    }
}
