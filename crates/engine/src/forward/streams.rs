//! The streams of a client of HTTP/2: tunnels and requests beside each other on one connection.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Body, Frame};
use hyper::{Method, Request};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{interval, sleep};

use super::body::{Coming, Failed};
use super::request::{Answer, Cut};
use super::{KEEP_ALIVE, Requester, connect, request};
use crate::first_flight::FirstFlight;
use crate::flow::Flow;
use crate::stream::{Flusher, Gathered, Stream};
use crate::worker::Worker;

/// Streams that one client may have open at a time.
const STREAMS: u32 = 1024;

/// What one stream may have under way to us, and all of a connection together: streams that stall hold up no others as long
/// as there is room for them.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;

/// How often a connection without a stream is looked at before it is left.
const LOOKS: u32 = 4;

/// A client without a stream has so long to take the word that there will be no more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Longest fields of a request together.
const FIELDS_BYTES: u32 = 16 * 1024;

/// Serves a client of HTTP/2; what it has sent so far is in `first`.
pub(crate) async fn serve(worker: &Rc<Worker>, flow: &mut Flow, client: Stream, first: FirstFlight) {
    let requester = Requester::new(worker, flow, None);
    flow.speaks_for_others();
    let patience = flow.idle_timeout().unwrap_or(KEEP_ALIVE);
    if let Err(error) = serve_all(worker, requester, client.unread(&first.0), patience).await {
        tracing::debug!("listener {}, client {:?}: {error}", flow.seat.listener.name, flow.client);
    }
}

async fn serve_all(
    worker: &Rc<Worker>,
    requester: Rc<Requester>,
    client: Stream,
    patience: Duration,
) -> Result<(), h2::Error> {
    let (gathered, flusher) = Gathered::new(client);
    serve_until_end(worker, requester, gathered, &flusher, patience).await?;
    flusher.finish().await;
    Ok(())
}

/// Serves its streams until it ends, or is asked to.
async fn serve_until_end(
    worker: &Rc<Worker>,
    requester: Rc<Requester>,
    gathered: Gathered,
    flusher: &Flusher,
    patience: Duration,
) -> Result<(), h2::Error> {
    let handshake = server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(FIELDS_BYTES)
        .max_send_buffer_size(STREAM_WINDOW as usize)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(gathered);
    let mut connection = flusher.around(handshake).await?;
    let mut draining = pin!(worker.draining());
    let mut is_draining = false;
    let open = Rc::new(Open::default());
    let mut idle_looks = 0;
    let mut looks = interval(patience / LOOKS);
    loop {
        let accepted = tokio::select! {
            accepted = flusher.around(connection.accept()) => accepted,
            () = draining.as_mut(), if !is_draining => {
                is_draining = true;
                connection.graceful_shutdown();
                continue;
            }
            () = sleep(LAST_WORDS), if is_draining && open.count.get() == 0 => return Ok(()),
            () = open.closed.notified(), if is_draining => continue,
            _ = looks.tick() => {
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
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, answering) = accepted?;
        let (place, requester) = (OpenStream::new(&open), requester.clone());
        spawn_local(async move {
            serve_stream(requester, request, answering).await;
            drop(place);
        });
    }
}

/// The open streams of a connection.
#[derive(Default)]
struct Open {
    count: Cell<usize>,
    closed: Notify,
}

/// One of them.
struct OpenStream(Rc<Open>);

impl OpenStream {
    fn new(open: &Rc<Open>) -> Self {
        open.count.set(open.count.get() + 1);
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
    requester: Rc<Requester>,
    request: Request<RecvStream>,
    mut answering: SendResponse<Bytes>,
) {
    if request.method() == Method::CONNECT {
        if let Err(refused) = connect::serve(&requester, request, &mut answering).await {
            send(refused.into_answer(), &mut answering).await;
        }
        return;
    }
    match request::serve(requester, request.map(Coming::H2), None).await {
        Ok(answer) => send(answer, &mut answering).await,
        Err(Cut) => answering.send_reset(Reason::CANCEL),
    }
}

/// Sends an answer to its end, or resets its stream where it has none.
async fn send(answer: Answer, answering: &mut SendResponse<Bytes>) {
    let (head, body) = answer.map(Box::pin).into_parts();
    let mut head = hyper::Response::from_parts(head, ());
    *head.version_mut() = hyper::Version::HTTP_2;
    let is_bodiless = body.is_end_stream();
    let Ok(mut stream) = answering.send_response(head, is_bodiless) else { return };
    if is_bodiless {
        return;
    }
    let mut body = body;
    loop {
        // A client that has given the stream up, or gone, waits for nothing.
        let next = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Some(Err(Failed))),
            Poll::Pending => body.as_mut().poll_frame(cx),
        });
        let sent = match next.await {
            None => {
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
            Some(Ok(frame)) => send_frame(frame, &mut stream).await,
            Some(Err(_)) => None,
        };
        match sent {
            Some(false) => {}
            Some(true) => return,
            None => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return;
            }
        }
    }
}

/// Sends a part of a body, and tells whether it was the last; `None` when nobody takes it.
async fn send_frame(frame: Frame<Bytes>, stream: &mut SendStream<Bytes>) -> Option<bool> {
    let mut data = match frame.into_data() {
        Ok(data) => data,
        Err(frame) => {
            let Ok(trailers) = frame.into_trailers() else { return Some(false) };
            return stream.send_trailers(trailers).ok().map(|()| true);
        }
    };
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = poll_fn(|cx| {
            if stream.capacity() > 0 {
                return Poll::Ready(Some(stream.capacity()));
            }
            let room = ready!(stream.poll_capacity(cx));
            Poll::Ready(room.and_then(Result::ok))
        })
        .await?;
        let part = data.split_to(room.min(data.len()));
        stream.send_data(part, false).ok()?;
    }
    Some(false)
}
