//! A worker: one thread, its event loop, and what the connections on it share.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use towpath_config::{Config, Dns};

use crate::buffers::Buffers;
use crate::conn;
use crate::engine::Phase;
use crate::first_flight::FirstFlight;
use crate::flow::Flow;
use crate::http::{self, Budget, Idle};
use crate::listen::{Accepted, Acceptor, Door};
use crate::metrics::{Counters, NowAndThen};
use crate::pulse::Pulse;
use crate::record::RecordSink;
use crate::resolve::Resolver;
use crate::stream::Stream;
use crate::tidy::Stirred;
use crate::tunnel::parting;

/// So many tasks are polled before the loop looks for events again; with tokio's own 61 it looks twice for what a
/// hundred busy connections need once.
const EVENT_INTERVAL: u32 = 256;

/// How often a worker without connections looks whether its colleagues have any, in a drain.
const LOOKS: Duration = Duration::from_millis(20);

/// What one connection sees of the worker that it lives on.
pub(crate) struct Worker {
    pub(crate) buffers: Buffers,
    id: usize,
    colleagues: Arc<[Arc<Colleague>]>,
    warnings: Arc<NowAndThen>,
    resolver: RefCell<Option<(Dns, Rc<Resolver>)>>,
    /// Connections to backends that wait for a request.
    pub(crate) idle: Rc<Idle>,
    /// For short waits.
    pub(crate) pulse: Rc<Pulse>,
    /// How many requests may be sent again, by the names of pools.
    budgets: RefCell<HashMap<Arc<str>, Rc<Budget>>>,
    phase: watch::Receiver<Phase>,
}

/// What workers know of each other, and connections of their worker wherever it is.
#[derive(Debug)]
pub(crate) struct Colleague {
    pub(crate) counters: Counters,
    pub(crate) records: Option<RecordSink>,
    pub(crate) inbox: mpsc::UnboundedSender<Mail>,
    ended: Notify,
    pub(crate) stirred: Stirred,
}

/// What comes to a worker from outside its thread.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A connection of another worker goes on here.
    Connection(Box<Handover>),
    /// Clients are to be accepted from this socket too.
    Open(OwnedFd, Arc<Door>),
    /// Clients are to be accepted there no more; the sender is dropped when none is.
    Close(Arc<Door>, mpsc::Sender<()>),
    /// Something is to begin here.
    Errand(Errand),
}

/// What begins on a worker's thread.
pub(crate) struct Errand(Box<dyn FnOnce() + Send>);

impl Errand {
    pub(crate) fn new(begin: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(begin))
    }
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errand")
    }
}

thread_local! {
    /// Whether this thread is a worker's.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
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
    pub(crate) inbox: mpsc::UnboundedReceiver<Mail>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) warnings: Arc<NowAndThen>,
}

impl Colleague {
    pub(crate) fn new(
        inbox: mpsc::UnboundedSender<Mail>,
        records: Option<RecordSink>,
        stirred: Stirred,
    ) -> Self {
        Self { counters: Counters::default(), records, inbox, ended: Notify::new(), stirred }
    }

    /// Begins something on this thread if it is a worker's, or else on that of the least loaded one.
    pub(crate) fn run(workers: &[Arc<Self>], errand: Errand) {
        let there = workers.iter().min_by_key(|worker| worker.counters.live());
        match there.filter(|_| !IS_WORKER.get()) {
            None => errand.0(),
            // None that has ended is missed: nobody asks any more.
            Some(worker) => drop(worker.inbox.send(Mail::Errand(errand))),
        }
    }

    /// Tells that a connection has ended here or gone elsewhere.
    pub(crate) fn one_less(&self) {
        self.stirred.note();
        if self.counters.live() == 0 {
            self.ended.notify_one();
        }
    }
}

impl Worker {
    /// Starts the story of a client.
    pub(crate) fn serve(self: &Rc<Self>, accepted: Accepted) {
        let Accepted { socket, client, seat, offset } = accepted;
        let stream = match client {
            Some(_) => Stream::tcp(socket).cut(seat.listener.socket.segments.as_deref()),
            None => Stream::unix(socket),
        };
        let flow = Flow::begin(self.colleagues[self.id].clone(), seat, client, offset);
        // Boxed, since the runtime copies a task's future several times.
        spawn_local(Box::pin(conn::serve(self.clone(), flow, stream)));
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
        let may_leave = client.is_plain() && server.is_plain();
        let Some(colleague) = self.lighter_colleague().filter(|_| may_leave) else {
            spawn_local(conn::carry(self.clone(), flow, client, server, first));
            return;
        };
        flow.leaves();
        client.leave();
        server.leave();
        let mail = Mail::Connection(Box::new(Handover { flow, client, server, first }));
        if let Err(SendError(Mail::Connection(handover))) = colleague.inbox.send(mail) {
            self.take_over(handover); // that worker has ended, as it does in a drain
        }
    }

    fn take_over(self: &Rc<Self>, handover: Box<Handover>) {
        let Handover { mut flow, client, server, first } = *handover;
        flow.arrives(self.colleagues[self.id].clone());
        spawn_local(conn::carry(self.clone(), flow, client, server, first));
    }

    fn lighter_colleague(&self) -> Option<&Colleague> {
        let here = self.colleagues[self.id].counters.live();
        let loads = self.colleagues.iter().map(|colleague| (colleague.counters.live(), colleague));
        let (live, colleague) = loads.min_by_key(|(live, _)| *live)?;
        (here >= live + (live / 4).max(2)).then_some(colleague)
    }

    /// What its colleagues know of it.
    pub(crate) fn colleague(&self) -> Arc<Colleague> {
        self.colleagues[self.id].clone()
    }

