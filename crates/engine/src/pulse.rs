//! Short waits of many at once, for the price of one timer: a timer that goes off soon wakes the event loop when it is set.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// Between two beats.
const GAP: Duration = Duration::from_millis(20);

/// A worker's pulse, which beats while somebody waits for it.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    beats: Notify,
    waiting: Cell<usize>,
    is_beating: Cell<bool>,
}

/// One who waits.
struct Waiting<'a>(&'a Pulse);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

impl Pulse {
    /// Waits for one to two gaps.
    pub(crate) async fn moment(self: &Rc<Self>) {
        self.waiting.set(self.waiting.get() + 1);
        let _waiting = Waiting(self);
        if !self.is_beating.replace(true) {
            spawn_local(self.clone().beat());
        }
        self.beats.notified().await;
        self.beats.notified().await;
    }

    async fn beat(self: Rc<Self>) {
        while self.waiting.get() > 0 {
            sleep(GAP).await;
            self.beats.notify_waiters();
        }
        self.is_beating.set(false);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_one_to_two_gaps_for_whoever_waits() {
        let pulse = Rc::new(Pulse::default());
        let waiting = async {
            for early in [0, 7, 19] {
                let begun = Instant::now();
                let other = async {
                    sleep(Duration::from_millis(early)).await;
                    pulse.moment().await;
                    begun.elapsed() - Duration::from_millis(early)
                };
                let ((), took) = tokio::join!(pulse.moment(), other);
                assert!(took >= GAP && took <= 2 * GAP, "{early}: {took:?}");
                sleep(GAP * 3).await;
                assert!(!pulse.is_beating.get(), "nobody waits");
            }
        };
        LocalSet::new().run_until(waiting).await;
    }
}
