//! The engine as a whole: its workers, started, counted and stopped together.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::{Notify, mpsc, watch};
use towpath_config::{Config, Listener};
use towpath_wire::addr::Listen;

use crate::listen::{Bound, Door, Own, Places, Source, UnixPathGuard, Ways};
use crate::metrics::{NowAndThen, Totals};
use crate::pool::Pool;
use crate::record::RecordSink;
use crate::rulebook::Rulebook;
use crate::tidy::{Stirred, tidy};
use crate::worker::{self, Colleague, Mail, Post};

/// How far the engine has come; it only goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Connections are accepted.
    Running,
    /// None are accepted; those that live go on.
    Draining,
    /// Those that live are reset.
    Ended,
}

/// What descriptors allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live connections in all; each takes two descriptors.
    pub max_connections: usize,
    /// Pipes of bulk streams in all; each takes two descriptors.
    pub max_pipes: usize,
}

/// A running data plane.
#[derive(Debug)]
pub struct Engine {
    workers: Vec<JoinHandle<io::Result<()>>>,
    colleagues: Arc<[Arc<Colleague>]>,
    phase: watch::Sender<Phase>,
    ends: mpsc::UnboundedReceiver<()>,
    running: usize,
    entrances: Vec<Entrance>,
    sources: HashMap<Arc<str>, Arc<Source>>,
    places: Places,
    own: Arc<Own>,
    turn: usize,
    tidying: Arc<Notify>,
}

/// One listening address.
#[derive(Debug)]
struct Entrance {
    listen: Listen,
    listener: Arc<str>,
    door: Arc<Door>,
    address: Option<SocketAddr>,
    _unix_path: Option<UnixPathGuard>,
}

/// The pools of an engine by their names.
pub type Pools = HashMap<Arc<str>, Arc<Pool>>;

