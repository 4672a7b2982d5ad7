//! The streams of a client of HTTP/2: tunnels and requests beside each other on one connection.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Body, Frame};
use hyper::{Method, Request};

use super::body::{Coming, Failed};
use super::request::{Answer, Cut};
use super::{KEEP_ALIVE, Requester, connect, request};
use crate::first_flight::FirstFlight;
use crate::flow::Flow;
use crate::stream::Stream;
use crate::streams::{self, Limits};
use crate::worker::Worker;

/// What one client may have: streams that stall hold up no others as long as there is room for them.
const LIMITS: Limits = Limits {
    streams: 1024,
    stream_window: 128 * 1024,
    connection_window: 32 * 1024 * 1024,
    fields: 16 * 1024,
    extended_connect: true,
    // Tunnels carry anything.
    counts_frames: false,
};

/// Serves a client of HTTP/2; what it has sent so far is in `first`.
pub(crate) async fn serve(worker: &Rc<Worker>, flow: &mut Flow, client: Stream, first: FirstFlight) {
    let requester = Requester::new(worker, flow, None);
    flow.speaks_for_others();
    let patience = flow.idle_timeout().unwrap_or(KEEP_ALIVE);
    let (client, is_leaving) = (client.unread(&first.0), || worker.is_draining());
    let serve_one = |request, answering, place| {
        let requester = requester.clone();
        async move {
            serve_stream(requester, request, answering).await;
            drop(place);
        }
    };
    let served = streams::serve(worker, client, &LIMITS, patience, is_leaving, serve_one).await;
    if let Err(error) = served {
        tracing::debug!("listener {}, client {:?}: {error}", flow.seat.listener.name, flow.client);
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
