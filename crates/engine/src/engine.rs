//! The engine as a whole: its workers, started, counted and stopped together.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::{Semaphore, mpsc, watch};
use towpath_config::Config;

use crate::balance::Balancer;
use crate::listen::{Acceptor, Bound, Source, UnixPathGuard};
use crate::metrics::{NowAndThen, Totals};
use crate::record::RecordSink;
use crate::worker::{self, Colleague, Post};

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
    unix_paths: Vec<UnixPathGuard>,
}

impl Engine {
    /// Starts `workers` workers on the sockets of `bound`. Each finished connection leaves a record in `records`.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start(
        config: Arc<Config>,
        bound: Vec<Bound>,
        workers: usize,
        limits: Limits,
        records: Option<RecordSink>,
    ) -> io::Result<Self> {
        let (phase, _) = watch::channel(Phase::Running);
        let (colleagues, inboxes): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (inbox, mail) = mpsc::unbounded_channel();
                (Arc::new(Colleague::new(inbox, records.clone())), mail)
            })
            .unzip();
        let colleagues: Arc<[Arc<Colleague>]> = colleagues.into();
        let (shares, unix_paths) = share_out(&config, bound, workers, limits.max_connections);
        let warnings = Arc::new(NowAndThen::default());
        let (end, ends) = mpsc::unbounded_channel();
        let mut engine = Self {
            workers: Vec::new(),
            colleagues: colleagues.clone(),
            phase,
            ends,
            running: workers,
            unix_paths,
        };
        for (id, (inbox, share)) in inboxes.into_iter().zip(shares).enumerate() {
            let post = Post {
                id,
                config: config.clone(),
                pipe_limit: limits.max_pipes / workers,
                colleagues: colleagues.clone(),
                inbox,
                phase: engine.phase.subscribe(),
                warnings: warnings.clone(),
            };
            let acceptors = move || {
                share.into_iter().map(|part| Acceptor::new(part.socket, part.source, part.offset)).collect()
            };
            let thread = thread::Builder::new().name(format!("worker-{id}"));
            let end = EndTold(end.clone());
            engine.workers.push(thread.spawn(move || {
                let _end = end;
                worker::run(post, acceptors)
            })?);
        }
        Ok(engine)
    }

    /// What all workers have done so far.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for colleague in self.colleagues.iter() {
            colleague.counters.add_to(&mut totals);
        }
        totals
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
        drop(self.unix_paths);
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

/// One listening socket, for one worker.
struct Part {
    socket: OwnedFd,
    source: Arc<Source>,
    offset: u16,
}

/// Gives each worker its sockets: one of each group, and those that stand alone in turn.
fn share_out(
    config: &Config,
    bound: Vec<Bound>,
    workers: usize,
    max_connections: usize,
) -> (Vec<Vec<Part>>, Vec<UnixPathGuard>) {
    let room_in_all = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let balancers: HashMap<&str, Arc<Balancer>> =
        config.pools.iter().map(|pool| (&*pool.name, Arc::new(Balancer::new(pool.clone())))).collect();
    let mut sources: HashMap<Arc<str>, Arc<Source>> = HashMap::new();
    let mut shares: Vec<Vec<Part>> = (0..workers).map(|_| Vec::new()).collect();
    let mut unix_paths = Vec::new();
    let mut turn = 0;
    for Bound { listener, offset, sockets, unix_path } in bound {
        unix_paths.extend(unix_path);
        let source = sources
            .entry(listener.name.clone())
            .or_insert_with(|| {
                let balancer = balancers
                    .get(&*listener.pool.name)
                    .cloned()
                    .unwrap_or_else(|| Arc::new(Balancer::new(listener.pool.clone())));
                Arc::new(Source::new(listener.clone(), balancer, room_in_all.clone()))
            })
            .clone();
        for socket in sockets {
            shares[turn % workers].push(Part { socket, source: source.clone(), offset });
            turn += 1;
        }
    }
    (shares, unix_paths)
}
