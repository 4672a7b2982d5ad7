//! Socket options that only a connection that lasts has a use for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};
use towpath_config::Pool;

use crate::stream::Stream;

/// A connection that has lived so long lasts. Keepalive has most of a minute to go by then.
const LASTS: Duration = Duration::from_secs(1);

/// Sets keepalive and its kin a while after the start, so that a short connection never pays for the calls.
#[derive(Debug)]
pub(super) struct Settle {
    pool: Arc<Pool>,
    sleep: Pin<Box<Sleep>>,
}

impl Settle {
    pub(super) fn new(pool: &Arc<Pool>) -> Box<Self> {
        Box::new(Self { pool: pool.clone(), sleep: Box::pin(sleep(LASTS)) })
    }

    /// Ready once the connection lasts, and they are set.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, server: &Stream) -> Poll<()> {
        self.sleep.as_mut().poll(cx).map(|()| server.keep_alive(&self.pool.socket))
    }
}
