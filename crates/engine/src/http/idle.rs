//! Connections to backends that wait for a request, those of one worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::HashMap;
use h2::client::SendRequest;
use tokio::task::spawn_local;
use tokio::time::interval;

use crate::pool::{Backend, Pool};
use crate::stream::Stream;

/// How often connections are looked at that nobody asks for.
const LOOKS: Duration = Duration::from_millis(500);

/// A server that closes idle connections after some time gets no request so shortly before.
const MARGIN: Duration = Duration::from_secs(1);

/// After so long twice as much is tried.
const DOUBT: Duration = Duration::from_secs(120);

/// Streams of one connection of HTTP/2; with more another one is opened.
const STREAMS_MAX: usize = 100;

/// The pool and the backend of a connection, by their identity, and the place of its port in the backend's range.
type Key = (usize, usize, u16);

/// Where connections lead.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) pool: &'a Arc<Pool>,
    pub(crate) backend: &'a Arc<Backend>,
    /// The place of the port in the backend's range.
    pub(crate) offset: u16,
}

impl Way<'_> {
    fn key(self) -> Key {
        (Arc::as_ptr(self.pool).addr(), self.backend.id(), self.offset)
    }
}

/// The connections of one worker that wait for a request.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    places: RefCell<HashMap<Key, Place>>,
    is_watched: Cell<bool>,
}

/// Those to one backend.
#[derive(Debug)]
struct Place {
    /// Kept, so that their identity is nobody else's.
    pool: Arc<Pool>,
    backend: Arc<Backend>,
    streams: Vec<(Stream, Instant)>,
    sessions: Vec<Session>,
    /// How long its backend keeps connections, as far as that has shown, and since when.
    learned: Option<(Duration, Instant)>,
}

/// A connection of HTTP/2.
#[derive(Debug)]
struct Session {
    sender: SendRequest<Bytes>,
    count: Rc<Cell<usize>>,
    /// Whether it got a stream since the last look.
    was_used: Cell<bool>,
    /// When it was last seen in use.
    since: Instant,
}

/// Room for a stream on a connection of HTTP/2, which counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) sender: SendRequest<Bytes>,
    count: Rc<Cell<usize>>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

/// Whether the peer has sent nothing, and not closed.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    stream.poll_recv(&mut Context::from_waker(Waker::noop()), &mut byte).is_pending()
}

impl Place {
    fn limit(&self) -> Duration {
        let configured = self.pool.config.http.idle_timeout;
        self.learned.map_or(configured, |(learned, _)| learned.min(configured))
    }

    fn note_kept(&mut self, kept: Duration) {
        self.learned = Some((self.learned.map_or(kept, |(learned, _)| learned.min(kept)), Instant::now()));
    }

    /// What was learned long ago may hold no more: a server that was started anew has closed all connections once.
    fn forget(&mut self) {
        if let Some((learned, since)) = self.learned
            && since.elapsed() >= DOUBT
        {
            let longer = learned * 2;
            let is_less = longer < self.pool.config.http.idle_timeout;
            self.learned = is_less.then(|| (longer, Instant::now()));
        }
    }

    /// The server was found to have closed after so long.
    fn learn(&mut self, age: Duration) {
        let kept = age.saturating_sub(MARGIN).max(MARGIN / 2);
        // Sooner than that it has not closed for being idle.
        if age >= MARGIN {
            self.note_kept(kept);
        }
    }
}

impl Idle {
    /// A connection of HTTP/1 to this backend that lives; where a request can be sent once only, `surely`: the event loop may not
    /// know yet what the kernel does.
    pub(crate) fn take(&self, way: Way<'_>, surely: bool, now: Instant) -> Option<Stream> {
        let mut places = self.places.borrow_mut();
        let place = places.get_mut(&way.key())?;
        let limit = place.limit();
        while let Some((mut stream, since)) = place.streams.pop() {
            let age = now.saturating_duration_since(since);
            if age >= limit || stream.is_unwanted() {
                stream.finish_now();
            } else if is_quiet(&mut stream) && (!surely || stream.is_silent()) {
                return Some(stream);
            } else {
                place.learn(age);
            }
        }
        None
    }

    /// Keeps a connection of HTTP/1 on which nothing is under way. `told_seconds` is how long the server says that it keeps it.
    pub(crate) fn put(self: &Rc<Self>, way: Way<'_>, stream: Stream, told_seconds: Option<u64>) {
        let mut places = self.places.borrow_mut();
        let place = self.place(&mut places, way);
        if let Some(seconds) = told_seconds {
            let told = Duration::from_secs(seconds).saturating_sub(MARGIN).max(MARGIN / 2);
            place.note_kept(told);
        }
        if place.streams.len() < way.pool.config.http.idle_max {
            place.streams.push((stream, Instant::now()));
        } else {
            stream.finish_now();
        }
    }

