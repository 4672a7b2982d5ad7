//! One client's search for a server: how long it goes on, and what it waits for while there is none.

use std::time::{Duration, Instant};

use crate::attempts::Attempts;
use crate::error::Reason;
use crate::pool::{Backend, Picked, Pool, Waiting};

/// The first pause of a client that is held while no backend works; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// No pause is shorter, whatever clocks say.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// How often the first in line looks again while every backend is full, if nothing tells it to.
const LINE_PAUSE: Duration = Duration::from_millis(50);

/// A search under way.
pub(crate) struct Search<'a> {
    pool: &'a Pool,
    start: Instant,
    /// When no backend was left for the first time.
    held_since: Option<Instant>,
    rounds: u32,
    /// When those that failed may be tried again, while that is waited for.
    next_round: Option<Instant>,
    /// Its place in the line, while all backends are full.
    place: Option<Waiting>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(pool: &'a Pool, now: Instant) -> Self {
        Self { pool, start: now, held_since: None, rounds: 0, next_round: None, place: None }
    }

    pub(crate) fn pool(&self) -> &Pool {
        self.pool
    }

    /// A backend for the client whose hash is `key`. While others stand in line, it has to go behind them.
    pub(crate) fn pick(&mut self, now: Instant, key: u64, was_tried: impl Fn(&Backend) -> bool) -> Picked {
        // The place that its last turn in line brought was none.
        self.place.as_ref().inspect(|place| place.step_back());
        let has_turn = match &self.place {
            Some(place) => place.is_first(),
            None => !self.pool.queue().has_line(),
        };
        if !has_turn {
            return Picked::Full;
        }
        let picked = self.pool.pick_at(now, key, was_tried);
        if let (Picked::Backend(_), Some(place)) = (&picked, &self.place) {
            place.step_out();
            self.start = now; // the time in line is not that of attempts
        }
        picked
    }

    /// Starts a round if it is time for one: those that failed may work by now.
    pub(crate) fn start_round(&mut self, attempts: &mut Attempts) {
        if self.next_round.is_some_and(|next| Instant::now() >= next) {
            (self.next_round, self.start) = (None, Instant::now());
            self.rounds += 1;
            attempts.start_round();
        }
    }

    /// How long to wait until looking again, since the last look found `nothing`.
    ///
    /// # Errors
    /// Why there is no use in waiting; `None` if the last attempt says why.
    pub(crate) fn wait(&mut self, nothing: &Picked, attempts: &Attempts) -> Result<Duration, Option<Reason>> {
        let config = &self.pool.config;
        let left = if matches!(nothing, Picked::Full) {
            if self.place.is_none() {
                self.place = self.pool.queue().join(config.queue);
            }
            let place = self.place.as_ref().ok_or(Some(Reason::QueueFull))?;
            let left = config.queue_timeout.saturating_sub(place.since.elapsed());
            if left.is_zero() {
                return Err(Some(Reason::QueueTimedOut));
            }
            if !place.is_first() {
                return Ok(left);
            }
            left.min(LINE_PAUSE)
        } else {
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
            left
        };
        let rounds = self.rounds;
        let next_round = *self.next_round.get_or_insert_with(|| Instant::now() + pause(rounds));
        Ok(left.min(next_round.saturating_duration_since(Instant::now()).max(SHORTEST_PAUSE)))
    }

    /// Waits until it is this client's turn, or a backend comes up, or for `pause`.
    pub(crate) async fn change(&self, pause: Duration) {
        match &self.place {
            Some(place) => place.turn(pause).await,
            None => self.pool.queue().change(pause).await,
        }
    }

    /// When attempts under way are given up: after the time of all attempts, which begins anew with each round and each
    /// turn in line.
    pub(crate) fn end(&self) -> Instant {
        self.start + self.pool.config.connect_timeout_total
    }
}

/// How long a client waits for the next round, after so many.
fn pause(rounds: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << rounds.min(10)).min(LAST_PAUSE);
    pause.mul_f64(0.75 + fastrand::f64() / 2.0)
}
