//! Asking a proxy by HTTP/2 to connect on (RFC 9113, section 8.5): many streams over few connections.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use h2::client::{self, SendRequest};
use hyper::header::PROXY_AUTHORIZATION;
use hyper::{Method, Request, Uri};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use towpath_config::Login;
use towpath_wire::destination::Destination;

use crate::error::{HopFault, HttpStatus};
use crate::pool::Lease;
use crate::stream::{H2Stream, Stream};

/// Streams of one connection; with more another one is opened, so that one that stalls holds up no more.
const STREAMS_MAX: usize = 100;

/// What one stream may have under way to us, and all of a connection together.
/// Streams that stall, however many, hold up no others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;

/// A connection without a stream is closed after two looks in a row.
const LOOK_PAUSE: Duration = Duration::from_secs(15);

/// The connections of a hop; each worker uses those that it has opened.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Vec<Session>>);

#[derive(Debug)]
struct Session {
    sender: SendRequest<Bytes>,
    streams: Arc<AtomicUsize>,
    /// When it answered last.
    answered: Arc<Mutex<Instant>>,
    thread: ThreadId,
}

/// A connection with room for a stream, which is kept for this.
pub(crate) struct Opening {
    sessions: Arc<Sessions>,
    sender: SendRequest<Bytes>,
    answered: Arc<Mutex<Instant>>,
    place: Place,
}

/// One stream's place on its connection.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, SeqCst);
        Self(streams.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens no more streams on a connection.
    fn leave(&self, streams: &Arc<AtomicUsize>) {
        self.lock().retain(|session| !Arc::ptr_eq(&session.streams, streams));
    }

    /// Room on a connection that is there.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Opening> {
        let sessions = self.lock();
        let here = thread::current().id();
        let ours = sessions.iter().filter(|session| session.thread == here);
        // The fullest first, so that those of quieter times can close.
        let (streams, session) = ours
            .map(|session| (session.streams.load(SeqCst), session))
            .filter(|(streams, session)| {
                *streams < STREAMS_MAX.min(session.sender.current_max_send_streams())
            })
            .max_by_key(|(streams, _)| *streams)?;
        debug_assert!(streams < STREAMS_MAX);
        let (sender, answered) = (session.sender.clone(), session.answered.clone());
        Some(Opening { sessions: self.clone(), sender, answered, place: Place::take(&session.streams) })
    }

    /// Speaks HTTP/2 on a new connection, which keeps `leases` for as long as it lives.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        stream: Stream,
        leases: Vec<Lease>,
    ) -> Result<Opening, HopFault> {
        let handshake = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(STREAM_WINDOW as usize)
            .enable_push(false)
            .handshake(stream);
        let (sender, connection) = handshake.await.map_err(|_| HopFault::BadAnswer)?;
        let streams = Arc::new(AtomicUsize::new(0));
        let place = Place::take(&streams);
        let answered = Arc::new(Mutex::new(Instant::now()));
        let session = Session {
            sender: sender.clone(),
            streams: streams.clone(),
            answered: answered.clone(),
            thread: thread::current().id(),
        };
        self.lock().push(session);
        let sessions = Arc::downgrade(self);
        let (of, ended) = (sessions.clone(), streams.clone());
        spawn_local(async move {
            // What fails here fails its streams too.
            let _ = connection.await;
            if let Some(sessions) = of.upgrade() {
                sessions.leave(&ended);
            }
            drop(leases);
        });
        spawn_local(async move {
            let mut was_idle = false;
            loop {
                sleep(LOOK_PAUSE).await;
                let Some(sessions) = sessions.upgrade() else { return };
                let is_idle = streams.load(SeqCst) == 0;
                if is_idle && was_idle {
                    sessions.leave(&streams);
                    return;
                }
                was_idle = is_idle;
            }
        });
        Ok(Opening { sessions: self.clone(), sender, answered, place })
    }
}

impl Opening {
    /// Asks for a stream to `wanted`, which may take `limit`. A connection that has answered nobody meanwhile is dead, and
    /// asked no more.
    pub(crate) async fn ask(
        self,
        login: Option<&Login>,
        wanted: &Destination,
        limit: Duration,
    ) -> Result<Stream, HopFault> {
        let authority = Uri::builder().authority(wanted.to_string()).build();
        let mut request =
            Request::builder().method(Method::CONNECT).uri(authority.map_err(|_| HopFault::Unnameable)?);
        if let Some(Login { name, password }) = login {
            let credentials = BASE64_STANDARD.encode(format!("{name}:{}", password.reveal()));
            request = request.header(PROXY_AUTHORIZATION, format!("Basic {credentials}"));
        }
        let request = request.body(()).map_err(|_| HopFault::Unnameable)?;
        let mut sender = self.sender.ready().await.map_err(|_| HopFault::Closed)?;
        let (answer, send) = sender.send_request(request, false).map_err(|_| HopFault::Closed)?;
        let begun = Instant::now();
        let answered = |answered: &Mutex<Instant>| *answered.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(answer) = timeout(limit, answer).await else {
            if answered(&self.answered) < begun {
                self.sessions.leave(&self.place.0);
            }
            return Err(HopFault::TimedOut);
        };
        let answer = answer.map_err(|_| HopFault::Closed)?;
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        match answer.status().as_u16() {
            200..=299 => {}
            407 => return Err(HopFault::Login),
            status => return Err(HttpStatus::new(status).map_or(HopFault::BadAnswer, HopFault::Status)),
        }
        Ok(Stream::layered(H2Stream::new(send, answer.into_body(), self.place)))
    }
}