    /// Waits until no more clients are taken: those that could go on for ever are to come to an end.
    pub(crate) async fn draining(&self) {
        hear(&mut self.phase.clone(), Phase::Draining).await;
    }

    /// How many requests to a pool of this name may be sent again.
    pub(crate) fn budget(&self, pool: &Arc<str>) -> Rc<Budget> {
        let mut budgets = self.budgets.borrow_mut();
        match budgets.get(pool) {
            Some(budget) => budget.clone(),
            None => {
                budgets.entry(pool.clone()).or_insert_with(|| Rc::new(Budget::new(Instant::now()))).clone()
            }
        }
    }

    /// Whether no more clients are taken.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Looks up names that clients give, by the servers of `dns`.
    pub(crate) fn resolver(&self, dns: &Dns) -> Rc<Resolver> {
        let mut known = self.resolver.borrow_mut();
        match &*known {
            Some((of, resolver)) if of == dns => resolver.clone(),
            _ => {
                let resolver = Rc::new(Resolver::with_memory(dns));
                *known = Some((dns.clone(), resolver.clone()));
                resolver
            }
        }
    }

    /// Warns unless any worker did so less than a second ago.
    pub(crate) fn warn_now_and_then(&self, warn: impl FnOnce()) {
        if self.warnings.is_due() {
            warn();
        }
    }
}

/// The acceptors of a worker, each with the task in which it accepts.
#[derive(Default)]
struct Doors(Vec<(Rc<Acceptor>, JoinHandle<()>)>);

impl Doors {
    fn open(&mut self, socket: OwnedFd, door: Arc<Door>, worker: &Rc<Worker>) {
        let name = door.source().listener.name.clone();
        match Acceptor::new(socket, door).map(Rc::new) {
            Ok(acceptor) => {
                let (this, worker) = (acceptor.clone(), worker.clone());
                self.0.push((acceptor, spawn_local(async move { this.run(&worker).await })));
            }
            Err(error) => tracing::error!("listener {name} cannot accept: {error}"),
        }
    }

    /// Accepts no more at those that are `closing`, but for the clients that the kernel has let in already.
    fn close(&mut self, worker: &Rc<Worker>, closing: impl Fn(&Acceptor) -> bool) {
        let closed: Vec<_> = self.0.extract_if(.., |(acceptor, _)| closing(acceptor)).collect();
        closed.iter().for_each(|(_, accepting)| accepting.abort());
        closed.iter().for_each(|(acceptor, _)| acceptor.refuse_new());
        closed.iter().for_each(|(acceptor, _)| acceptor.take_waiting(worker));
    }
}

/// Runs a worker until its phase is [`Phase::Ended`], or draining with no connection left.
///
/// # Errors
/// When the event loop cannot be made.
pub(crate) fn run(post: Post) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(LocalOptions::default())?;
    runtime.block_on(work(post));
    // Connections that are left are dropped with the runtime: each is reset and leaves its record.
    Ok(())
}

async fn work(post: Post) {
    IS_WORKER.set(true);
    let Post { id, config, pipe_limit, colleagues, mut inbox, mut phase, warnings } = post;
    let buffers = Buffers::new(&config.relay, pipe_limit);
    let worker = Rc::new(Worker {
        buffers,
        id,
        colleagues,
        warnings,
        resolver: RefCell::default(),
        idle: Rc::default(),
        pulse: Rc::default(),
        budgets: RefCell::default(),
        phase: phase.clone(),
    });
    tracing::debug!("worker {} runs", worker.id);
    let mut doors = Doors::default();
    tokio::select! {
        () = hear(&mut phase, Phase::Draining) => {}
        () = read_mail(&mut inbox, &mut doors, &worker) => {}
    }
    doors.close(&worker, |_| true);
    inbox.close(); // what is in it is still served
    tokio::select! {
        () = hear(&mut phase, Phase::Ended) => {}
        () = async {
            read_mail_and_end(&mut inbox, &mut doors, &worker).await;
            worker.idle.close();
            parting::deliver().await;
        } => {}
    }
    parting::part().await;
}

/// Waits until the engine is in `wanted` or past it.
async fn hear(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An engine that is gone has ended.
    let _ = phase.wait_for(|now| *now >= wanted).await;
}

/// Does what the mail says: serves the connections that other workers hand over, opens and closes doors.
async fn read_mail(inbox: &mut mpsc::UnboundedReceiver<Mail>, doors: &mut Doors, worker: &Rc<Worker>) {
    while let Some(mail) = inbox.recv().await {
        match mail {
            Mail::Connection(handover) => worker.take_over(handover),
            Mail::Open(socket, door) => {
                if door.source().rulebook.is_some() {
                    spawn_local(http::keep_warm(Rc::downgrade(worker), Arc::downgrade(&door)));
                }
                doors.open(socket, door, worker);
            }
            Mail::Errand(errand) => errand.0(),
            Mail::Close(door, _closed) => doors.close(worker, |acceptor| acceptor.is_at(&door)),
        }
    }
}

/// The same, and then waits until no connection is left, of its colleagues either: theirs may go over lanes of a tunnel that are here.
/// Doors that open now close with the worker.
async fn read_mail_and_end(
    inbox: &mut mpsc::UnboundedReceiver<Mail>,
    doors: &mut Doors,
    worker: &Rc<Worker>,
) {
    read_mail(inbox, doors, worker).await;
    doors.close(worker, |_| true);
    let here = &worker.colleagues[worker.id];
    while worker.colleagues.iter().any(|colleague| colleague.counters.live() > 0) {
        tokio::select! {
            () = here.ended.notified() => {}
            () = sleep(LOOKS) => {}
        }
    }
}
