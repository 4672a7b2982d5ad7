//! Clients that wait for a pool: in line for a place at a full backend, or held until a backend works.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

/// Who waits for a pool. All workers share it, but only those that wait take its lock.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    line: Mutex<VecDeque<Arc<Notify>>>,
    /// The length of the line: every new connection looks at it.
    standing: AtomicUsize,
    changed: Notify,
}

impl Queue {
    /// Whether clients stand in line, so that a new one has to go behind them.
    pub(crate) fn has_line(&self) -> bool {
        self.standing.load(Relaxed) > 0
    }

    /// The end of the line, unless it has `limit` clients already.
    pub(crate) fn join(self: &Arc<Self>, limit: usize) -> Option<Waiting> {
        let mut line = self.line();
        if line.len() >= limit {
            return None;
        }
        let turn = Arc::new(Notify::new());
        line.push_back(turn.clone());
        self.standing.store(line.len(), Relaxed);
        drop(line);
        Some(Waiting { queue: self.clone(), turn, since: Instant::now() })
    }

    /// A place is free: the first in line may take it.
    pub(super) fn wake_first(&self) {
        if self.has_line() {
            self.line().front().inspect(|first| first.notify_one());
        }
    }

    /// A backend works, or there are others: all that are held look again, and the first in line.
    pub(super) fn wake_all(&self) {
        self.changed.notify_waiters();
        self.wake_first();
    }

    /// Waits until a backend has come up, or for `time`.
    pub(crate) async fn change(&self, time: Duration) {
        let _ = timeout(time, self.changed.notified()).await;
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Arc<Notify>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place in the line, until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    queue: Arc<Queue>,
    turn: Arc<Notify>,
    pub(crate) since: Instant,
}

impl Waiting {
    /// Whether nobody is before it.
    pub(crate) fn is_first(&self) -> bool {
        self.queue.line().front().is_some_and(|first| Arc::ptr_eq(first, &self.turn))
    }

    /// Waits until it is first in line and a place may be free, or for `time`.
    pub(crate) async fn turn(&self, time: Duration) {
        let _ = timeout(time, self.turn.notified()).await;
    }
}

impl Waiting {
    /// Leaves the line with a place at a backend, so that the next may look.
    pub(crate) fn step_out(&self) {
        let mut line = self.queue.line();
        line.retain(|turn| !Arc::ptr_eq(turn, &self.turn));
        self.queue.standing.store(line.len(), Relaxed);
        // There may be more than one place.
        line.front().inspect(|first| first.notify_one());
    }

    /// Goes back to the front, when that place was none.
    pub(crate) fn step_back(&self) {
        let mut line = self.queue.line();
        if !line.iter().any(|turn| Arc::ptr_eq(turn, &self.turn)) {
            line.push_front(self.turn.clone());
            self.queue.standing.store(line.len(), Relaxed);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.step_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_served_in_the_order_in_which_clients_came() {
        let queue = Arc::new(Queue::default());
        assert!(!queue.has_line());
        let [first, second] = [queue.join(2).unwrap(), queue.join(2).unwrap()];
        assert!(queue.join(2).is_none(), "the line is full");
        assert!(first.is_first() && !second.is_first());
        drop(first);
        assert!(second.is_first());
        let third = queue.join(2).unwrap();
        assert!(!third.is_first());
        drop(second);
        assert!(third.is_first());
        let fourth = queue.join(2).unwrap();
        third.step_out();
        assert!(fourth.is_first());
        third.step_back();
        assert!(third.is_first() && !fourth.is_first(), "it goes before those that came later");
        drop((third, fourth));
        assert!(!queue.has_line());
    }
}
