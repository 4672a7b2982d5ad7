//! The time after which a connection that carries nothing ends.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Ends once nothing was carried for `limit`. The timer is set again only when it goes off, not for every event.
#[derive(Debug)]
pub(super) struct IdleTimer {
    limit: Duration,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl IdleTimer {
    pub(super) fn new(limit: Duration) -> Box<Self> {
        Box::new(Self { limit, last: Instant::now(), sleep: Box::pin(tokio::time::sleep(limit)) })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, carried: bool) -> Poll<()> {
        if carried {
            self.last = Instant::now();
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            let end = self.last + self.limit;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(end);
        }
        Poll::Pending
    }
}
