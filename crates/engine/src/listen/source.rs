//! A listener as its connections see it: its configuration, its pool and its limits. All workers share it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use towpath_config::Listener;

use super::pace::Pace;
use crate::balance::Balancer;

/// One listener with what its connections have in common.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) listener: Arc<Listener>,
    pub(crate) balancer: Arc<Balancer>,
    pub(super) pace: Option<Pace>,
    room: Option<Semaphore>,
    room_in_all: Arc<Semaphore>,
}

impl Source {
    pub(crate) fn new(listener: Arc<Listener>, balancer: Arc<Balancer>, room_in_all: Arc<Semaphore>) -> Self {
        let room = listener.max_connections.map(|limit| Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        let pace = listener.accept_rate.map(Pace::new);
        Self { listener, balancer, pace, room, room_in_all }
    }

    /// A connection that carries nothing for so long ends: the shorter time of the listener's and the pool's.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        let pool = self.balancer.pool().idle_timeout;
        self.listener.idle_timeout.into_iter().chain(pool).min()
    }
}

/// A connection's place within the limits of its source, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Source>);

impl Seat {
    /// Waits for a place.
    pub(super) async fn take(source: &Arc<Source>) -> Self {
        let of_listener = match &source.room {
            Some(room) => Some(room.acquire().await),
            None => None,
        };
        let in_all = source.room_in_all.acquire().await;
        // Given back by hand, which saves every connection two pointers; nobody closes the semaphores.
        of_listener.into_iter().chain([in_all]).flatten().for_each(|permit| permit.forget());
        Self(source.clone())
    }

    /// A place if there is one now.
    pub(super) fn take_now(source: &Arc<Source>) -> Option<Self> {
        let of_listener = source.room.as_ref().map(Semaphore::try_acquire).transpose().ok()?;
        let in_all = source.room_in_all.try_acquire().ok()?;
        of_listener.into_iter().chain([in_all]).for_each(|permit| permit.forget());
        Some(Self(source.clone()))
    }
}

impl Deref for Seat {
    type Target = Source;

    fn deref(&self) -> &Source {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(room) = &self.0.room {
            room.add_permits(1);
        }
        self.0.room_in_all.add_permits(1);
    }
}
