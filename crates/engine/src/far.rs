//! The part of the story in which a client is a lane of a tunnel: the session that it is of, and where its streams go.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use towpath_config::TunnelIn;
use towpath_wire::destination::Destination;
use towpath_wire::tunnel::hello::{
    self, ANSWER_BYTES, Answer, HELLO_BYTES, Hello, HelloFault, Refusal, SessionId, Terms,
};
use towpath_wire::tunnel::session::Role;
use towpath_wire::tunnel::{LaneId, StreamId};

use crate::conn;
use crate::error::{Misasked, Reason, TunnelFault};
use crate::first_flight::FirstFlight;
use crate::flow::{Flow, Stage};
use crate::inbound;
use crate::listen::{Seat, Source};
use crate::proxied::{self, NoWay};
use crate::stream::Stream;
use crate::tls::{SharedKey, TlsError, is_no_tls};
use crate::tunnel::{Ended, FIRST_WINDOW, Hub, Standing, TunnelStream, carry};
use crate::worker::Worker;

/// Longest name of a destination, in bytes.
const DESTINATION_BYTES: usize = 512;

/// The last frames of a drain have so long to leave.
const PARTING: Duration = Duration::from_secs(2);

/// So many lanes of a session are known one by one.
const LANES_KNOWN: usize = 1024;

/// What a lane with TLS begins with: a record of its handshake (RFC 8446, section 5.1).
const TLS_RECORD: u8 = 0x16;

/// How often a tunnel in a drain is looked at.
const LOOKS: Duration = Duration::from_millis(50);

/// The far end of the tunnels of a listener.
#[derive(Debug)]
pub(crate) struct Far {
    config: TunnelIn,
    /// `None` if it is plain.
    key: Option<SharedKey>,
    /// Those that a reload has found go on.
    sessions: Arc<Mutex<HashMap<SessionId, Member>>>,
}

/// A session, and the lanes that it has had.
#[derive(Debug)]
struct Member {
    hub: Arc<Hub>,
    /// The latest of them.
    lanes: BTreeSet<LaneId>,
    /// Those below are all taken.
    oldest: LaneId,
}

impl Member {
    /// Whether there was no such lane before: a hello that was heard before is somebody else's.
    fn is_new(&mut self, lane: LaneId) -> bool {
        let is_new = lane >= self.oldest && self.lanes.insert(lane);
        if self.lanes.len() > LANES_KNOWN {
            self.oldest = self.lanes.pop_first().map_or(0, |first| first.saturating_add(1));
        }
        is_new
    }
}

/// The place of a lane in its session, until this is dropped.
struct Place {
    hub: Arc<Hub>,
    lane: LaneId,
}

impl Place {
    fn take(hub: &Arc<Hub>, lane: LaneId) -> Self {
        hub.add_lane(lane);
        Self { hub: hub.clone(), lane }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.remove_lane(self.lane);
    }
}

impl Far {
    /// The far end that the configuration speaks of.
    ///
    /// # Errors
    /// When its key cannot be used.
    pub(crate) fn new(config: &TunnelIn) -> Result<Self, TlsError> {
        let key = config.end.key.as_ref().map(SharedKey::new).transpose()?;
        Ok(Self { config: config.clone(), key, sessions: Arc::default() })
    }

    /// What a new configuration makes of this one: who has the same key finds the sessions that there are.
    pub(crate) fn renewed(&self, new: &Self) -> Self {
        let is_same = self.config.end.key == new.config.end.key;
        let sessions = if is_same { self.sessions.clone() } else { Arc::default() };
        Self { config: new.config.clone(), key: new.key.clone(), sessions }
    }

