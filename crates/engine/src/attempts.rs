//! The attempts of one connection to reach a server that came to nothing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::pool::Backend;

/// A backend that broke connections of one client so often is not tried again for it. The first time it may have been
/// killed and be back soon; the second time it does so on purpose, or always.
const BREAKS_MAX: u8 = 2;

/// What has come of a connection's attempts so far, by the identity of backends.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: HashMap<usize, Failed>,
}

#[derive(Debug)]
struct Failed {
    /// Kept, so that its identity is nobody else's.
    _backend: Arc<Backend>,
    breaks: u8,
    /// Whether this round has seen it fail.
    is_tried: bool,
}

/// How an attempt came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It could not be connected to, or was found down.
    Down,
    /// It was reached, and broke before its first byte.
    Broke,
    /// It cannot be reached for this client.
    Never,
}

impl Attempts {
    /// An attempt came to nothing.
    pub(crate) fn failed(&mut self, backend: &Arc<Backend>, how: Failure) {
        let failed = self.failed.entry(backend.id()).or_insert_with(|| Failed {
            _backend: backend.clone(),
            breaks: 0,
            is_tried: false,
        });
        failed.is_tried = true;
        failed.breaks = match how {
            Failure::Down => failed.breaks,
            Failure::Broke => failed.breaks + 1,
            Failure::Never => BREAKS_MAX,
        };
    }

    /// This backend is not to be tried.
    pub(crate) fn leave_out(&mut self, backend: Option<Arc<Backend>>) {
        if let Some(backend) = backend {
            self.failed(&backend, Failure::Never);
        }
    }

    /// Whether an attempt at this backend came to nothing in this round.
    pub(crate) fn has_tried(&self, backend: &Backend) -> bool {
        self.failed.get(&backend.id()).is_some_and(|failed| failed.is_tried)
    }

    /// Whether this backend may be tried in the next round if it breaks now.
    pub(crate) fn may_break(&self, backend: &Backend) -> bool {
        self.failed.get(&backend.id()).map_or(0, |failed| failed.breaks) + 1 < BREAKS_MAX
    }

    /// Whether there was none.
    pub(crate) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether one that failed may be tried again in the next round.
    pub(crate) fn has_next_round(&self) -> bool {
        self.failed.values().any(|failed| failed.breaks < BREAKS_MAX)
    }

    /// The same for others than this one.
    pub(crate) fn has_next_round_beside(&self, backend: &Backend) -> bool {
        let others = self.failed.iter().filter(|(id, _)| **id != backend.id());
        others.into_iter().any(|(_, failed)| failed.breaks < BREAKS_MAX)
    }

    /// Lets those that may work by now be tried again.
    pub(crate) fn start_round(&mut self) {
        self.failed.values_mut().for_each(|failed| failed.is_tried = failed.breaks >= BREAKS_MAX);
    }
}
