//! The attempts of one connection to reach a server that came to nothing.

use std::sync::Arc;

use crate::pool::Backend;

/// What has come of a connection's attempts so far.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: Vec<Failed>,
    had_second_chance: bool,
}

#[derive(Debug)]
struct Failed {
    backend: Arc<Backend>,
    /// It could not be connected to, and may be some time later: it is down now, or was too slow.
    may_come_back: bool,
}

impl Attempts {
    /// An attempt came to nothing; `may_come_back` tells that another may do better after a while.
    pub(crate) fn failed(&mut self, backend: &Arc<Backend>, may_come_back: bool) {
        match self.failed.iter_mut().find(|failed| failed.backend.is_same(backend)) {
            Some(failed) => failed.may_come_back &= may_come_back,
            None => self.failed.push(Failed { backend: backend.clone(), may_come_back }),
        }
    }

    /// Whether an attempt at this backend came to nothing in this round.
    pub(crate) fn has_tried(&self, backend: &Backend) -> bool {
        self.failed.iter().any(|failed| failed.backend.is_same(backend))
    }

    /// Whether there was none.
    pub(crate) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether one that failed may come back.
    pub(crate) fn any_may_come_back(&self) -> bool {
        self.failed.iter().any(|failed| failed.may_come_back)
    }

    /// Lets those that may have come back be tried again.
    pub(crate) fn start_round(&mut self) {
        self.failed.retain(|failed| !failed.may_come_back);
    }

    /// Whether this backend, the last that is left, may be tried again although it broke: once for each client. If it was
    /// killed, that shows it is down, and the client can be held.
    pub(crate) fn has_second_chance(&self) -> bool {
        !self.had_second_chance
    }

    /// Takes that chance: the backend may be tried again.
    pub(crate) fn take_second_chance(&mut self, backend: &Backend) {
        self.had_second_chance = true;
        self.failed.retain(|failed| !failed.backend.is_same(backend));
    }
}
