//! A pool at work: its backends as they stand, which of them a connection gets, and who waits for one.

mod backend;
mod choice;
mod connect_times;
mod key;
mod lease;
mod queue;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use towpath_config::{Hedge, HopProtocol, Login, SourceAddress};

use crate::balance::Algorithm;
use crate::error::Reason;
use crate::metrics::NowAndThen;
use crate::near::Near;
use crate::place::Place;
use crate::sessions::Sessions;
use crate::tls::{TlsError, TlsOut};
use crate::worker::Colleague;

pub use backend::{Backend, Member, Standing};
use choice::Choice;
pub(crate) use choice::Picked;
pub use choice::Reckoned;
use connect_times::ConnectTimes;
pub use key::hash_key;
pub(crate) use lease::{Lease, Probe};
pub(crate) use queue::{Queue, Waiting};
pub(crate) use sticky::{StickyKey, Tag, cookie, join, strip};

/// A pool, which all workers share.
#[derive(Debug)]
pub struct Pool {
    /// What the file says of it.
    pub config: Arc<towpath_config::Pool>,
    /// The proxies that its connections go through, the nearest first.
    pub(crate) hops: Arc<[Hop]>,
    /// TLS to its backends.
    pub(crate) tls: Option<TlsOut>,
    members: ArcSwap<Members>,
    queue: Arc<Queue>,
    connect_times: ConnectTimes,
    member_news: watch::Sender<()>,
    /// Whether a reload has put another in its place: clients of this one that have no server yet find one there.
    is_replaced: AtomicBool,
    lineage: Arc<Lineage>,
}

/// A proxy, or several alike, on the way to the backends of a pool.
#[derive(Clone, Debug)]
pub struct Hop {
    /// How it is asked to connect on.
    pub protocol: HopProtocol,
    /// Where it is.
    pub pool: Arc<Pool>,
    /// Who we are to it.
    pub login: Option<Login>,
    /// TLS to it.
    pub tls: Option<TlsOut>,
    /// Its connections of HTTP/2.
    pub(crate) sessions: Arc<Sessions>,
    /// The tunnel to it.
    pub(crate) tunnel: Option<Arc<Near>>,
    /// When to warn of it again.
    pub(crate) warnings: Arc<NowAndThen>,
}

impl Hop {
    /// A hop as the configuration has it, whose pool and TLS are at work.
    ///
    /// # Errors
    /// When the key of a tunnel cannot be used.
    pub fn new(config: &towpath_config::Hop, pool: Arc<Pool>, tls: Option<TlsOut>) -> Result<Self, TlsError> {
        let tunnel = config.tunnel.as_ref().map(Near::new).transpose()?.map(Arc::new);
        Ok(Self {
            protocol: config.protocol,
            pool,
            login: config.login.clone(),
            tls,
            sessions: Arc::default(),
            tunnel,
            warnings: Arc::default(),
        })
    }
}

/// What a pool and those that reloads put in its place have in common.
#[derive(Debug, Default)]
struct Lineage {
    latest: Mutex<Weak<Pool>>,
    /// Held while a backend may be put out, so that no two workers put out the last that may be.
    ejecting: Mutex<()>,
}

/// The backends at one moment; a new set takes the place of the old one as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    pub(crate) backends: Vec<Arc<Backend>>,
    /// The least of their tiers, whether one of it is up or not.
    lowest_tier: u32,
    algorithm: Algorithm,
    /// Why there is none, when there is none.
    missing: Option<Reason>,
}

impl Pool {
    /// A pool without backends yet, which are reached directly.
    pub fn new(config: Arc<towpath_config::Pool>) -> Self {
        let members = Members::new(&config, Vec::new(), Some(Reason::NoBackend));
        Self {
            config,
            hops: Arc::default(),
            tls: None,
            members: ArcSwap::from_pointee(members),
            queue: Arc::default(),
            connect_times: ConnectTimes::default(),
            member_news: watch::Sender::new(()),
            is_replaced: AtomicBool::new(false),
            lineage: Arc::default(),
        }
    }

    /// The same with backends that are reached through proxies, and that speak TLS.
    pub fn through(self, hops: Arc<[Hop]>, tls: Option<TlsOut>) -> Self {
        Self { hops, tls, ..self }
    }

    /// A pool of its own for one destination, which goes the way of this one.
    pub(crate) fn to(&self, members: Vec<Member>) -> Self {
        let to = Self::new(self.config.clone()).through(self.hops.clone(), self.tls.clone());
        to.set_members(members, None);
        to
    }

