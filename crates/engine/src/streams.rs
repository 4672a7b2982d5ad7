//! The streams of a client of HTTP/2: they are accepted, counted and kept within limits, and their connection comes to its end.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{self, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::stream::{Flusher, Gathered, Stream};
use crate::worker::Worker;

/// Streams that a client resets before it gets to see their answer, at a time.
const RESETS: usize = 64;

/// Bytes that a client may send which are of no request (PING, SETTINGS and the like), and with each request.
const FRAMES_BYTES: u64 = 64 * 1024;
const FRAMES_BYTES_A_SECOND: u64 = 4096;
const HEAD_BYTES: u32 = 16 * 1024;

/// So many streams a client may give up before that is held against it.
const GIVEN_UP: usize = 200;

/// How often a connection without a stream is looked at before it is left.
const LOOKS: u32 = 4;

/// A client without a stream has so long to take the word that there will be no more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// So often nothing must have left in that time.
const QUIET: u32 = 3;

/// What clients may have open and under way, in bytes where nothing else is said.
pub(crate) struct Limits {
    /// Streams at a time.
    pub(crate) streams: u32,
    /// Under way to us on one stream, and on all of a connection together.
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    /// Longest fields of a request together.
    pub(crate) fields: u32,
    /// Whether CONNECT may name another protocol (RFC 8441).
    pub(crate) extended_connect: bool,
    /// Whether frames that are of no request are counted: [`OpenStream::bodies`] has to tell of bodies then.
    pub(crate) counts_frames: bool,
}

/// Serves the streams of a client, each by `serve` in a task of its own, until the client ends or is to go: it is asked to once
/// `is_leaving`, and after `patience` without a stream.
///
/// # Errors
/// What the client did against the protocol or the limits, or how its connection broke.
pub(crate) async fn serve<F: Future<Output = ()> + 'static>(
    worker: &Worker,
    client: Stream,
    limits: &Limits,
    patience: Duration,
    is_leaving: impl Fn() -> bool,
    serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>, OpenStream) -> F,
) -> Result<(), h2::Error> {
    let (gathered, flusher) = Gathered::new(client);
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.fields)
        .max_send_buffer_size(limits.stream_window as usize)
        .max_pending_accept_reset_streams(RESETS);
    if limits.extended_connect {
        builder.enable_connect_protocol();
    }
    let connection = flusher.around(builder.handshake::<_, Bytes>(gathered)).await?;
    let open = Rc::new(Open::new(limits));
    until_end(worker, connection, &flusher, &open, patience, is_leaving, serve).await?;
    flusher.finish().await;
    Ok(())
}

async fn until_end<F: Future<Output = ()> + 'static>(
    worker: &Worker,
    mut connection: Connection<Gathered, Bytes>,
    flusher: &Flusher,
    open: &Rc<Open>,
    patience: Duration,
    is_leaving: impl Fn() -> bool,
    serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>, OpenStream) -> F,
) -> Result<(), h2::Error> {
    let mut draining = pin!(worker.draining());
    let mut is_asked = false;
    let (mut quiet, mut known) = (0, 0);
    let (mut idle_looks, mut seen) = (0, 0);
    let mut looks = interval(patience / LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if !is_asked && is_leaving() {
            is_asked = true;
            connection.graceful_shutdown();
        }
        let accepted = tokio::select! {
            accepted = flusher.around(poll_fn(|cx| match connection.poll_accept(cx) {
                Poll::Pending if open.is_flooded(flusher) => Poll::Ready(Err(())),
                accepted => accepted.map(Ok),
            })) => accepted,
            () = draining.as_mut(), if !is_asked => continue,
            () = sleep(LAST_WORDS), if is_asked && open.count.get() == 0 => {
                // The ends of answers may still be on their way to a slow client.
                let (_, down) = flusher.carried();
                quiet = if down == known { quiet + 1 } else { 0 };
                known = down;
                if quiet >= QUIET {
                    return Ok(());
                }
                continue;
            }
            () = open.closed.notified(), if is_asked => continue,
            _ = looks.tick() => {
                // Streams that came and went between two looks count too.
                let was_idle = open.count.get() == 0 && open.all.get() == seen;
                seen = open.all.get();
                idle_looks = if was_idle { idle_looks + 1 } else { 0 };
                match idle_looks {
                    0..=LOOKS => {}
                    // Asked to leave, and then left.
                    idle if idle > 2 * LOOKS => return Ok(()),
                    _ => connection.graceful_shutdown(),
                }
                continue;
            }
        };
        let accepted = match accepted {
            Ok(accepted) if !open.is_abused() => accepted,
            // It is told so, and left.
            Ok(_) | Err(()) => {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let leaving = poll_fn(|cx| connection.poll_closed(cx));
                let _ = timeout(LAST_WORDS, flusher.around(leaving)).await;
                return Err(Reason::ENHANCE_YOUR_CALM.into());
            }
        };
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, answering) = accepted?;
        spawn_local(serve(request, answering, OpenStream::new(open)));
    }
}

/// The open streams of a connection.
struct Open {
    count: Cell<usize>,
    /// All that there were, and those that were given up before they were answered.
    all: Cell<usize>,
    given_up: Cell<usize>,
    /// Bytes that the bodies of requests may have taken with all that is around them.
    bodies: Rc<Cell<u64>>,
    closed: Notify,
    since: Instant,
    /// Bytes that a stream allows; `None` where frames are not counted.
    stream_bytes: Option<u64>,
}

impl Open {
    fn new(limits: &Limits) -> Self {
        let stream_bytes = u64::from(HEAD_BYTES) + u64::from(limits.stream_window);
        Self {
            count: Cell::default(),
            all: Cell::default(),
            given_up: Cell::default(),
            bodies: Rc::default(),
            closed: Notify::default(),
            since: Instant::now(),
            stream_bytes: limits.counts_frames.then_some(stream_bytes),
        }
    }

    /// Whether the client sends frames that are of no request: what it may send goes by its requests and its answers.
    fn is_flooded(&self, flusher: &Flusher) -> bool {
        let Some(stream_bytes) = self.stream_bytes else { return false };
        let (up, down) = flusher.carried();
        // What came of a body may still be unread, or was dropped.
        let streams = self.all.get() as u64 * stream_bytes;
        let time = self.since.elapsed().as_secs() * FRAMES_BYTES_A_SECOND;
        up > FRAMES_BYTES + time + streams + self.bodies.get() + down / 64
    }

    /// Whether the client asks mostly for what it does not want (CVE-2023-44487).
    fn is_abused(&self) -> bool {
        let given_up = self.given_up.get();
        given_up > GIVEN_UP && given_up * 2 > self.all.get()
    }
}

/// One of the open streams, until it is dropped.
pub(crate) struct OpenStream(Rc<Open>);

impl OpenStream {
    fn new(open: &Rc<Open>) -> Self {
        open.count.set(open.count.get() + 1);
        open.all.set(open.all.get() + 1);
        Self(open.clone())
    }

    /// Where to add the bytes of bodies that were read, with what may be around them.
    pub(crate) fn bodies(&self) -> Rc<Cell<u64>> {
        self.0.bodies.clone()
    }

    /// Its client has given it up.
    pub(crate) fn note_given_up(&self) {
        self.0.given_up.set(self.0.given_up.get() + 1);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.closed.notify_one();
    }
}
