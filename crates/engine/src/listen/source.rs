//! A listener as its connections see it: its configuration, its pool and its limits. All workers share it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::futures::{Notified, OwnedNotified};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::spawn_local;
use tokio::time::sleep;
use towpath_config::{Admission, Listener};

use super::own::Own;
use super::pace::Pace;
use super::places::Places;
use crate::admit::Gatekeeper;
use crate::auth::{self, Authenticator};
use crate::far::Far;
use crate::metrics::{NowAndThen, WARN_GAP};
use crate::pool::Pool;
use crate::rulebook::Rulebook;
use crate::throttle::Speeds;
use crate::tls::TlsIn;

/// One listener with what its connections have in common.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) listener: Arc<Listener>,
    pub(crate) pool: Arc<Pool>,
    /// The pools of its routes by first bytes, in their order.
    pub(crate) route_pools: Vec<Arc<Pool>>,
    /// What holds for its requests, if it balances HTTP.
    pub(crate) rulebook: Option<Arc<Rulebook>>,
    pub(super) pace: Option<Arc<Pace>>,
    room: Option<Arc<Semaphore>>,
    room_in_all: Option<Arc<Semaphore>>,
    /// So many places in all are left to others.
    leaves: usize,
    places: Places,
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) speeds: Option<Arc<Speeds>>,
    /// TLS that its clients have to speak.
    pub(crate) tls: Option<TlsIn>,
    /// Who may use a proxy, if not everybody.
    pub(crate) users: Option<Arc<Authenticator>>,
    /// What makes it the far end of tunnels.
    pub(crate) far: Option<Arc<Far>>,
    /// Where this process listens.
    pub(crate) own: Arc<Own>,
    refused: Refused,
    /// What a reload has put in its place: nothing where its listener is gone.
    next: OnceLock<Option<Arc<Self>>>,
}

/// Where the connections of a listener go.
#[derive(Debug)]
pub(crate) struct Ways {
    /// Its own pool.
    pub(crate) pool: Arc<Pool>,
    /// The pools of its routes by first bytes, in their order.
    pub(crate) route_pools: Vec<Arc<Pool>>,
    /// What holds for its requests, if it balances HTTP.
    pub(crate) rulebook: Option<Arc<Rulebook>>,
}

impl Ways {
    fn lead_where(&self, source: &Source) -> bool {
        let mut pairs = source.route_pools.iter().zip(&self.route_pools);
        let has_same_requests = match (&source.rulebook, &self.rulebook) {
            (Some(old), Some(new)) => old.goes_where(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        Arc::ptr_eq(&source.pool, &self.pool)
            && pairs.all(|(old, new)| Arc::ptr_eq(old, new))
            && has_same_requests
    }
}

/// Clients that were not let in: they are told of once a second at most, all in one line.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    count: AtomicU64,
    brake: NowAndThen,
    /// Whether somebody will tell of those that were not told of.
    is_awaited: AtomicBool,
}

impl Refused {
    /// Counts one, and tells of it unless that was done just now. Returns whether the caller has to call
    /// [`Refused::tell_rest`] in a second.
    #[must_use]
    fn note(&self, listener: &str, client: Option<SocketAddr>, why: &str) -> bool {
        self.count.fetch_add(1, Relaxed);
        if !self.brake.is_due() {
            return !self.is_awaited.swap(true, Relaxed);
        }
        let client =
            client.map_or_else(|| "unix".to_owned(), |client| client.ip().to_canonical().to_string());
        let clients = number_of_clients(self.count.swap(0, Relaxed));
        tracing::warn!("listener {listener} refused {clients}, {client} the last: {why}");
        false
    }

    fn tell_rest(&self, listener: &str) {
        self.is_awaited.store(false, Relaxed);
        let count = self.count.swap(0, Relaxed);
        if count > 0 {
            tracing::warn!("listener {listener} refused {} more", number_of_clients(count));
        }
    }
}

fn number_of_clients(count: u64) -> String {
    if count == 1 { "1 client".to_owned() } else { format!("{count} clients") }
}

impl Source {
    pub(crate) fn new(
        listener: Arc<Listener>,
        Ways { pool, route_pools, rulebook }: Ways,
        places: Places,
        own: Arc<Own>,
    ) -> Self {
        let room = listener.max_connections.map(|limit| Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        let pace = listener.accept_rate.map(Pace::new);
        let gatekeeper = Gatekeeper::new(listener.admission.clone());
        let (pace, room, refused) = (pace.map(Arc::new), room.map(Arc::new), Refused::default());
        let speeds = Speeds::new(&listener.bandwidth).map(Arc::new);
        let users = listener.proxy.as_ref().and_then(auth::of_proxy).map(Arc::new);
        // Its files were looked at before it came here.
        let tls = listener.tls.as_ref().and_then(|tls| TlsIn::new(tls, listener.mode).ok());
        let far = listener.tunnel.as_ref().and_then(|tunnel| Far::new(tunnel).ok()).map(Arc::new);
        Self {
            listener,
            pool,
            route_pools,
            rulebook,
            pace,
            room,
            room_in_all: Some(places.in_all.clone()),
            leaves: 0,
            places,
            gatekeeper,
            speeds,
            tls,
            users,
            far,
            own,
            refused,
            next: OnceLock::new(),
        }
    }

    /// Whether a reload has put another in its place.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self.next.get(), Some(Some(_)))
    }

    /// What is in its place by now; `None` if that is nothing.
    pub(crate) fn newest(self: &Arc<Self>) -> Option<Arc<Self>> {
        let mut newest = self.clone();
        while let Some(next) = newest.next.get() {
            newest = next.clone()?;
        }
        Some(newest)
    }