    /// Has the lanes of tunnels on the way carried by these.
    pub(crate) fn works_with(&self, workers: &Arc<[Arc<Colleague>]>) {
        self.hops.iter().filter_map(|hop| hop.tunnel.as_ref()).for_each(|tunnel| tunnel.works_with(workers));
    }

    /// Whether its backends are behind the far end of a tunnel.
    pub(crate) fn ends_with_tunnel(&self) -> bool {
        self.hops.last().is_some_and(|hop| hop.tunnel.is_some())
    }

    /// The last proxy on the way, as a pool, if it takes requests of HTTP as they are, and who we are to it.
    pub(crate) fn parent(&self) -> Option<(Self, Option<Login>)> {
        let (last, before) = self.hops.split_last()?;
        if last.protocol != HopProtocol::Http || last.tls.is_some() {
            return None;
        }
        let members = last.pool.backends().iter().map(|backend| backend.member.clone()).collect();
        let parent = Self::new(last.pool.config.clone()).through(before.into(), None);
        parent.set_members(members, None);
        Some((parent, last.login.clone()))
    }

    /// Where its connections go first: itself, or the nearest proxies on the way.
    pub fn first_stop(&self) -> &Pool {
        self.hops.first().map_or(self, |hop| &hop.pool)
    }

    /// The pool that a new configuration makes of this one: backends that stay keep their state and their connections.
    pub fn renewed(&self, config: Arc<towpath_config::Pool>) -> Self {
        Self {
            queue: self.queue.clone(),
            lineage: self.lineage.clone(),
            members: ArcSwap::new(self.members.load_full()),
            ..Self::new(config)
        }
    }

    /// Sends the clients of this pool that have no server yet to the backends of `other`.
    pub fn gives_way_to(&self, other: &Arc<Pool>) {
        *self.lineage.latest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(other);
        self.is_replaced.store(true, Release);
        self.queue.wake_all();
    }

    /// What is in the place of this pool by now, if it was replaced.
    fn latest(&self) -> Option<Arc<Self>> {
        let latest = || self.lineage.latest.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if self.is_replaced.load(Acquire) { latest() } else { None }
    }

