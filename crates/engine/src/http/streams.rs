//! A client of HTTP/2: its streams beside each other on one connection.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Method;
use http::header::{CONTENT_LENGTH, HOST, TE};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{interval, sleep, timeout};
use towpath_wire::destination::Destination;
use towpath_wire::http1::target;

use super::clock::Clock;
use super::head::{self, Request};
use super::side::{H2Side, Side};
use super::{Behind, By, Requester, serve_request};
use crate::first_flight::FirstFlight;
use crate::stream::{Flusher, Gathered, Stream};

/// Streams that one client may have open at a time.
const STREAMS: u32 = 256;

/// What one stream may have under way to us, and all of a connection together.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

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

/// Serves a client whose first bytes are in `first`.
pub(super) async fn serve(requester: &Rc<Requester>, client: Stream, first: FirstFlight) {
    if let Err(error) = serve_all(requester, client.unread(&first.0)).await {
        tracing::debug!("client {:?}: {error}", requester.client);
    }
}

async fn serve_all(requester: &Rc<Requester>, client: Stream) -> Result<(), h2::Error> {
    let (gathered, flusher) = Gathered::new(client);
    serve_until_end(requester, gathered, &flusher).await?;
    flusher.finish().await;
    Ok(())
}

/// Serves its streams until it ends, or is asked to.
async fn serve_until_end(
    requester: &Rc<Requester>,
    gathered: Gathered,
    flusher: &Flusher,
) -> Result<(), h2::Error> {
    let handshake = server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(requester.http().header_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(STREAM_WINDOW as usize)
        .max_pending_accept_reset_streams(RESETS)
        .handshake::<_, Bytes>(gathered);
    let mut connection = flusher.around(handshake).await?;
    let mut draining = pin!(requester.worker.draining());
    let mut is_draining = false;
    let open = Rc::new(Open::default());
    let (mut idle_looks, mut quiet, mut known) = (0, 0, 0);
    let mut looks = interval(requester.http().keepalive_timeout / LOOKS);
    loop {
        let accepted = tokio::select! {
            accepted = flusher.around(poll_fn(|cx| match connection.poll_accept(cx) {
                Poll::Pending if open.is_flooded(flusher) => Poll::Ready(Err(())),
                accepted => accepted.map(Ok),
            })) => accepted,
            () = draining.as_mut(), if !is_draining => {
                is_draining = true;
                connection.graceful_shutdown();
                continue;
            }
            () = sleep(LAST_WORDS), if is_draining && open.count.get() == 0 => {
                // The ends of answers may still be on their way to a slow client.
                let (_, down) = flusher.carried();
                quiet = if down == known { quiet + 1 } else { 0 };
                known = down;
                if quiet >= QUIET {
                    return Ok(());
                }
                continue;
            }
            () = open.closed.notified(), if is_draining => continue,
            _ = looks.tick() => {
                if requester.is_leaving() && !is_draining {
                    is_draining = true;
                    connection.graceful_shutdown();
                    continue;
                }
                idle_looks = if open.count.get() == 0 { idle_looks + 1 } else { 0 };
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
        if requester.is_leaving() && !is_draining {
            is_draining = true;
            connection.graceful_shutdown();
        }
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, answering) = accepted?;
        let (place, requester) = (OpenStream::new(&open), requester.clone());
        spawn_local(async move {
            serve_stream(&requester, request, answering, &place).await;
            drop(place);
        });
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
}

impl Default for Open {
    fn default() -> Self {
        Self {
            count: Cell::default(),
            all: Cell::default(),
            given_up: Cell::default(),
            bodies: Rc::default(),
            closed: Notify::default(),
            since: Instant::now(),
        }
    }
}

impl Open {
    /// Whether the client asks mostly for what it does not want (CVE-2023-44487).
    /// Whether the client sends frames that are of no request: what it may send goes by its requests and its answers.
    fn is_flooded(&self, flusher: &Flusher) -> bool {
        let (up, down) = flusher.carried();
        // What came of a body may still be unread, or was dropped.
        let heads = self.all.get() as u64 * u64::from(HEAD_BYTES + STREAM_WINDOW);
        let time = self.since.elapsed().as_secs() * FRAMES_BYTES_A_SECOND;
        up > FRAMES_BYTES + time + heads + self.bodies.get() + down / 64
    }

    fn is_abused(&self) -> bool {
        let given_up = self.given_up.get();
        given_up > GIVEN_UP && given_up * 2 > self.all.get()
    }
}

/// One of them.
struct OpenStream(Rc<Open>);

impl OpenStream {
    fn new(open: &Rc<Open>) -> Self {
        open.count.set(open.count.get() + 1);
        open.all.set(open.all.get() + 1);
        Self(open.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.closed.notify_one();
    }
}

async fn serve_stream(
    requester: &Requester,
    request: http::Request<RecvStream>,
    mut answering: SendResponse<Bytes>,
    place: &OpenStream,
) {
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let Some(request) = request_of(parts, has_body) else {
        answering.send_reset(Reason::PROTOCOL_ERROR);
        return;
    };
    let mut client = Side::H2(H2Side::of_client(body, answering, place.0.bodies.clone()));
    let behind = serve_request(requester, &mut Clock::new(), request, &mut client, false).await;
    if let Behind::Cut(by) = behind {
        place.0.given_up.set(place.0.given_up.get() + usize::from(by == By::Client));
        let _ = poll_fn(|cx| client.poll_flush(cx)).await;
    }
}

/// A request as the story works with it; `None` if it is none.
fn request_of(parts: http::request::Parts, has_body: bool) -> Option<Request> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let is_path = match path {
        "*" => parts.method == Method::OPTIONS,
        path => path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'),
    };
    if parts.method == Method::CONNECT || !is_path || !target::is_target(path) {
        return None;
    }
    let path = path.to_owned();
    let mut fields = parts.headers;
    let takes_trailers = fields.get(TE).is_some_and(|te| te == "trailers");
    let mut hosts = fields.get_all(HOST).into_iter();
    let host = hosts.next().map(|host| host.to_str().map(str::to_owned)).transpose().ok()?;
    if hosts.next().is_some() {
        return None;
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    // A Host field that says something else would be a second opinion.
    if let (Some(authority), Some(host)) = (&authority, &host)
        && !authority.eq_ignore_ascii_case(host)
    {
        return None;
    }
    let authority = authority.or(host)?;
    Destination::parse(&authority, Some(80)).ok()?;
    let length = match fields.get(CONTENT_LENGTH) {
        Some(length) => Some(length.to_str().ok()?.parse().ok()?),
        None => None,
    };
    fields.remove(CONTENT_LENGTH);
    head::strip_for_streams(&mut fields);
    Some(Request {
        method: parts.method,
        path,
        authority,
        version: http::Version::HTTP_2,
        fields,
        upgrade: None,
        length,
        has_body,
        takes_trailers,
    })
}
