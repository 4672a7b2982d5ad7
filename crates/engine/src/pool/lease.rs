//! One connection's place at its backend.

use std::ops::Deref;
use std::sync::Arc;

use super::Backend;

/// A place at a backend, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    backend: Option<Arc<Backend>>,
    probe: Probe,
}

/// The number of the probe of a backend that rests; 0 for the connection of one that works.
pub(crate) type Probe = u32;

impl Lease {
    pub(super) fn new(backend: Arc<Backend>, probe: Probe) -> Self {
        Self { backend: Some(backend), probe }
    }

    /// Keeps the place without the lease, which saves a live connection some bytes: [`Lease::resume`] must follow.
    pub(crate) fn keep(mut self) -> (Option<Arc<Backend>>, Probe) {
        (self.backend.take(), self.probe)
    }

    /// The lease of a place that was kept.
    pub(crate) fn resume(backend: Arc<Backend>, probe: Probe) -> Self {
        Self::new(backend, probe)
    }

    /// The number of the probe that it is, or 0.
    pub(crate) fn probe(&self) -> Probe {
        self.probe
    }

    pub(crate) fn backend(&self) -> &Arc<Backend> {
        match &self.backend {
            Some(backend) => backend,
            None => unreachable!("a lease is empty only while it is dropped"),
        }
    }
}

impl Deref for Lease {
    type Target = Arc<Backend>;

    fn deref(&self) -> &Arc<Backend> {
        self.backend()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(backend) = &self.backend {
            backend.give_back(self.probe);
        }
    }
}
