//! The near end of tunnels: a session to the far end that a hop is, and its lanes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ::aws_lc_rs::rand;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use towpath_config::{Lanes, TunnelOut};
use towpath_wire::destination::Destination;
use towpath_wire::tunnel::LaneId;
use towpath_wire::tunnel::growth::Growth;
use towpath_wire::tunnel::hello::{self, ANSWER_BYTES, Answer, Hello, Refusal, SessionId, Terms};
use towpath_wire::tunnel::session::Role;

use crate::chain;
use crate::early::{Early, Leaving};
use crate::error::HopFault;
use crate::pool::Hop;
use crate::stream::Stream;
use crate::tls::{SharedKey, TlsError};
use crate::tunnel::{Ended, FIRST_WINDOW, Hub, Standing, TunnelStream, carry};

/// Streams of one session, unless the far end takes fewer.
const STREAMS: usize = 4096;

/// How often the number of lanes is looked at while there is something to carry, and while there is not.
const LOOKS: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_secs(1);

/// So much has to come from one look to the next for more lanes to be tried.
const BUSY_BYTES: u64 = 16 * 1024;

/// How long nobody tries to open a lane after one that failed: twice as long each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// A lane that has lived for so long was of use.
const WORTH_TIME: Duration = Duration::from_secs(1);

/// So long a far end that has no room for more lanes is not asked again.
const FULL_TIME: Duration = Duration::from_secs(60);

/// How long a lane may take to be there.
const LANE_TIME: Duration = Duration::from_secs(10);

/// What an end takes before it has said what.
const LEAST: Terms = Terms { features: 0, window: FIRST_WINDOW, streams: 1 };

/// The near end of a tunnel through one hop.
#[derive(Debug)]
pub(crate) struct Near {
    config: TunnelOut,
    /// `None` if it is plain.
    key: Option<SharedKey>,
    hub: Mutex<Option<Arc<Hub>>>,
}

impl Near {
    /// The near end that the configuration speaks of.
    ///
    /// # Errors
    /// When its key cannot be used.
    pub(crate) fn new(config: &TunnelOut) -> Result<Self, TlsError> {
        let key = config.end.key.as_ref().map(SharedKey::new).transpose()?;
        Ok(Self { config: config.clone(), key, hub: Mutex::default() })
    }

    /// Opens a stream to `wanted` through the tunnel to the hop at `place`, whose first lane may take `limit`. What there is `early`
    /// leaves with it.
    pub(crate) async fn open(
        self: &Arc<Self>,
        hops: &Arc<[Hop]>,
        place: usize,
        wanted: &Destination,
        early: Option<&Rc<Early>>,
        limit: Duration,
    ) -> Result<Opened, HopFault> {
        let hub = self.session(hops, place);
        timeout(limit, ready(&hub)).await.unwrap_or(Err(HopFault::TimedOut))?;
        let id = hub.with(|state, _| state.session.open()).ok_or(HopFault::NoBackend)?;
        let stream = TunnelStream::new(hub.clone(), id, Standing::Asked);
        let text = wanted.to_string();
        let mut asking = u16::try_from(text.len()).map_err(|_| HopFault::Unnameable)?.to_be_bytes().to_vec();
        asking.extend_from_slice(text.as_bytes());
        let mut leaving = early.map(Early::leave);
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
        spawn_local(Hub::keep_time(Arc::downgrade(&hub)));
        // The way to it, without itself: whoever keeps lanes keeps no tunnel that a reload has replaced.
        let mut way = hops[..=place].to_vec();
        way[place].tunnel = None;
        let keeper = Keeper {
            near: Arc::downgrade(self),
            hub: hub.clone(),
            hops: way.into(),
            place,
            name: name(),
            lanes: self.config.lanes,
            key: self.key.clone(),
        };
        spawn_local(keeper.run());
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

/// Keeps the lanes of a session.
struct Keeper {
    near: Weak<Near>,
    hub: Arc<Hub>,
    hops: Arc<[Hop]>,
    place: usize,
    name: SessionId,
    lanes: Lanes,
    /// `None` if it is plain.
    key: Option<SharedKey>,
}

/// What the lanes of a session have in common.
#[derive(Default)]
struct Dials {
    /// How many are being opened.
    under_way: Cell<usize>,
    /// Whether the far end has taken one.
    is_welcome: Cell<bool>,
    failures: Cell<u32>,
    /// What the far end has room for, and until when that is believed.
    most: Cell<Option<(usize, Instant)>>,
    not_before: RefCell<Option<Instant>>,
}

/// What comes, which may be more with more lanes: how much more waits at the far end, nobody tells.
#[derive(Debug, Default)]
struct Intake {
    /// When this was looked at last, and what had come by then.
    looked: (Duration, u64),
    is_busy: bool,
}

impl Intake {
    fn is_busy(&mut self, now: Duration, received: u64) -> bool {
        let (at, before) = self.looked;
        if now >= at + LOOKS {
            self.is_busy = received - before >= BUSY_BYTES;
            self.looked = (now, received);
        }
        self.is_busy
    }
}

impl Dials {
    /// A lane has ended that was of use, or failed: then the next has to wait.
    fn note(&self, was_of_use: bool) {
        if was_of_use {
            self.failures.set(0);
            *self.not_before.borrow_mut() = None;
            return;
        }
        let failures = self.failures.get();
        self.failures.set(failures + 1);
        let pause = PAUSE_MAX.min(PAUSE_MIN * 2_u32.saturating_pow(failures.min(8)));
        *self.not_before.borrow_mut() = Some(Instant::now() + pause);
    }
}

impl Keeper {
    /// A box, since the way of a lane may lead through another tunnel.
    fn run(self) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { self.keep().await })
    }

