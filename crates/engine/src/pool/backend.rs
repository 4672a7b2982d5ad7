//! One backend of a pool: what is known of it, and the connections that it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use towpath_config::Eject;

use super::lease::{Lease, Probe};
use super::queue::Queue;
use crate::balance::latency::PeakEwma;
use crate::balance::outlier::{Gate, Outlier};
use crate::place::Place;

/// A backend as discovery found it: an address that was written down, or one of those behind a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Where it is.
    pub place: Place,
    /// What the configuration calls it.
    pub target: Arc<str>,
    /// Its share beside the others of its tier; at least 1.
    pub weight: u32,
    /// Backends of a tier are used while none of a lower one is up: backups, and less preferred SRV records.
    pub tier: u32,
    /// Live connections; `None` is no limit.
    pub max_connections: Option<usize>,
    /// It gets no new connections.
    pub drain: bool,
}

/// A backend at work, which all workers share.
#[derive(Debug)]
pub struct Backend {
    /// What it is.
    pub member: Member,
    state: Arc<State>,
}

/// What is known of a backend: it outlives reloads and new answers of name servers that keep its place.
#[derive(Debug)]
struct State {
    epoch: Instant,
    active: AtomicUsize,
    /// What the checks say, once there was one.
    up: AtomicBool,
    was_checked: AtomicBool,
    /// Milliseconds from `epoch` to when it last came up.
    risen_millis: AtomicU64,
    outlier: Outlier,
    latency: PeakEwma,
    down: Notify,
    queue: Arc<Queue>,
}

/// How a backend stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes connections.
    Open,
    /// It has all the connections that it may have.
    Full,
    /// Checks say that it is down.
    Down,
    /// It has failed connections and rests.
    Ejected,
    /// It is to get no new ones.
    Draining,
}

impl Standing {
    /// The words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "up",
            Self::Full => "full",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

impl Backend {
    /// One that `comes_later`, when the pool is at work already, starts slowly; what is there at the start has its full
    /// share at once.
    pub(super) fn new(member: Member, queue: Arc<Queue>, comes_later: bool) -> Self {
        let state = State {
            epoch: Instant::now(),
            active: AtomicUsize::new(0),
            up: AtomicBool::new(true),
            was_checked: AtomicBool::new(false),
            risen_millis: AtomicU64::new(u64::from(comes_later)),
            outlier: Outlier::default(),
            latency: PeakEwma::default(),
            down: Notify::new(),
            queue,
        };
        Self { member, state: Arc::new(state) }
    }

    /// The same backend with other facts about it.
    pub(super) fn renewed(&self, member: Member) -> Self {
        Self { member, state: self.state.clone() }
    }

    /// Whether both are the same server, whatever else has changed.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether it takes a new connection now, and if not why.
    pub fn standing(&self, now: Instant) -> Standing {
        if self.member.drain {
            Standing::Draining
        } else if !self.state.up.load(Relaxed) {
            Standing::Down
        } else if self.state.outlier.gate(now) == Gate::Shut {
            Standing::Ejected
        } else if self.is_full() {
            Standing::Full
        } else {
            Standing::Open
        }
    }

    /// Whether failures have put it out, and it is not back.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.state.outlier.gate(now) != Gate::Open
    }

    /// Whether it may be asked although it does not seem to work, when none else does.
    pub(super) fn is_last_resort(&self) -> bool {
        !self.member.drain && !self.is_full()
    }

    pub(super) fn is_full(&self) -> bool {
        self.member.max_connections.is_some_and(|limit| self.state.active.load(Relaxed) >= limit)
    }

    /// Live connections.
    pub fn active(&self) -> usize {
        self.state.active.load(Relaxed)
    }

    /// Live connections and failures of late.
    pub(super) fn load(&self, now: Instant) -> u32 {
        u32::try_from(self.active())
            .unwrap_or(u32::MAX)
            .saturating_add(self.state.outlier.recent_failures(now))
    }

    pub(super) fn latency_nanos(&self, now: Instant) -> u64 {
        self.state.latency.read(now)
    }

    /// Its weight, of which it has a part while it starts: a tenth at first.
    pub(super) fn weight(&self, now: Instant, slow_start: Option<Duration>) -> f64 {
        let weight = f64::from(self.member.weight);
        let risen = self.state.risen_millis.load(Relaxed);
        let Some(slow_start) = slow_start.filter(|_| risen > 0) else { return weight };
        let since = now.saturating_duration_since(self.state.epoch + Duration::from_millis(risen));
        weight * (since.as_secs_f64() / slow_start.as_secs_f64()).clamp(0.1, 1.0)
    }

