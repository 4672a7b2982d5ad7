//! The near end of tunnels: a session to the far end that a hop is, and its lanes.

mod dial;
mod keeper;
mod links;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ::aws_lc_rs::rand;
use tokio::time::timeout;
use towpath_config::TunnelOut;
use towpath_wire::destination::Destination;
use towpath_wire::tunnel::hello::{SessionId, Terms};
use towpath_wire::tunnel::session::Role;

use crate::early::Leaving;
use crate::error::HopFault;
use crate::pool::Hop;
use crate::stream::Stream;
use crate::tls::{SharedKey, TlsError};
use crate::tunnel::{FIRST_WINDOW, Hub, Standing, TunnelStream};
use crate::worker::{Colleague, Errand};
use keeper::Keeper;
pub(crate) use links::Link;

/// Streams of one session, unless the far end takes fewer.
const STREAMS: usize = 4096;

/// What an end takes before it has said what.
const LEAST: Terms = Terms { features: 0, window: FIRST_WINDOW, streams: 1 };

/// The near end of a tunnel through one hop.
#[derive(Debug)]
pub(crate) struct Near {
    config: TunnelOut,
    /// `None` if it is plain.
    key: Option<SharedKey>,
    hub: Mutex<Option<Arc<Hub>>>,
    /// Who carries its lanes, as soon as there are any.
    workers: OnceLock<Arc<[Arc<Colleague>]>>,
}

impl Near {
    /// The near end that the configuration speaks of.
    ///
    /// # Errors
    /// When its key cannot be used.
    pub(crate) fn new(config: &TunnelOut) -> Result<Self, TlsError> {
        let key = config.end.key.as_ref().map(SharedKey::new).transpose()?;
        Ok(Self { config: config.clone(), key, hub: Mutex::default(), workers: OnceLock::new() })
    }

    /// Has the lanes carried by these, whoever is the first to ask for any.
    pub(crate) fn works_with(&self, workers: &Arc<[Arc<Colleague>]>) {
        // They stay the same over a reload.
        let _ = self.workers.set(workers.clone());
    }

    /// Opens a stream to `wanted` through the tunnel to the hop at `place`, whose first lane may take `limit`. What is `leaving`
    /// goes with it.
    pub(crate) async fn open(
        self: &Arc<Self>,
        hops: &Arc<[Hop]>,
        place: usize,
        wanted: &Destination,
        mut leaving: Option<Leaving>,
        limit: Duration,
    ) -> Result<Opened, HopFault> {
        let hub = self.session(hops, place);
        timeout(limit, ready(&hub)).await.unwrap_or(Err(HopFault::TimedOut))?;
        let id = hub.with(|state, _| state.session.open()).ok_or(HopFault::NoBackend)?;
        let stream = TunnelStream::new(hub.clone(), id, Standing::Asked);
        let text = wanted.to_string();
        let mut asking = u16::try_from(text.len()).map_err(|_| HopFault::Unnameable)?.to_be_bytes().to_vec();
        asking.extend_from_slice(text.as_bytes());
        if let Some(leaving) = &mut leaving {
            leaving.go(|bytes| asking.extend_from_slice(bytes));
        }
        // A new stream has room for that.
        stream.ask(&asking);
        Ok(Opened { stream, leaving })
    }

    /// The session that there is, or a new one.
    fn session(self: &Arc<Self>, hops: &Arc<[Hop]>, place: usize) -> Arc<Hub> {
        let mut kept = self.hub.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = kept.as_ref().filter(|hub| hub.is_of_use()) {
            return hub.clone();
        }
        let hub = Hub::new(Role::Near, &self.config.end, STREAMS, LEAST);
        *kept = Some(hub.clone());
        let mut way = hops[..=place].to_vec();
        way[place].tunnel = None;
        let keeper = Keeper {
            near: Arc::downgrade(self),
            hub: hub.clone(),
            hops: way.into(),
            place,
            name: name(),
            config: self.config.clone(),
            key: self.key.clone(),
        };
        match self.workers.get() {
            Some(workers) => Colleague::run(workers, Errand::new(move || keeper.begin())),
            None => keeper.begin(),
        }
        hub
    }
}

/// A stream that was opened, and what has left with it.
pub(crate) struct Opened {
    stream: TunnelStream,
    leaving: Option<Leaving>,
}

impl Opened {
    /// The stream, of which nobody has told yet whether it is there.
    pub(crate) fn stream(self) -> Stream {
        Stream::layered(self.stream)
    }

    /// The stream, once the far end has told that it is there; more may leave until then.
    pub(crate) async fn granted(self) -> Result<Stream, HopFault> {
        let Self { mut stream, mut leaving } = self;
        let granted = poll_fn(|cx| {
            if let Some(leaving) = &mut leaving {
                leaving.go(|bytes| stream.ask(bytes));
                if leaving.is_all() {
                    stream.end();
                }
            }
            stream.poll_granted(cx)
        })
        .await;
        // A far end that refuses, or cannot, has told no server anything.
        if matches!(granted, Ok(()) | Err(HopFault::Far(_))) {
            stream.has_had(leaving.map_or(0, Leaving::has_verdict));
        }
        granted.map(|()| Stream::layered(stream))
    }
}

/// A name for a session that nobody can guess.
fn name() -> SessionId {
    let mut name = SessionId::default();
    // It cannot fail, but for a system that is broken; the key of the tunnel is what keeps others out.
    if rand::fill(&mut name).is_err() {
        name = fastrand::u128(..).to_be_bytes();
    }
    name
}

/// Waits for a lane.
async fn ready(hub: &Hub) -> Result<(), HopFault> {
    loop {
        let mut changed = pin!(hub.changed.notified());
        changed.as_mut().enable();
        if hub.lanes() > 0 {
            return Ok(());
        }
        if hub.is_over() {
            return Err(hub.failure().unwrap_or(HopFault::Closed));
        }
        changed.await;
    }
}
