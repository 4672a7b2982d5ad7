//! How far it is, on a terminal.

use std::io::{self, IsTerminal, Write};

const WIDTH: usize = 30;

/// A bar on the standard error, if somebody looks at it.
pub(super) struct Progress {
    steps: usize,
    done: usize,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(steps: usize) -> Self {
        Self { steps, done: 0, is_shown: io::stderr().is_terminal() }
    }

    /// Another step begins.
    pub(super) fn step(&mut self, what: &str) {
        self.show(what);
        self.done += 1;
    }

    fn show(&self, what: &str) {
        if self.is_shown {
            let filled = WIDTH * self.done / self.steps.max(1);
            let (done, left) = ("#".repeat(filled), ".".repeat(WIDTH.saturating_sub(filled)));
            // Where nobody can be shown anything, it goes on.
            let _ = write!(io::stderr(), "\r\x1b[K[{done}{left}] {what}");
        }
    }
}

/// However it ends, its line is for what comes behind.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
