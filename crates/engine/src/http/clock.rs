//! The time limits of one connection, of which there is one at a time.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Timers that a worker keeps for the next: setting one up costs more than most requests need of it.
const SPARE: usize = 256;

thread_local! {
    static TIMERS: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// What a clock has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The limit of this part.
    Part,
    /// The end of all.
    All,
}

/// Goes off at the earlier of a limit and an end. Its timer is set again only when it goes off too early, not with every limit.
#[derive(Debug)]
pub(crate) struct Clock {
    timer: Option<Pin<Box<Sleep>>>,
    limit: Option<Instant>,
    end: Option<Instant>,
}

impl Clock {
    /// One that does not run.
    pub(crate) fn new() -> Self {
        Self { timer: None, limit: None, end: None }
    }

    /// Goes off after `time`, whatever was set before; `None` is never.
    pub(crate) fn set(&mut self, time: Option<Duration>) {
        self.limit = time.and_then(|time| Instant::now().checked_add(time));
    }

    /// The same for all that is set from now on together.
    pub(crate) fn set_end(&mut self, time: Option<Duration>) {
        self.end = time.and_then(|time| Instant::now().checked_add(time));
    }

    /// Ready when it has gone off.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        let Some(wanted) = self.limit.into_iter().chain(self.end).min() else { return Poll::Pending };
        let spare = || TIMERS.with_borrow_mut(Vec::pop);
        let timer =
            self.timer.get_or_insert_with(|| spare().unwrap_or_else(|| Box::pin(sleep_until(wanted))));
        if wanted < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(wanted);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= wanted {
                let is_all = self.end.is_some_and(|end| end <= wanted);
                return Poll::Ready(if is_all { Late::All } else { Late::Part });
            }
            timer.as_mut().reset(wanted);
        }
        Poll::Pending
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let Some(timer) = self.timer.take() else { return };
        // When a thread ends, its list may be gone before its clocks.
        let _ = TIMERS.try_with(|timers| {
            let mut timers = timers.borrow_mut();
            if timers.len() < SPARE {
                timers.push(timer);
            }
        });
    }
}