    /// Room on a connection of HTTP/2 to this backend.
    pub(crate) fn room(&self, way: Way<'_>) -> Option<Room> {
        let places = self.places.borrow();
        let sessions = &places.get(&way.key())?.sessions;
        let has_room = |session: &&Session| {
            session.count.get() < STREAMS_MAX.min(session.sender.current_max_send_streams())
        };
        // The fullest first, so that those of busier times can close.
        let session = sessions.iter().filter(has_room).max_by_key(|session| session.count.get())?;
        session.count.set(session.count.get() + 1);
        session.was_used.set(true);
        Some(Room { sender: session.sender.clone(), count: session.count.clone() })
    }

    /// Keeps a connection of HTTP/2, with room for a first stream.
    pub(crate) fn put_session(self: &Rc<Self>, way: Way<'_>, sender: SendRequest<Bytes>) -> Room {
        let count = Rc::new(Cell::new(1));
        let room = Room { sender: sender.clone(), count: count.clone() };
        let mut places = self.places.borrow_mut();
        let place = self.place(&mut places, way);
        place.sessions.push(Session { sender, count, was_used: Cell::new(true), since: Instant::now() });
        room
    }

    /// Gives up a connection of HTTP/2: its streams go on, and it gets no more.
    pub(crate) fn leave_session(&self, room: &Room) {
        for place in self.places.borrow_mut().values_mut() {
            place.sessions.retain(|session| !Rc::ptr_eq(&session.count, &room.count));
        }
    }

    /// Closes all that wait: nobody will ask any more.
    pub(crate) fn close(&self) {
        let places = std::mem::take(&mut *self.places.borrow_mut());
        places.into_values().flat_map(|place| place.streams).for_each(|(stream, _)| stream.finish_now());
    }

    /// Whether as many connections to a backend wait as its pool wants ready; of HTTP/2 one is enough.
    pub(crate) fn is_warm(&self, way: Way<'_>) -> bool {
        let places = self.places.borrow();
        let (streams, sessions) =
            places.get(&way.key()).map_or((0, 0), |place| (place.streams.len(), place.sessions.len()));
        let http = &way.pool.config.http;
        if http.is_h2 { sessions > 0 } else { streams >= http.warm }
    }

    fn place<'a>(self: &Rc<Self>, places: &'a mut HashMap<Key, Place>, way: Way<'_>) -> &'a mut Place {
        if !self.is_watched.replace(true) {
            spawn_local(self.clone().watch());
        }
        places.entry(way.key()).or_insert_with(|| Place {
            pool: way.pool.clone(),
            backend: way.backend.clone(),
            streams: Vec::new(),
            sessions: Vec::new(),
            learned: None,
        })
    }

    /// Closes those that are idle for too long, for as long as there are any.
    async fn watch(self: Rc<Self>) {
        let mut looks = interval(LOOKS);
        looks.tick().await;
        while self.is_watched.get() {
            looks.tick().await;
            let mut places = self.places.borrow_mut();
            places.values_mut().for_each(Place::look);
            // Nobody asks any more for those to backends that have left their pool, or of a pool that was replaced.
            let gone = places.extract_if(|_, place| !place.pool.has(&place.backend));
            gone.flat_map(|(_, place)| place.streams).for_each(|(stream, _)| stream.finish_now());
            let is_needed =
                places.values().any(|place| !place.streams.is_empty() || !place.sessions.is_empty());
            self.is_watched.set(is_needed);
        }
    }
}

impl Place {
    fn look(&mut self) {
        self.forget();
        let limit = self.limit();
        let mut closed = None;
        let streams = std::mem::take(&mut self.streams);
        for (mut stream, since) in streams {
            let age = since.elapsed();
            if age >= limit || stream.is_unwanted() {
                stream.finish_now();
            } else if is_quiet(&mut stream) {
                self.streams.push((stream, since));
            } else {
                closed = Some(closed.map_or(age, |closed: Duration| closed.min(age)));
            }
        }
        if let Some(age) = closed {
            self.learn(age);
        }
        self.sessions.retain_mut(|session| {
            if session.was_used.take() || session.count.get() > 0 {
                session.since = Instant::now();
            }
            let noop = &mut Context::from_waker(Waker::noop());
            let is_broken = matches!(session.sender.poll_ready(noop), std::task::Poll::Ready(Err(_)));
            session.since.elapsed() < limit && !is_broken
        });
    }
}