impl Engine {
    /// Starts `workers` workers on the sockets of `bound`. Each finished connection leaves a record in `records`.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start(
        config: &Arc<Config>,
        pools: &Pools,
        bound: Vec<Bound>,
        workers: usize,
        limits: Limits,
        records: Option<RecordSink>,
    ) -> io::Result<Self> {
        let (phase, _) = watch::channel(Phase::Running);
        let tidying = Arc::new(Notify::new());
        let (colleagues, inboxes): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (inbox, mail) = mpsc::unbounded_channel();
                (Arc::new(Colleague::new(inbox, records.clone(), Stirred::new(tidying.clone()))), mail)
            })
            .unzip();
        let colleagues: Arc<[Arc<Colleague>]> = colleagues.into();
        let warnings = Arc::new(NowAndThen::default());
        let (end, ends) = mpsc::unbounded_channel();
        let mut engine = Self {
            workers: Vec::new(),
            colleagues: colleagues.clone(),
            phase,
            ends,
            running: workers,
            entrances: Vec::new(),
            sources: HashMap::new(),
            places: Places::new(limits.max_connections),
            own: Arc::default(),
            turn: 0,
            tidying,
        };
        drop(engine.configure(config, pools, bound));
        for (id, inbox) in inboxes.into_iter().enumerate() {
            let post = Post {
                id,
                config: config.clone(),
                pipe_limit: limits.max_pipes / workers,
                colleagues: colleagues.clone(),
                inbox,
                phase: engine.phase.subscribe(),
                warnings: warnings.clone(),
            };
            let thread = thread::Builder::new().name(format!("worker-{id}"));
            let end = EndTold(end.clone());
            engine.workers.push(thread.spawn(move || {
                let _end = end;
                worker::run(post)
            })?);
        }
        Ok(engine)
    }

    /// Whether clients are accepted at an address, as a listener calls it.
    pub fn listens_on(&self, listen: &Listen) -> bool {
        self.entrances.iter().any(|entrance| entrance.listen == *listen)
    }

    /// Goes over to a configuration whose pools are `pools`; `bound` are the addresses that are new in it. Clients that
    /// are in keep the listener and the pool that they came to; addresses that are not in it are closed, all of them
    /// once the future is ready.
    pub fn configure(
        &mut self,
        config: &Config,
        pools: &Pools,
        bound: Vec<Bound>,
    ) -> impl Future<Output = ()> + use<> {
        let (closing, mut closed) = mpsc::channel(1);
        pools.values().for_each(|pool| pool.works_with(&self.colleagues));
        self.sources = config.listeners.iter().map(|listener| self.source(listener, pools)).collect();
        let owner = |listen: &Listen| config.listeners.iter().find(|listener| listener.bind.contains(listen));
        let gone = self.entrances.extract_if(.., |entrance| owner(&entrance.listen).is_none());
        for entrance in gone {
            tracing::info!("listener {} leaves {}", entrance.listener, entrance.listen);
            match self.sources.get(&entrance.listener) {
                Some(source) => entrance.door.leads_to(source.clone()),
                None => entrance.door.closes(),
            }
            for colleague in &*self.colleagues {
                let _ = colleague.inbox.send(Mail::Close(entrance.door.clone(), closing.clone()));
            }
        }
        for entrance in &mut self.entrances {
            let source = owner(&entrance.listen).and_then(|listener| self.sources.get(&listener.name));
            if let Some(source) = source {
                entrance.listener = source.listener.name.clone();
                entrance.door.leads_to(source.clone());
            }
        }
        bound.into_iter().for_each(|bound| self.open(bound));
        self.own.set(self.entrances.iter().filter_map(|entrance| entrance.address).collect());
        async move {
            drop(closing);
            let _ = closed.recv().await;
        }
    }

    /// The source of a listener, which stays as it is where nothing of it has changed.
    fn source(&self, listener: &Arc<Listener>, pools: &Pools) -> (Arc<str>, Arc<Source>) {
        let live = |pool: &Arc<towpath_config::Pool>| {
            pools.get(&pool.name).cloned().unwrap_or_else(|| Arc::new(Pool::new(pool.clone())))
        };
        let old = self.sources.get(&listener.name);
        let pool = live(&listener.pool);
        let rest = (!listener.refuses_rest).then(|| pool.clone());
        let rulebook = listener.http.as_ref().map(|http| {
            let before = old.and_then(|old| old.rulebook.as_deref());
            Arc::new(Rulebook::new(http, rest, live, before))
        });
        let route_pools = listener.routes.iter().map(|route| live(&route.pool)).collect();
        let ways = Ways { pool, route_pools, rulebook };
        let source = match old {
            Some(old) if old.is_as(listener, &ways) => old.clone(),
            Some(old) => Arc::new(old.renewed(listener.clone(), ways)),
            None => {
                let (places, own) = (self.places.clone(), self.own.clone());
                Arc::new(Source::new(listener.clone(), ways, places, own))
            }
        };
        (listener.name.clone(), source)
    }

    /// Gives the sockets of an address to the workers: one of a group to each, and those that stand alone in turn.
    fn open(&mut self, bound: Bound) {
        let address = bound.address();
        let Bound { listener, listen, offset, sockets, unix_path } = bound;
        let Some(source) = self.sources.get(&listener.name) else { return };
        let door = Arc::new(Door::new(source.clone(), offset));
        for socket in sockets {
            let colleague = &self.colleagues[self.turn % self.colleagues.len()];
            let _ = colleague.inbox.send(Mail::Open(socket, door.clone()));
            self.turn += 1;
        }
        self.entrances.push(Entrance {
            listen,
            listener: listener.name.clone(),
            door,
            address,
            _unix_path: unix_path,
        });
    }

    /// What all workers have done so far.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for colleague in self.colleagues.iter() {
            colleague.counters.add_to(&mut totals);
        }
        totals
    }

    /// Gives memory that has become free back, as long as the future is polled.
    pub fn tidy(&self) -> impl Future<Output = ()> + use<> {
        tidy(self.tidying.clone(), self.colleagues.clone())
    }

    /// Stops accepting; live connections go on, and each worker ends with its last.
    pub fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Resets what still lives and ends the workers.
    pub fn end(&self) {
        self.phase.send_replace(Phase::Ended);
    }

    /// Waits until a worker has ended and returns how many still run.
    pub async fn worker_ended(&mut self) -> usize {
        // The engine's own sender is gone since the start: this ends with the last worker at the latest.
        self.running = if self.ends.recv().await.is_some() { self.running - 1 } else { 0 };
        self.running
    }

    /// Waits until all workers have ended.
    ///
    /// # Errors
    /// The first error of a worker.
    pub fn join(self) -> io::Result<()> {
        let results: Vec<_> = self.workers.into_iter().map(JoinHandle::join).collect();
        drop(self.entrances);
        results
            .into_iter()
            .try_for_each(|result| result.unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))))
    }
}

/// Tells that its thread is over, panics included.
struct EndTold(mpsc::UnboundedSender<()>);

impl Drop for EndTold {
    fn drop(&mut self) {
        // Without an engine nobody asks.
        let _ = self.0.send(());
    }
}
