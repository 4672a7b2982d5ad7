//! A worker: one thread, its event loop, and what the connections on it share.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};
use towpath_config::Config;

use crate::conn;
use crate::engine::Phase;
use crate::flow::Flow;
use crate::listen::{Accepted, Acceptor};
use crate::metrics::Counters;
use crate::record::RecordSink;
use crate::relay::Buffers;
use crate::resolve::Resolver;
use crate::stream::Stream;

/// Warnings that the outside world can cause are logged at most so often.
const WARN_GAP: Duration = Duration::from_secs(1);

/// What one connection sees of the worker that it lives on.
pub(crate) struct Worker {
    pub(crate) counters: Arc<Counters>,
    pub(crate) records: Option<RecordSink>,
    pub(crate) resolver: Resolver,
    pub(crate) buffers: Buffers,
    id: usize,
    peers: Arc<[Peer]>,
    warned: Cell<Option<Instant>>,
    ended: Notify,
}

/// What workers know of each other.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) counters: Arc<Counters>,
    pub(crate) inbox: mpsc::UnboundedSender<Accepted>,
}

/// All that a worker's thread starts with.
pub(crate) struct Post {
    pub(crate) id: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) pipe_limit: usize,
    pub(crate) peers: Arc<[Peer]>,
    pub(crate) inbox: mpsc::UnboundedReceiver<Accepted>,
    pub(crate) records: Option<RecordSink>,
    pub(crate) phase: watch::Receiver<Phase>,
}

impl Worker {
    /// Serves a connection here, or on the least loaded worker where the difference is worth waking it.
    pub(crate) fn take(self: &Rc<Self>, accepted: Accepted) {
        match self.lighter_peer() {
            Some(peer) => {
                if let Err(refused) = peer.inbox.send(accepted) {
                    self.serve(refused.0); // that worker has ended, as it does in a drain
                }
            }
            None => self.serve(accepted),
        }
    }

    pub(crate) fn serve(self: &Rc<Self>, accepted: Accepted) {
        let Accepted { socket, client, seat, offset } = accepted;
        let flow = Flow::begin(self.clone(), seat, client);
        spawn_local(conn::serve(flow, Stream::new(socket), offset));
    }

    fn lighter_peer(&self) -> Option<&Peer> {
        let here = self.counters.live();
        let (live, peer) =
            self.peers.iter().map(|peer| (peer.counters.live(), peer)).min_by_key(|(live, _)| *live)?;
        (here >= live + (live / 4).max(2)).then_some(peer)
    }

    /// Tells that a connection has ended.
    pub(crate) fn one_less(&self) {
        if self.counters.live() == 0 {
            self.ended.notify_one();
        }
    }

    /// Warns unless it did so less than a second ago.
    pub(crate) fn warn_now_and_then(&self, warn: impl FnOnce()) {
        let now = Instant::now();
        if self.warned.get().is_none_or(|last| now - last >= WARN_GAP) {
            self.warned.set(Some(now));
            warn();
        }
    }
}

/// Runs a worker until its phase is [`Phase::Ended`], or draining with no connection left. `acceptors` makes the
/// acceptors of this worker, on its thread.
///
/// # Errors
/// When the event loop cannot be made.
pub(crate) fn run(post: Post, acceptors: impl FnOnce() -> io::Result<Vec<Acceptor>>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(work(post, acceptors))
    // Connections that are left are dropped with the runtime: each is reset and leaves its record.
}

async fn work(post: Post, acceptors: impl FnOnce() -> io::Result<Vec<Acceptor>>) -> io::Result<()> {
    let Post { id, config, pipe_limit, peers, mut inbox, records, mut phase } = post;
    let worker = Rc::new(Worker {
        counters: peers[id].counters.clone(),
        records,
        resolver: Resolver::new(&config.dns),
        buffers: Buffers::new(&config.relay, pipe_limit),
        id,
        peers,
        warned: Cell::default(),
        ended: Notify::new(),
    });
    tracing::debug!("worker {} runs", worker.id);
    let acceptors: Vec<Rc<Acceptor>> = acceptors()?.into_iter().map(Rc::new).collect();
    let accepting: Vec<_> = acceptors
        .iter()
        .map(|acceptor| {
            let (acceptor, worker) = (acceptor.clone(), worker.clone());
            spawn_local(async move { acceptor.run(&worker).await })
        })
        .collect();
    tokio::select! {
        () = hear(&mut phase, Phase::Draining) => {}
        () = serve_others(&mut inbox, &worker) => {}
    }
    accepting.iter().for_each(JoinHandle::abort);
    acceptors.into_iter().for_each(|acceptor| acceptor.take_waiting(&worker));
    inbox.close(); // what is in it is still served
    tokio::select! {
        () = hear(&mut phase, Phase::Ended) => {}
        () = serve_others_and_end(&mut inbox, &worker) => {}
    }
    Ok(())
}

/// Waits until the engine is in `wanted` or past it.
async fn hear(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An engine that is gone has ended.
    let _ = phase.wait_for(|now| *now >= wanted).await;
}

/// Serves the connections that other workers hand over.
async fn serve_others(inbox: &mut mpsc::UnboundedReceiver<Accepted>, worker: &Rc<Worker>) {
    while let Some(accepted) = inbox.recv().await {
        worker.serve(accepted);
    }
}

/// The same, and then waits until no connection is left.
async fn serve_others_and_end(inbox: &mut mpsc::UnboundedReceiver<Accepted>, worker: &Rc<Worker>) {
    serve_others(inbox, worker).await;
    while worker.counters.live() > 0 {
        worker.ended.notified().await;
    }
}
