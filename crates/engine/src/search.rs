//! One client's search for a server: how long it goes on, and what it waits for while there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attempts::Attempts;
use crate::error::Reason;
use crate::pool::{Backend, Picked, Pool, Waiting};

/// The first pause of a client that is held while no backend works; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// How often the first in line looks again while every backend is full, if nothing tells it to.
const LINE_PAUSE: Duration = Duration::from_millis(50);

/// A search under way.
pub(crate) struct Search {
    pool: Arc<Pool>,
    start: Instant,
    /// When no backend was left for the first time.
    held_since: Option<Instant>,
    rounds: u32,
    /// Its place in the line, while all backends are full.
    place: Option<Waiting>,
}

impl Search {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, start: Instant::now(), held_since: None, rounds: 0, place: None }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A backend for the client whose hash is `key`. While others stand in line, it has to go behind them.
    pub(crate) fn pick(&mut self, key: u64, was_tried: impl Fn(&Backend) -> bool) -> Picked {
        let has_turn = match &self.place {
            Some(place) => place.is_first(),
            None => !self.pool.queue().has_line(),
        };
        if !has_turn {
            return Picked::Full;
        }
        let picked = self.pool.pick(key, was_tried);
        if matches!(picked, Picked::Backend(_)) {
            self.place = None;
        }
        picked
    }

    /// How long to wait until looking again, since the last look found `nothing`.
    ///
    /// # Errors
    /// Why there is no use in waiting; `None` if the last attempt says why.
    pub(crate) fn wait(&mut self, nothing: &Picked, attempts: &Attempts) -> Result<Duration, Option<Reason>> {
        let config = &self.pool.config;
        if matches!(nothing, Picked::Full) {
            if self.place.is_none() {
                self.place = self.pool.queue().join(config.queue);
            }
            let place = self.place.as_ref().ok_or(Some(Reason::QueueFull))?;
            let left = config.queue_timeout.saturating_sub(place.since.elapsed());
            if left.is_zero() {
                return Err(Some(Reason::QueueTimedOut));
            }
            return Ok(if place.is_first() { left.min(LINE_PAUSE) } else { left });
        }
        self.place = None;
        let reason = || self.pool.missing().or(attempts.is_empty().then_some(Reason::NoBackend));
        if !attempts.is_empty() && !attempts.has_next_round() {
            return Err(reason());
        }
        let held_since = *self.held_since.get_or_insert_with(Instant::now);
        let left = config.hold.saturating_sub(held_since.elapsed());
        if left.is_zero() {
            return Err(reason());
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.rounds.min(10)).min(LAST_PAUSE);
        self.rounds += 1;
        Ok(pause.mul_f64(0.75 + fastrand::f64() / 2.0).min(left))
    }

    /// Waits until it is this client's turn, or a backend comes up, or for `pause`.
    pub(crate) async fn change(&self, pause: Duration) {
        match &self.place {
            Some(place) => place.turn(pause).await,
            None => self.pool.queue().change(pause).await,
        }
    }

    /// When attempts under way are given up. As long as one is, the client has the time of all attempts, or that for
    /// which it is held or stands in line, whichever is longer.
    pub(crate) fn end(&self) -> Instant {
        let config = &self.pool.config;
        let held = self.held_since.map(|since| since + config.hold);
        let in_line = self.place.as_ref().map(|place| place.since + config.queue_timeout);
        let attempts = self.start + config.connect_timeout_total;
        held.into_iter().chain(in_line).fold(attempts, Instant::max)
    }
}
