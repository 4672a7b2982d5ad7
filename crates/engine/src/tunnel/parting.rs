//! The end of a worker that has sessions: what was written is delivered, and the other ends are told that they are over.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::hub::Hub;

/// How long what was written may take to be delivered, once no connection is left.
const DELIVERY: Duration = Duration::from_secs(2);

/// How long lanes may take to tell that all is over.
const FAREWELL: Duration = Duration::from_millis(300);

/// How often this is looked at.
const LOOKS: Duration = Duration::from_millis(5);

thread_local! {
    /// The sessions that began here.
    static SESSIONS: RefCell<Vec<Weak<Hub>>> = const { RefCell::new(Vec::new()) };
    /// The lanes that are carried here.
    static LANES: Cell<usize> = const { Cell::new(0) };
}

/// A session begins here.
pub(super) fn note(hub: &Weak<Hub>) {
    SESSIONS.with_borrow_mut(|sessions| {
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(hub.clone());
    });
}

/// A lane that is carried here, until this is dropped.
pub(super) struct Carried(());

impl Carried {
    pub(super) fn here() -> Self {
        LANES.set(LANES.get() + 1);
        Self(())
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        LANES.set(LANES.get() - 1);
    }
}

fn sessions() -> Vec<Arc<Hub>> {
    SESSIONS.with_borrow(|sessions| sessions.iter().filter_map(Weak::upgrade).collect())
}

/// Waits until the other ends have what was written to streams, for a while.
pub(crate) async fn deliver() {
    let is_busy = || sessions().iter().any(|hub| !hub.is_over() && hub.measures().streams > 0);
    wait(DELIVERY, is_busy).await;
}

/// Ends all sessions, and has their lanes tell.
pub(crate) async fn part() {
    sessions().iter().for_each(|hub| hub.part());
    wait(FAREWELL, || LANES.get() > 0).await;
}

async fn wait(limit: Duration, is_needed: impl Fn() -> bool) {
    let begun = Instant::now();
    while is_needed() && begun.elapsed() < limit {
        sleep(LOOKS).await;
    }
}