    /// The backends as they stand.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        self.members.load().backends.clone()
    }

    /// Puts `found` in the place of the backends. Those that stay keep their state; those that are gone get no new
    /// connections. `missing` says why there is none, if so.
    pub fn set_members(&self, found: Vec<Member>, missing: Option<Reason>) {
        let old = self.members.load_full();
        let mut known: HashMap<&Place, &Arc<Backend>> =
            old.backends.iter().map(|backend| (&backend.member.place, backend)).collect();
        let is_at_work = !old.backends.is_empty();
        let backends = found
            .into_iter()
            .map(|member| match known.remove(&member.place) {
                Some(backend) if backend.member == member => backend.clone(),
                Some(backend) => Arc::new(backend.renewed(member)),
                None => Arc::new(Backend::new(member, self.queue.clone(), is_at_work)),
            })
            .collect();
        self.members.store(Arc::new(Members::new(&self.config, backends, missing)));
        self.queue.wake_all();
        self.member_news.send_replace(());
    }

    /// Tells when there is another set of backends.
    pub(crate) fn member_news(&self) -> watch::Receiver<()> {
        self.member_news.subscribe()
    }

    /// A backend for a connection whose hash is `key`, none of those that were tried.
    pub(crate) fn pick(&self, key: u64, was_tried: impl Fn(&Backend) -> bool) -> Picked {
        self.pick_at(Instant::now(), key, was_tried)
    }

    /// The same by a clock that was read just now.
    pub(crate) fn pick_at(&self, now: Instant, key: u64, was_tried: impl Fn(&Backend) -> bool) -> Picked {
        if let Some(latest) = self.latest() {
            return latest.pick_at(now, key, &was_tried as &dyn Fn(&Backend) -> bool);
        }
        Choice::new(self, &self.members.load()).pick(now, key, was_tried)
    }

    /// Whether there is a backend that was not tried.
    pub(crate) fn has_other(&self, was_tried: impl Fn(&Backend) -> bool) -> bool {
        if let Some(latest) = self.latest() {
            return latest.has_other(&was_tried as &dyn Fn(&Backend) -> bool);
        }
        self.members.load().backends.iter().any(|backend| !backend.member.drain && !was_tried(backend))
    }

    /// Whether its clients may go to this backend: it is in the pool, which no reload has replaced.
    pub(crate) fn has(&self, backend: &Backend) -> bool {
        let is_there = || self.members.load().backends.iter().any(|other| other.is_same(backend));
        !self.is_replaced.load(Acquire) && is_there()
    }

    /// Why there is no backend at all, if so.
    pub(crate) fn missing(&self) -> Option<Reason> {
        if let Some(latest) = self.latest() {
            return latest.missing();
        }
        let members = self.members.load();
        members.backends.is_empty().then_some(members.missing.unwrap_or(Reason::NoBackend))
    }

    /// Who waits for this pool.
    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// When a silent backend gets a rival.
    pub fn hedge_after(&self) -> Option<Duration> {
        match self.config.hedge_after {
            Hedge::Auto => Some(self.connect_times.hedge_after()),
            Hedge::After(time) => Some(time),
            Hedge::Off => None,
        }
    }

    /// A connection was made in `took`.
    pub(crate) fn note_connected(&self, backend: &Backend, took: Duration) {
        self.connect_times.note(took);
        backend.note_latency(Instant::now(), took);
    }

    /// The first byte of an answer came from a backend, `took` after the question where that can be told.
    pub(crate) fn note_answer(&self, backend: &Backend, took: Option<Duration>) {
        if let Some(took) = took {
            backend.note_latency(Instant::now(), took);
        }
        self.note_success(backend);
    }

    /// The same for an answer to a question that was `asked` then.
    pub(crate) fn note_answer_since(&self, backend: &Backend, asked: Instant) {
        let now = Instant::now();
        backend.note_latency(now, now.saturating_duration_since(asked));
        self.note_success_at(now, backend);
    }

    /// A backend works: it has answered, or ended in order without an answer.
    pub(crate) fn note_success(&self, backend: &Backend) {
        if backend.is_troubled() {
            self.note_success_at(Instant::now(), backend);
        }
    }

    fn note_success_at(&self, now: Instant, backend: &Backend) {
        if backend.note_success(now) {
            tracing::info!("pool {}: backend {} is back", self.config.name, backend.member.place);
        }
    }

    /// A connection has lasted a while without a word from its backend. Servers of some protocols only listen, so if the
    /// backend is out that brings it back; it does not make up for failures before.
    pub(crate) fn note_lasting(&self, backend: &Backend) {
        if backend.is_out(Instant::now()) {
            self.note_success(backend);
        }
    }

    /// A connection to a backend came to nothing; `reason` says why, and whether that counts against the backend.
    /// `probe` is the number of the probe that it was, if it was one.
    pub(crate) fn note_failure(&self, backend: &Backend, probe: Probe, reason: Reason) {
        // From its own address a client may have no way to a server that works.
        let is_clients = self.config.source == SourceAddress::Client
            && matches!(reason, Reason::Unreachable | Reason::ConnectTimedOut);
        if is_clients || !reason.is_servers() {
            return;
        }
        match self.latest() {
            Some(latest) => latest.note_failure_at(Instant::now(), backend, probe, reason),
            None => self.note_failure_at(Instant::now(), backend, probe, reason),
        }
    }

    fn note_failure_at(&self, now: Instant, backend: &Backend, probe: Probe, reason: Reason) {
        let eject = self.config.eject.as_ref();
        let _one_at_a_time = self.lineage.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.members.load();
        let out = members.backends.iter().filter(|other| other.is_out(now)).count();
        let percent = eject.map_or(0, |eject| usize::from(eject.max_percent));
        let may_eject = (out + 1) * 100 <= percent * members.backends.len();
        // One that is out already takes nobody's place.
        let eject = eject.filter(|_| may_eject || backend.is_out(now));
        if let Some(time) = backend.note_failure(now, probe, eject) {
            let (pool, place, why) = (&self.config.name, &backend.member.place, reason);
            tracing::warn!("pool {pool}: backend {place} is out for {time:.1?}: {why}");
        }
    }
}

impl Members {
    fn new(config: &towpath_config::Pool, backends: Vec<Arc<Backend>>, missing: Option<Reason>) -> Self {
        let identities: Vec<_> = backends
            .iter()
            .map(|backend| (backend.member.place.to_string(), backend.member.weight))
            .collect();
        let identities: Vec<_> = identities.iter().map(|(place, weight)| (place.as_str(), *weight)).collect();
        let lowest_tier = backends.iter().map(|backend| backend.member.tier).min().unwrap_or(0);
        Self { algorithm: Algorithm::new(config.balance, &identities), lowest_tier, backends, missing }
    }
}
