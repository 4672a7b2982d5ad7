//! The time after which a connection that carries nothing ends.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Ends once nothing was carried for `limit`. The timer is set again only when it goes off, not for every event.
#[derive(Debug)]
pub(crate) struct IdleTimer {
    limit: Duration,
    last: Instant,
    waiting: usize,
    sleep: Pin<Box<Sleep>>,
}

impl IdleTimer {
    pub(crate) fn new(limit: Duration) -> Box<Self> {
        let (last, sleep) = (Instant::now(), Box::pin(tokio::time::sleep(limit)));
        Box::new(Self { limit, last, waiting: 0, sleep })
    }

    /// `waiting` tells how many bytes wait to be acknowledged: while they get fewer, a slow reader is reading.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        carried: bool,
        waiting: impl Fn() -> usize,
    ) -> Poll<()> {
        if carried {
            self.last = Instant::now();
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= self.last + self.limit {
                let waiting = waiting();
                if waiting == self.waiting {
                    return Poll::Ready(());
                }
                (self.waiting, self.last) = (waiting, now);
            }
            let end = self.last + self.limit;
            self.sleep.as_mut().reset(end);
        }
        Poll::Pending
    }
}
