//! A worker: one thread, its event loop, and what the connections on it share.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};
use towpath_config::Config;

use crate::conn;
use crate::engine::Phase;
use crate::first_flight::FirstFlight;
use crate::flow::Flow;
use crate::listen::{Accepted, Acceptor};
use crate::metrics::{Counters, NowAndThen};
use crate::record::RecordSink;
use crate::relay::Buffers;
use crate::resolve::Resolver;
use crate::stream::Stream;

/// So many tasks are polled before the loop looks for events again; with tokio's own 61 it looks twice for what a
/// hundred busy connections need once.
const EVENT_INTERVAL: u32 = 256;

/// What one connection sees of the worker that it lives on.
pub(crate) struct Worker {
    pub(crate) resolver: Resolver,
    pub(crate) buffers: Buffers,
    id: usize,
    colleagues: Arc<[Arc<Colleague>]>,
    warnings: Arc<NowAndThen>,
}

/// What workers know of each other, and connections of their worker wherever it is.
#[derive(Debug)]
pub(crate) struct Colleague {
    pub(crate) counters: Counters,
    pub(crate) records: Option<RecordSink>,
    pub(crate) inbox: mpsc::UnboundedSender<Handover>,
    ended: Notify,
}

/// A connection that has reached its server, on its way to another worker.
#[derive(Debug)]
pub(crate) struct Handover {
    flow: Flow,
    client: Stream,
    server: Stream,
    first: FirstFlight,
}

/// All that a worker's thread starts with.
pub(crate) struct Post {
    pub(crate) id: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) pipe_limit: usize,
    pub(crate) colleagues: Arc<[Arc<Colleague>]>,
    pub(crate) inbox: mpsc::UnboundedReceiver<Handover>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) warnings: Arc<NowAndThen>,
}

impl Colleague {
    pub(crate) fn new(inbox: mpsc::UnboundedSender<Handover>, records: Option<RecordSink>) -> Self {
        Self { counters: Counters::default(), records, inbox, ended: Notify::new() }
    }

    /// Tells that a connection has ended here or gone elsewhere.
    pub(crate) fn one_less(&self) {
        if self.counters.live() == 0 {
            self.ended.notify_one();
        }
    }
}

impl Worker {
    /// Starts the story of a client.
    pub(crate) fn serve(self: &Rc<Self>, accepted: Accepted) {
        let Accepted { socket, client, seat, offset } = accepted;
        let stream = if client.is_some() { Stream::tcp(socket) } else { Stream::unix(socket) };
        let flow = Flow::begin(self.colleagues[self.id].clone(), seat, client);
        spawn_local(conn::serve(self.clone(), flow, stream, offset));
    }

    /// Goes on with a connection that has reached its server: here, or on the least loaded worker where the difference
    /// is worth waking it. All connections of one client come to one worker and connect there, so that they reach the
    /// server in the order in which the client made them; here they part.
    pub(crate) fn go_on(
        self: &Rc<Self>,
        mut flow: Flow,
        mut client: Stream,
        mut server: Stream,
        first: FirstFlight,
    ) {
        let Some(colleague) = self.lighter_colleague() else {
            spawn_local(conn::carry(self.clone(), flow, client, server, first));
            return;
        };
        flow.leaves();
        client.leave();
        server.leave();
        if let Err(refused) = colleague.inbox.send(Handover { flow, client, server, first }) {
            self.take_over(refused.0); // that worker has ended, as it does in a drain
        }
    }

    fn take_over(self: &Rc<Self>, handover: Handover) {
        let Handover { mut flow, client, server, first } = handover;
        flow.arrives(self.colleagues[self.id].clone());
        spawn_local(conn::carry(self.clone(), flow, client, server, first));
    }

    fn lighter_colleague(&self) -> Option<&Colleague> {
        let here = self.colleagues[self.id].counters.live();
        let loads = self.colleagues.iter().map(|colleague| (colleague.counters.live(), colleague));
        let (live, colleague) = loads.min_by_key(|(live, _)| *live)?;
        (here >= live + (live / 4).max(2)).then_some(colleague)
    }

    /// Warns unless any worker did so less than a second ago.
    pub(crate) fn warn_now_and_then(&self, warn: impl FnOnce()) {
        if self.warnings.is_due() {
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
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(LocalOptions::default())?;
    runtime.block_on(work(post, acceptors))
    // Connections that are left are dropped with the runtime: each is reset and leaves its record.
}

async fn work(post: Post, acceptors: impl FnOnce() -> io::Result<Vec<Acceptor>>) -> io::Result<()> {
    let Post { id, config, pipe_limit, colleagues, mut inbox, mut phase, warnings } = post;
    let worker = Rc::new(Worker {
        resolver: Resolver::new(&config.dns),
        buffers: Buffers::new(&config.relay, pipe_limit),
        id,
        colleagues,
        warnings,
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
    acceptors.iter().for_each(|acceptor| acceptor.refuse_new());
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
async fn serve_others(inbox: &mut mpsc::UnboundedReceiver<Handover>, worker: &Rc<Worker>) {
    while let Some(handover) = inbox.recv().await {
        worker.take_over(handover);
    }
}

/// The same, and then waits until no connection is left.
async fn serve_others_and_end(inbox: &mut mpsc::UnboundedReceiver<Handover>, worker: &Rc<Worker>) {
    serve_others(inbox, worker).await;
    let here = &worker.colleagues[worker.id];
    while here.counters.live() > 0 {
        here.ended.notified().await;
    }
}
