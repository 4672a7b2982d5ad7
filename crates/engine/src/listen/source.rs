//! A listener as its connections see it: its configuration, its pool and its limits. All workers share it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use towpath_config::Listener;

use super::pace::Pace;
use crate::balance::Balancer;

/// One listener with what its connections have in common.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) listener: Arc<Listener>,
    pub(crate) balancer: Arc<Balancer>,
    pub(super) pace: Option<Pace>,
    room: Option<Arc<Semaphore>>,
    room_in_all: Arc<Semaphore>,
}

/// A connection's place within the limits, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    _in_all: OwnedSemaphorePermit,
    _of_listener: Option<OwnedSemaphorePermit>,
}

impl Source {
    pub(crate) fn new(listener: Arc<Listener>, balancer: Arc<Balancer>, room_in_all: Arc<Semaphore>) -> Self {
        let room = listener.max_connections.map(|limit| Arc::new(Semaphore::new(limit)));
        let pace = listener.accept_rate.map(Pace::new);
        Self { listener, balancer, pace, room, room_in_all }
    }

    /// A connection that carries nothing for so long ends: the shorter time of the listener's and the pool's.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        let pool = self.balancer.pool().idle_timeout;
        self.listener.idle_timeout.into_iter().chain(pool).min()
    }

    /// Waits for a place within the limits; `None` never, as nobody closes them.
    pub(super) async fn permits(&self) -> Option<Permits> {
        let of_listener = match &self.room {
            Some(room) => Some(room.clone().acquire_owned().await.ok()?),
            None => None,
        };
        let in_all = self.room_in_all.clone().acquire_owned().await.ok()?;
        Some(Permits { _in_all: in_all, _of_listener: of_listener })
    }
    /// A place within the limits if there is one now.
    pub(super) fn permits_now(&self) -> Option<Permits> {
        let of_listener = match &self.room {
            Some(room) => Some(room.clone().try_acquire_owned().ok()?),
            None => None,
        };
        let in_all = self.room_in_all.clone().try_acquire_owned().ok()?;
        Some(Permits { _in_all: in_all, _of_listener: of_listener })
    }
}