    /// Whether sessions go on under what a reload has put in place: it has the same key.
    fn is_kept_by(&self, newest: &Source) -> bool {
        newest.far.as_ref().is_some_and(|far| Arc::ptr_eq(&far.sessions, &self.sessions))
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Member>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn terms(&self) -> Terms {
        Terms {
            features: hello::ALL,
            window: FIRST_WINDOW,
            streams: u32::try_from(self.config.streams_max).unwrap_or(u32::MAX),
        }
    }

    /// Hears which session a lane is of.
    async fn greet(&self, client: Stream, is_leaving: bool) -> Result<(Place, Stream), TunnelFault> {
        let mut stream = match &self.key {
            Some(key) => key.accept(client).await.map_err(|error| match is_no_tls(&error) {
                true => TunnelFault::NoTls,
                false => TunnelFault::Key,
            })?,
            None => client,
        };
        let mut hello = [0; HELLO_BYTES];
        stream.read_exact(&mut hello).await.map_err(|_| TunnelFault::Ended)?;
        let taken = match Hello::read(&hello) {
            Ok(hello) if is_leaving && hello.may_begin => Err(TunnelFault::Refused(Refusal::Leaving)),
            Ok(hello) => self.join(&hello).map_err(TunnelFault::Refused),
            Err(HelloFault::Stranger) if hello[0] == TLS_RECORD => Err(TunnelFault::Encrypted),
            Err(fault) => Err(TunnelFault::Hello(fault)),
        };
        let answer: [u8; ANSWER_BYTES] = match &taken {
            Ok(_) => Answer::Welcome(self.terms()).bytes(),
            Err(TunnelFault::Refused(refusal)) => Answer::Refused(*refusal).bytes(),
            Err(TunnelFault::Hello(HelloFault::Version(_))) => Answer::Refused(Refusal::Version).bytes(),
            Err(TunnelFault::Encrypted) => {
                // Whatever it is, whoever speaks TLS finds that this is none.
                proxied::part(stream, &Answer::Refused(Refusal::Version).bytes()).await;
                return Err(TunnelFault::Encrypted);
            }
            Err(fault) => return Err(*fault),
        };
        let told = stream.write_all(&answer).await;
        let flushed = stream.flush().await;
        match taken {
            Ok(place) => {
                told.and(flushed).map_err(|_| TunnelFault::Ended)?;
                Ok((place, stream))
            }
            Err(fault) => {
                stream.finish_in_order().await;
                Err(fault)
            }
        }
    }

    /// The place of a lane in its session, which begins with it if there is none.
    fn join(&self, hello: &Hello) -> Result<Place, Refusal> {
        let mut sessions = self.sessions();
        sessions.retain(|_, member| !member.hub.is_over());
        if let Some(member) = sessions.get_mut(&hello.session) {
            if member.hub.lanes() >= self.config.lanes_max {
                return Err(Refusal::Full);
            }
            let is_new = member.is_new(hello.lane);
            return if is_new { Ok(Place::take(&member.hub, hello.lane)) } else { Err(Refusal::Repeated) };
        }
        if !hello.may_begin {
            return Err(Refusal::UnknownSession);
        }
        if sessions.len() >= self.config.sessions_max && !make_room(&mut sessions) {
            return Err(Refusal::Full);
        }
        let hub = Hub::new(Role::Far, &self.config.end, self.config.streams_max, hello.terms);
        spawn_local(Hub::keep_time(Arc::downgrade(&hub)));
        let place = Place::take(&hub, hello.lane);
        sessions.insert(hello.session, Member { hub, lanes: BTreeSet::from([hello.lane]), oldest: 0 });
        Ok(place)
    }
}

/// Ends the session that is missed least: one without lanes, of which one without streams has nothing to go on with.
fn make_room(sessions: &mut HashMap<SessionId, Member>) -> bool {
    let alone = sessions.iter().filter_map(|(name, member)| {
        let (time, has_streams) = member.hub.alone()?;
        Some(((!has_streams, time), *name))
    });
    let Some((_, name)) = alone.max() else { return false };
    if let Some(member) = sessions.remove(&name) {
        member.hub.finish();
    }
    true
}

/// Serves a lane until it ends, and begins the stories of the streams that are opened over it.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    mut flow: Flow,
    client: Stream,
    first: FirstFlight,
    far: Arc<Far>,
) {
    let Some(limit) = flow.seat.listener.proxy.as_ref().map(|proxy| proxy.header_timeout) else { return };
    client.prepare_lane(&flow.seat.listener.socket);
    let greeting = far.greet(client.unread(&first.0), worker.is_draining());
    let (place, stream) = match timeout(limit, greeting).await.unwrap_or(Err(TunnelFault::Late)) {
        Ok(taken) => taken,
        Err(fault) => {
            tracing::debug!("listener {}, client {:?}: {fault}", flow.seat.listener.name, flow.client);
            return flow.turned_away(Stage::Identify, Reason::Tunnel(fault));
        }
    };
    let (hub, lane) = (&place.hub, place.lane);
    // Streams leave records of their own.
    flow.speaks_for_others();
    let mut source = flow.seat.source().clone();
    let mut of_streams = Arc::new(source.of_streams());
    let whose = (flow.client, flow.offset);
    let opened = |id: StreamId| {
        let stream = Stream::layered(TunnelStream::new(hub.clone(), id, Standing::There));
        // A stream is a client of its own: what a reload has put in place holds for it.
        let newest = source.newest().filter(|newest| far.is_kept_by(newest));
        let is_welcome = newest.is_some();
        match newest {
            Some(newest) if !Arc::ptr_eq(&newest, &source) => {
                of_streams = Arc::new(newest.of_streams());
                source = newest;
            }
            Some(_) => {}
            None => hub.with(|state, _| state.session.leave()),
        }
        let serving = serve_stream(worker.clone(), (of_streams.clone(), is_welcome), whose, stream);
        spawn_local(Box::pin(serving));
    };
    let listener = flow.seat.listener.clone();
    let mut carrying = pin!(carry(hub, lane, stream, listener.socket.segments.as_deref(), opened));
    let ended = tokio::select! {
        ended = carrying.as_mut() => ended,
        () = leave(&worker, hub) => {
            hub.retire();
            timeout(PARTING, carrying.as_mut()).await.unwrap_or(Ended::Closed)
        }
    };
    if let Ended::Fault(fault) = ended {
        let (listener, client) = (&flow.seat.listener.name, flow.client);
        worker.warn_now_and_then(|| {
            tracing::warn!("listener {listener}, client {client:?}: the session was ended: {fault}");
        });
        flow.speaks_for_itself();
        flow.turned_away(Stage::Identify, Reason::Tunnel(TunnelFault::Frames(fault)));
    }
}

