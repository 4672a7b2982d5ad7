//! The attempts of one connection to reach a server that came to nothing.

use std::sync::Arc;

use crate::pool::Backend;

/// A backend that broke connections of one client so often is not tried again for it. The first time it may have been
/// killed and be back soon; the second time it does so on purpose, or always.
const BREAKS_MAX: u8 = 2;

/// What has come of a connection's attempts so far.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: Vec<Failed>,
}

#[derive(Debug)]
struct Failed {
    backend: Arc<Backend>,
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
        let place = self.failed.iter().position(|failed| failed.backend.is_same(backend));
        let place = place.unwrap_or_else(|| {
            self.failed.push(Failed { backend: backend.clone(), breaks: 0, is_tried: false });
            self.failed.len() - 1
        });
        let failed = &mut self.failed[place];
        failed.is_tried = true;
        failed.breaks = match how {
            Failure::Down => failed.breaks,
            Failure::Broke => failed.breaks + 1,
            Failure::Never => BREAKS_MAX,
        };
    }

    /// Whether an attempt at this backend came to nothing in this round.
    pub(crate) fn has_tried(&self, backend: &Backend) -> bool {
        self.failed.iter().any(|failed| failed.is_tried && failed.backend.is_same(backend))
    }

    /// Whether this backend may be tried in the next round if it breaks now.
    pub(crate) fn may_break(&self, backend: &Backend) -> bool {
        let breaks =
            self.failed.iter().find(|failed| failed.backend.is_same(backend)).map(|failed| failed.breaks);
        breaks.unwrap_or(0) + 1 < BREAKS_MAX
    }

    /// Whether there was none.
    pub(crate) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether one that failed may be tried again in the next round.
    pub(crate) fn has_next_round(&self) -> bool {
        self.failed.iter().any(|failed| failed.breaks < BREAKS_MAX)
    }

    /// Lets those that may work by now be tried again.
    pub(crate) fn start_round(&mut self) {
        self.failed.iter_mut().for_each(|failed| failed.is_tried = failed.breaks >= BREAKS_MAX);
    }
}