    /// A place for one connection; `None` if the single probe of a backend that rests is under way, or it is full. As a last
    /// resort one that rests is taken.
    pub(super) fn take(self: &Arc<Self>, now: Instant, is_last_resort: bool) -> Option<Lease> {
        let before = self.state.active.fetch_add(1, Relaxed);
        let place = |probe| Lease::new(self.clone(), probe);
        if self.member.max_connections.is_some_and(|limit| before >= limit) {
            drop(place(0));
            return None;
        }
        match self.state.outlier.gate(now) {
            Gate::Probe => {
                let probe = self.state.outlier.take_probe(now);
                let place = place(probe.unwrap_or(0));
                probe.map(|_| place)
            }
            Gate::Shut if !is_last_resort => {
                drop(place(0));
                None
            }
            Gate::Open | Gate::Shut => Some(place(0)),
        }
    }

    /// A connection is over. A probe that has not told how the backend is lets another go.
    pub(super) fn give_back(&self, probe: Probe) {
        self.state.active.fetch_sub(1, Relaxed);
        self.state.outlier.give_back(probe);
        // Nobody stands in line for one that is never full.
        if self.member.max_connections.is_some() {
            self.state.queue.wake_first();
        }
    }

    /// Connecting, or the first byte of an answer, took so long.
    pub(super) fn note_latency(&self, now: Instant, took: Duration) {
        self.state.latency.observe(now, nanos(took));
    }

    /// Whether there is something that a success would change.
    pub(super) fn is_troubled(&self) -> bool {
        !self.state.outlier.is_calm()
    }

    /// It works. Returns whether it did not before.
    pub(super) fn note_success(&self, now: Instant) -> bool {
        let is_back = self.state.outlier.note_success(now);
        if is_back {
            self.rise(now);
        }
        is_back
    }

    /// A connection came to nothing. Returns for how long it is out now, if this was one too many.
    pub(super) fn note_failure(&self, now: Instant, probe: Probe, eject: Option<&Eject>) -> Option<Duration> {
        self.state.latency.observe_failure(now);
        self.state.outlier.note_failure(now, probe, eject, fastrand::f64())
    }

    /// What the checks said last; `None` before the first one.
    pub(crate) fn checked(&self) -> Option<bool> {
        self.state.was_checked.load(Relaxed).then(|| self.state.up.load(Relaxed))
    }

    /// It is not checked any more: it counts as up, and a next first check decides alone.
    pub(crate) fn set_unchecked(&self, now: Instant) {
        self.set_up(now, true);
        self.state.was_checked.store(false, Relaxed);
    }

    /// Its identity, whatever else changes.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.state).addr()
    }

    /// What the checks say. Returns whether that is news.
    pub(crate) fn set_up(&self, now: Instant, up: bool) -> bool {
        self.state.was_checked.store(true, Relaxed);
        let news = self.state.up.swap(up, Relaxed) != up;
        if news && up {
            self.rise(now);
        } else if news {
            self.state.down.notify_waiters();
        }
        news
    }

    fn rise(&self, now: Instant) {
        let millis =
            u64::try_from(now.saturating_duration_since(self.state.epoch).as_millis()).unwrap_or(u64::MAX);
        self.state.risen_millis.store(millis.max(1), Relaxed);
        self.state.queue.wake_all();
    }

    /// Waits until checks find it down; for one that is taken although it is, until they do so again.
    pub(crate) async fn goes_down(&self) {
        self.state.down.notified().await;
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use towpath_wire::addr::PortRange;

    use super::*;

    #[test]
    fn a_backend_that_comes_up_gets_its_share_little_by_little() {
        let place = Place::Tcp { ip: Ipv4Addr::LOCALHOST.into(), ports: PortRange::single(80).unwrap() };
        let target = "localhost:80".into();
        let member = Member { place, target, weight: 10, tier: 0, max_connections: None, drain: false };
        let backend = Backend::new(member, Arc::default(), false);
        let (start, slow_start) = (Instant::now(), Some(Duration::from_secs(10)));
        assert_eq!(backend.weight(start, slow_start), 10.0, "what is there at the start has all of it");
        assert!(backend.set_up(start, false));
        let up = start + Duration::from_secs(60);
        assert!(backend.set_up(up, true));
        let weight =
            |seconds: f64, slow_start| backend.weight(up + Duration::from_secs_f64(seconds), slow_start);
        let is_near = |weight: f64, wanted: f64| (weight - wanted).abs() < 0.01;
        for (seconds, wanted) in [(0.0, 1.0), (1.0, 1.0), (5.0, 5.0), (10.0, 10.0), (1000.0, 10.0)] {
            let weight = weight(seconds, slow_start);
            assert!(is_near(weight, wanted), "{weight} after {seconds} s");
        }
        assert_eq!(weight(0.0, None), 10.0, "without slow_start it has all of it at once");
    }
}