/// Waits for a drain, tells the other end, and waits until its streams are over, those among them that it opened before it heard of it:
/// then it closes its lanes by itself.
async fn leave(worker: &Worker, hub: &Hub) {
    worker.draining().await;
    hub.with(|state, _| state.session.leave());
    let mut busy = Instant::now();
    while busy.elapsed() < PARTING {
        if hub.with(|state, _| state.session.streams()) > 0 {
            busy = Instant::now();
        }
        sleep(LOOKS).await;
    }
}

/// Brings one stream to where it wants to go, if it is still welcome.
async fn serve_stream(
    worker: Rc<Worker>,
    (source, is_welcome): (Arc<Source>, bool),
    (client, offset): (Option<SocketAddr>, u16),
    mut stream: Stream,
) {
    let place = Seat::take_now(&source);
    let refusal = match &place {
        _ if !is_welcome => Some((Stage::Admit, Reason::Refused)),
        None => Some((Stage::Connect, Reason::NoPlace)),
        Some(_) => None,
    };
    let seat = place.unwrap_or_else(|| Seat::none(&source));
    let mut flow = Flow::begin(worker.colleague(), seat, client, offset);
    let listener = flow.seat.listener.clone();
    let Some(proxy) = &listener.proxy else { return };
    let asked = timeout(proxy.header_timeout, destination(&mut stream)).await;
    let destination = match asked.unwrap_or(Err(Misasked::Late)) {
        Ok(destination) => destination,
        Err(why) => return flow.turned_away(Stage::Ask, Reason::BadRequest(why)),
    };
    flow.guest().wanted = Some(destination.clone());
    let answer = inbound::Answer::Tunnel;
    if let Some((stage, reason)) = refusal {
        flow.turned_away(stage, reason);
        return proxied::part(stream, &answer.refused(reason, "")).await;
    }
    match proxied::find_way(&worker, &flow, proxy, &destination).await {
        Ok(pool) => flow.guest().pool = Some(pool),
        Err(NoWay { reason, .. }) => {
            flow.turned_away(Stage::Route, reason);
            return proxied::part(stream, &answer.refused(reason, "")).await;
        }
    }
    let mut first = FirstFlight::default();
    first.take_more(&mut stream, &worker.buffers).await;
    conn::find_server(worker, flow, stream, first, Some(answer)).await;
}

/// Reads where a stream wants to go: a length of two bytes, and HOST:PORT.
async fn destination(stream: &mut Stream) -> Result<Destination, Misasked> {
    let length = usize::from(stream.read_u16().await.map_err(|_| Misasked::Ended)?);
    let mut text = [0; DESTINATION_BYTES];
    let text = text.get_mut(..length).ok_or(Misasked::Protocol)?;
    stream.read_exact(text).await.map_err(|_| Misasked::Ended)?;
    let text = str::from_utf8(text).map_err(|_| Misasked::Protocol)?;
    Destination::parse(text, None).map_err(Misasked::Destination)
}