    /// Whether nothing of it has changed in this configuration.
    pub(crate) fn is_as(&self, listener: &Listener, ways: &Ways) -> bool {
        *self.listener == *listener && ways.lead_where(self)
    }

    /// The same without limits of connections: for the requests of a client that has its place.
    pub(crate) fn within(&self) -> Self {
        let (listener, pool) = (self.listener.clone(), self.pool.clone());
        Self {
            listener,
            pool,
            route_pools: Vec::new(),
            rulebook: self.rulebook.clone(),
            pace: None,
            room: None,
            room_in_all: None,
            leaves: 0,
            places: self.places.clone(),
            gatekeeper: Gatekeeper::new(Admission::default()),
            speeds: self.speeds.clone(),
            tls: self.tls.clone(),
            users: self.users.clone(),
            far: None,
            own: self.own.clone(),
            refused: Refused::default(),
            next: OnceLock::new(),
        }
    }

    /// The same for the streams of a tunnel, for which its lanes have no places: each takes one of all there are.
    pub(crate) fn of_streams(&self) -> Self {
        let mut source = self.within();
        source.room_in_all = Some(self.places.in_all.clone());
        source.leaves = self.places.kept;
        source
    }

    /// The source that a new configuration makes of this one. Limits that stay know who is there already.
    pub(crate) fn renewed(&self, listener: Arc<Listener>, ways: Ways) -> Self {
        let mut new = Self::new(listener, ways, self.places.clone(), self.own.clone());
        if new.listener.max_connections == self.listener.max_connections {
            new.room.clone_from(&self.room);
        }
        if new.listener.accept_rate == self.listener.accept_rate {
            new.pace.clone_from(&self.pace);
        }
        if new.listener.bandwidth == self.listener.bandwidth {
            new.speeds.clone_from(&self.speeds);
        }
        if new.listener.tls == self.listener.tls && new.listener.mode == self.listener.mode {
            new.tls.clone_from(&self.tls); // with the keys of its tickets
        }
        if let (Some(far), Some(before)) = (&new.far, &self.far) {
            new.far = Some(Arc::new(before.renewed(far)));
        }
        if let (Some(users), Some(before)) = (&new.users, &self.users) {
            new.users = Some(Arc::new(before.renewed(users)));
        }
        new.gatekeeper = Gatekeeper::renewed(&new.listener.admission, &self.gatekeeper);
        new
    }
}

/// One listening address, and the source that its clients get: a new configuration puts another in its place.
#[derive(Debug)]
pub(crate) struct Door {
    source: ArcSwap<Source>,
    changed: Arc<Notify>,
    /// Place of the port in the listener's range.
    pub(crate) offset: u16,
}

impl Door {
    pub(crate) fn new(source: Arc<Source>, offset: u16) -> Self {
        Self { source: ArcSwap::new(source), changed: Arc::default(), offset }
    }

    pub(crate) fn source(&self) -> Arc<Source> {
        self.source.load_full()
    }

    /// Ready once it leads elsewhere, or nowhere.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The same for whoever does not hold it meanwhile.
    pub(crate) fn change(&self) -> OwnedNotified {
        self.changed.clone().notified_owned()
    }

    /// From now on clients get `source`; those that are in keep theirs.
    pub(crate) fn leads_to(&self, source: Arc<Source>) {
        let before = self.source.swap(source.clone());
        if !Arc::ptr_eq(&before, &source) {
            // It is set once: several doors may lead to the same.
            let _ = before.next.set(Some(source));
        }
        self.changed.notify_waiters();
    }

    /// From now on it leads nowhere; clients that are in go on.
    pub(crate) fn closes(&self) {
        let _ = self.source().next.set(None);
        self.changed.notify_waiters();
    }
}

/// A connection's place within the limits of its source, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Source>);

/// Waits for a place where places are counted.
async fn acquire(room: Option<&Semaphore>) -> Option<SemaphorePermit<'_>> {
    // Nobody closes it.
    room?.acquire().await.ok()
}

impl Seat {
    /// Waits for a place.
    pub(super) async fn take(source: &Arc<Source>) -> Self {
        let of_listener = acquire(source.room.as_deref()).await;
        let in_all = acquire(source.room_in_all.as_deref()).await;
        // Given back by hand, which saves every connection two pointers.
        [of_listener, in_all].into_iter().flatten().for_each(SemaphorePermit::forget);
        Self(source.clone())
    }

    /// A place if there is one now.
    pub(crate) fn take_now(source: &Arc<Source>) -> Option<Self> {
        // Another worker may take one meanwhile, which leaves one less.
        if source.leaves > 0 && source.places.in_all.available_permits() <= source.leaves {
            return None;
        }
        let of_listener = source.room.as_deref().map(Semaphore::try_acquire).transpose().ok()?;
        let in_all = source.room_in_all.as_deref().map(Semaphore::try_acquire).transpose().ok()?;
        [of_listener, in_all].into_iter().flatten().for_each(SemaphorePermit::forget);
        Some(Self(source.clone()))
    }

    /// No place at all, for the story of who gets none.
    pub(crate) fn none(source: &Source) -> Self {
        Self(Arc::new(source.within()))
    }
}

impl Seat {
    /// What this is a place of.
    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.0
    }

    /// Counts a client that is not let in, and has all of them told.
    pub(crate) fn note_refused(&self, client: Option<SocketAddr>, why: &str) {
        if self.refused.note(&self.listener.name, client, why) {
            let source = self.0.clone();
            spawn_local(async move {
                sleep(WARN_GAP).await;
                source.refused.tell_rest(&source.listener.name);
            });
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.refused.tell_rest(&self.listener.name);
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
        for room in [&self.0.room, &self.0.room_in_all].into_iter().flatten() {
            room.add_permits(1);
        }
    }
}
