//! Attempts under way at the same time: the second starts when the first is silent for too long.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::{Sleep, sleep, sleep_until, timeout};

use crate::error::{ConnectError, Reason};
use crate::outbound::Pending;
use crate::pool::{Backend, Lease, Pool};
use crate::stream::Stream;

/// One that has been silent for so long counts as failed, even where nobody waits for it any more.
const VERDICT: Duration = Duration::from_secs(1);

/// Attempts under way.
#[derive(Default)]
pub(crate) struct Race {
    runners: Vec<Runner>,
    /// When another may join beside those that are silent.
    hedge: Option<Pin<Box<Sleep>>>,
    is_open: bool,
}

struct Runner {
    server: Lease,
    start: Instant,
    connecting: Pending,
}

/// What happens in a race.
pub(crate) enum News {
    /// A server is reached.
    Reached(Lease, Stream),
    /// One attempt has failed.
    Failed(Lease, ConnectError),
    /// Another may join.
    Open,
    /// The time is over.
    Late,
}

impl Race {
    pub(crate) fn is_empty(&self) -> bool {
        self.runners.is_empty()
    }

    /// Whether another attempt may start now: the first, one beside those that are silent for too long, or in the place
    /// of one that has failed.
    pub(crate) fn may_join(&self) -> bool {
        self.runners.is_empty() || self.is_open
    }

    /// Whether an attempt at this backend is under way.
    pub(crate) fn has(&self, backend: &Backend) -> bool {
        self.runners.iter().any(|runner| runner.server.is_same(backend))
    }

    /// Adds an attempt; `hedge_after` says when the next may join.
    pub(crate) fn join(&mut self, server: Lease, connecting: Pending, hedge_after: Option<Duration>) {
        self.runners.push(Runner { server, start: Instant::now(), connecting });
        self.hedge = hedge_after.map(|time| Box::pin(sleep(time)));
        self.is_open = false;
    }

    /// Nobody joins for now, as there is none to join.
    pub(crate) fn close(&mut self) {
        self.hedge = None;
        self.is_open = false;
    }

    /// Others may join again.
    pub(crate) fn open(&mut self) {
        self.is_open = true;
    }

    /// Waits for what happens next, until `end`. A race without runners has no news but that it is over.
    pub(crate) async fn news(&mut self, pool: &Pool, end: Instant) -> News {
        let mut late = pin!(sleep_until(end.into()));
        poll_fn(|cx| match self.poll_news(cx, pool) {
            Poll::Pending => late.as_mut().poll(cx).map(|()| News::Late),
            news => news,
        })
        .await
    }

    fn poll_news(&mut self, cx: &mut Context<'_>, pool: &Pool) -> Poll<News> {
        for place in 0..self.runners.len() {
            let Poll::Ready(result) = self.runners[place].connecting.as_mut().poll(cx) else { continue };
            let Runner { server, start, .. } = self.runners.swap_remove(place);
            return Poll::Ready(match result {
                Ok(stream) => {
                    pool.note_connected(&server, start.elapsed());
                    News::Reached(server, stream)
                }
                Err(error) => {
                    self.is_open = true;
                    News::Failed(server, error)
                }
            });
        }
        let Some(hedge) = &mut self.hedge else { return Poll::Pending };
        ready!(hedge.as_mut().poll(cx));
        self.hedge = None;
        self.is_open = true;
        Poll::Ready(News::Open)
    }

    /// Leaves those that were slower to themselves. What they come to within [`VERDICT`] counts for their backends, so that
    /// a slow one is told from one that is down.
    pub(crate) fn leave(self, pool: &Arc<Pool>) {
        for runner in self.runners {
            spawn_local(judge(pool.clone(), runner));
        }
    }
}

async fn judge(pool: Arc<Pool>, runner: Runner) {
    let Runner { server, start, connecting } = runner;
    match timeout(VERDICT.saturating_sub(start.elapsed()), connecting).await {
        Ok(Ok(_)) => {
            pool.note_connected(&server, start.elapsed());
            pool.note_lasting(&server); // a probe that was slow, but came through
        }
        Ok(Err(error)) => pool.note_failure(&server, server.probe(), Reason::from(&error)),
        Err(_) => pool.note_failure(&server, server.probe(), Reason::ConnectTimedOut),
    }
}