    async fn keep(&self) {
        let hub = &self.hub;
        let dials = Rc::new(Dials::default());
        let mut next: LaneId = 1;
        let lanes = self.lanes;
        let mut intake = Intake::default();
        let mut growth = match lanes {
            Lanes::Auto(most) => Some(Growth::new(most, hub.now())),
            Lanes::Fixed(_) => None,
        };
        loop {
            let mut changed = pin!(hub.changed.notified());
            changed.as_mut().enable();
            let measures = hub.measures();
            if hub.is_over() || (self.near.upgrade().is_none() && measures.streams == 0) {
                hub.finish();
                return;
            }
            let open = hub.lanes();
            let wanted = match (&mut growth, lanes) {
                _ if !dials.is_welcome.get() => 1,
                (Some(growth), _) => {
                    let is_hungry = measures.is_hungry || intake.is_busy(hub.now(), measures.received);
                    let carried = measures.sent + measures.received;
                    growth.look(hub.now(), open, measures.rtt, carried, is_hungry)
                }
                (None, Lanes::Fixed(count) | Lanes::Auto(count)) => count,
            };
            let most = dials.most.get().filter(|(_, until)| Instant::now() < *until);
            let wanted = most.map_or(wanted, |(most, _)| wanted.min(most));
            let may_dial = dials.not_before.borrow().is_none_or(|at| at <= Instant::now());
            if may_dial && open + dials.under_way.get() < wanted {
                for _ in open + dials.under_way.get()..wanted {
                    self.dial(next, &dials);
                    next += 1;
                }
            } else if open > wanted {
                hub.retire_lane();
            }
            let pause = if measures.streams > 0 || open < wanted { LOOKS } else { REST };
            tokio::select! {
                () = changed => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Opens a lane, and carries its frames.
    fn dial(&self, lane: LaneId, dials: &Rc<Dials>) {
        dials.under_way.set(dials.under_way.get() + 1);
        let (hub, dials) = (self.hub.clone(), dials.clone());
        let hello = Hello {
            session: self.name,
            may_begin: !dials.is_welcome.get(),
            lane,
            terms: Terms { features: hello::LZ4 | hello::ZSTD, window: FIRST_WINDOW, streams: 1 },
        };
        let (key, hops, place) = (self.key.clone(), self.hops.clone(), self.place);
        let dialing = async move {
            let opened = timeout(LANE_TIME, open_lane(key, &hops, place, &hello)).await;
            dials.under_way.set(dials.under_way.get() - 1);
            let result = opened.unwrap_or(Err(Failed::Fault(HopFault::TimedOut)));
            match result {
                Ok((stream, terms)) => {
                    let begun = Instant::now();
                    if !dials.is_welcome.replace(true) {
                        hub.with(|state, _| state.session.set_terms(terms));
                    }
                    hub.add_lane(lane);
                    let segments = hops[place].pool.config.socket.segments.as_deref();
                    let may_pace = segments.is_none_or(|segments| segments.pacing_rate.is_none());
                    match carry(&hub, lane, stream, may_pace, |_| {}).await {
                        Ended::Closed => tracing::debug!("tunnel: lane {lane} has ended"),
                        Ended::Broken(kind) => tracing::debug!("tunnel: lane {lane} broke: {kind}"),
                        Ended::Fault(fault) => tracing::warn!("tunnel: the far end is at fault: {fault}"),
                    }
                    // A way that lets lanes come and cuts them at once is no better than one that does not.
                    dials.note(begun.elapsed() >= WORTH_TIME);
                    hub.changed.notify_waiters();
                }
                Err(failed) => {
                    dials.note(false);
                    note(&hops[place], &failed);
                    match failed {
                        Failed::Refused(Refusal::UnknownSession | Refusal::Repeated) if hub.lanes() == 0 => {
                            hub.finish();
                        }
                        // Those that are there go on, as behind a reload of the far end.
                        Failed::Refused(Refusal::UnknownSession) => hub.leave_off(),
                        Failed::Refused(Refusal::Full) if hub.lanes() > 0 => {
                            dials.most.set(Some((hub.lanes(), Instant::now() + FULL_TIME)));
                        }
                        // Who never got in is told at once why.
                        failed if !dials.is_welcome.get() => {
                            hub.fails(failed.fault());
                            hub.finish();
                        }
                        _ => {}
                    }
                    hub.changed.notify_waiters();
                }
            }
        };
        spawn_local(Box::pin(dialing) as Pin<Box<dyn Future<Output = ()>>>);
    }
}

/// Why there is no lane.
#[derive(Clone, Copy, Debug)]
enum Failed {
    Fault(HopFault),
    Refused(Refusal),
    Stranger(hello::HelloFault),
}

impl Failed {
    fn fault(self) -> HopFault {
        match self {
            Self::Fault(fault) => fault,
            Self::Refused(why) => HopFault::NoLane(why),
            Self::Stranger(hello::HelloFault::Version(_)) => HopFault::NoLane(Refusal::Version),
            Self::Stranger(hello::HelloFault::Stranger) => HopFault::BadAnswer,
        }
    }
}

/// Tells of a lane that failed, now and then.
fn note(hop: &Hop, failed: &Failed) {
    if !hop.warnings.is_due() {
        return;
    }
    let name = &hop.pool.config.name;
    match failed {
        Failed::Fault(HopFault::Tls) => {
            tracing::warn!("pool {name}: the far end of the tunnel has another key, or is no tunnel");
        }
        Failed::Fault(fault) => tracing::warn!("pool {name}: no lane to the far end of the tunnel: {fault}"),
        Failed::Refused(why) => tracing::warn!("pool {name}: the far end of the tunnel takes no lane: {why}"),
        Failed::Stranger(why) => tracing::warn!("pool {name}: no tunnel: {why}"),
    }
}

/// Connects to the far end, and says hello.
async fn open_lane(
    key: Option<SharedKey>,
    hops: &Arc<[Hop]>,
    place: usize,
    hello: &Hello,
) -> Result<(Stream, Terms), Failed> {
    let mut stream = chain::reach_hop(hops, place, LANE_TIME).await.map_err(Failed::Fault)?;
    stream.prepare_lane(&hops[place].pool.config.socket);
    stream.keep_alive(&hops[place].pool.config.socket);
    if let Some(key) = &key {
        stream = key.connect(stream).await.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => Failed::Fault(HopFault::Tls),
            _ => Failed::Fault(HopFault::Closed),
        })?;
    }
    let closed = |_| Failed::Fault(HopFault::Closed);
    stream.write_all(&hello.bytes()).await.map_err(closed)?;
    stream.flush().await.map_err(closed)?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer).await.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Failed::Fault(HopFault::Tls),
        _ => Failed::Fault(HopFault::Closed),
    })?;
    match Answer::read(&answer).map_err(Failed::Stranger)? {
        Answer::Welcome(terms) => Ok((stream, terms)),
        Answer::Refused(why) => Err(Failed::Refused(why)),
    }
}
