//! The attempts of one connection to reach a server: those that failed, and those that are under way.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep, sleep_until};

use crate::error::{ConnectError, Reason};
use crate::outbound::Pending;
use crate::pool::{Backend, Lease, Picked, Pool, Waiting};
use crate::stream::Stream;

/// The first pause of a client that is held while no backend works; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// How often a client looks again while every backend is full, if nothing tells it to.
const QUEUE_PAUSE: Duration = Duration::from_millis(50);

/// What has come of a connection's attempts so far.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Those that failed, and are not tried again while others are left.
    tried: Vec<Arc<Backend>>,
    /// Whether one of them could not be connected to: it is down, and may come back.
    any_down: bool,
    rounds: u32,
}

impl Attempts {
    /// An attempt came to nothing; `is_down` tells that not even a connection was made.
    pub(crate) fn failed(&mut self, backend: &Arc<Backend>, is_down: bool) {
        self.any_down |= is_down;
        if !self.has_tried(backend) {
            self.tried.push(backend.clone());
        }
    }

    pub(crate) fn has_tried(&self, backend: &Backend) -> bool {
        self.tried.iter().any(|other| other.is_same(backend))
    }

    /// Whether a backend was down, so that the client is held until one works.
    pub(crate) fn any_down(&self) -> bool {
        self.any_down
    }

    /// How long to wait until looking again, since the last look found `nothing`. The connection's place in the queue
    /// is kept in `queued`; it has looked for a server since `start`.
    ///
    /// # Errors
    /// Why there is no use in waiting; `None` if the last attempt says why.
    pub(crate) fn wait<'a>(
        &mut self,
        pool: &'a Pool,
        nothing: &Picked,
        queued: &mut Option<Waiting<'a>>,
        start: Instant,
    ) -> Result<Duration, Option<Reason>> {
        let config = &pool.config;
        if matches!(nothing, Picked::Full) {
            let waiting = match queued {
                Some(waiting) => waiting,
                None => queued.insert(pool.queue().join(config.queue).ok_or(Some(Reason::QueueFull))?),
            };
            let left = config.queue_timeout.saturating_sub(waiting.since.elapsed());
            return if left.is_zero() { Err(Some(Reason::QueueTimedOut)) } else { Ok(left.min(QUEUE_PAUSE)) };
        }
        let missing = pool.missing();
        let left = config.hold.saturating_sub(start.elapsed());
        if left.is_zero() || (missing.is_none() && !self.any_down) {
            return Err(missing);
        }
        if queued.is_none() {
            *queued = pool.queue().join(usize::MAX);
        }
        Ok(self.start_round().min(left))
    }

    /// Lets all backends be tried again, and tells how long to wait before.
    fn start_round(&mut self) -> Duration {
        self.tried.clear();
        let pause = FIRST_PAUSE.saturating_mul(1 << self.rounds.min(10)).min(LAST_PAUSE);
        self.rounds += 1;
        pause.mul_f64(0.75 + fastrand::f64() / 2.0)
    }
}

/// Attempts under way at the same time: the second starts when the first is silent for too long.
#[derive(Default)]
pub(crate) struct Race {
    runners: Vec<Runner>,
    /// When another may join.
    hedge: Option<Pin<Box<Sleep>>>,
    is_silent: bool,
}

struct Runner {
    server: Lease,
    start: Instant,
    connecting: Pending,
}

/// What happens in a race.
pub(crate) enum News {
    /// A server is reached. Those that are still silent are given up.
    Reached(Lease, Stream),
    /// One attempt has failed.
    Failed(Lease, ConnectError),
    /// All are silent, for so long that another may join.
    Silent,
}

impl Race {
    pub(crate) fn is_empty(&self) -> bool {
        self.runners.is_empty()
    }

    /// Whether another attempt may start now.
    pub(crate) fn may_join(&self) -> bool {
        self.runners.is_empty() || self.is_silent
    }

    /// Whether an attempt at this backend is under way.
    pub(crate) fn has(&self, backend: &Backend) -> bool {
        self.runners.iter().any(|runner| runner.server.is_same(backend))
    }

    /// Adds an attempt; `hedge_after` says when the next may join.
    pub(crate) fn join(&mut self, server: Lease, connecting: Pending, hedge_after: Option<Duration>) {
        self.runners.push(Runner { server, start: Instant::now(), connecting });
        self.hedge = hedge_after.map(|time| Box::pin(sleep(time)));
        self.is_silent = false;
    }

    /// No other can join.
    pub(crate) fn close(&mut self) {
        self.hedge = None;
        self.is_silent = false;
    }

    /// Waits for what happens next; at `end` all that are under way have failed.
    pub(crate) async fn news(&mut self, pool: &Pool, end: Instant) -> News {
        let mut late = pin!(sleep_until(end.into()));
        poll_fn(|cx| {
            let news = self.poll_news(cx, pool);
            if news.is_pending() && late.as_mut().poll(cx).is_ready() {
                return self.runners.pop().map_or(Poll::Pending, |runner| {
                    let limit = pool.config.connect_timeout_total;
                    Poll::Ready(News::Failed(runner.server, ConnectError::TimedOut(limit)))
                });
            }
            news
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
                    // Those that were silent for all that time seem to be down.
                    let silent = self.runners.drain(..).filter(|runner| runner.start < start);
                    silent.for_each(|runner| pool.note_failure(&runner.server, Reason::ConnectTimedOut));
                    News::Reached(server, stream)
                }
                Err(error) => News::Failed(server, error),
            });
        }
        let Some(hedge) = &mut self.hedge else { return Poll::Pending };
        ready!(hedge.as_mut().poll(cx));
        self.hedge = None;
        self.is_silent = true;
        Poll::Ready(News::Silent)
    }
}
