//! The time limits of one connection, of which there is one at a time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Goes off at the earlier of a limit and an end. Its timer is set again only when it goes off too early, not with every limit.
#[derive(Debug)]
pub(crate) struct Clock {
    sleep: Pin<Box<Sleep>>,
    limit: Option<Instant>,
    end: Option<Instant>,
}

impl Clock {
    /// One that does not run.
    pub(crate) fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())), limit: None, end: None }
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
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wanted) = self.limit.into_iter().chain(self.end).min() else { return Poll::Pending };
        if wanted < self.sleep.deadline() || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(wanted);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.sleep.deadline() >= wanted {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(wanted);
        }
        Poll::Pending
    }
}
