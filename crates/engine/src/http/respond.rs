//! Answers to clients: those of servers, and our own.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use tokio::time::timeout;

use super::head::{self, Answer, Request};
use super::own_answer::Own;
use super::side::{Data, Going, Progress, Side};
use super::{Behind, By};
use crate::error::{HopError, HopFault, Reason};
use crate::inbound;

/// So much of a body that nobody wants is read, for so long.
const WASTE: usize = 1024 * 1024;
const WASTE_TIME: Duration = Duration::from_secs(1);

/// How long a client may take for an answer of our own.
const PARTING: Duration = Duration::from_secs(10);

/// Whether an answer to a request of this method can have a body at all.
pub(super) fn may_have_body(method: &Method, status: StatusCode) -> bool {
    *method != Method::HEAD && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Passes an interim answer on, where the client understands it.
pub(super) fn interim(client: &mut Side, request: &Request, answer: &Answer) {
    match client {
        Side::H1(_) if request.version == Version::HTTP_10 => {}
        Side::H1(side) => {
            side.begin(Going::Over, |to| head::write_answer(answer, request.version, to));
        }
        Side::H2(side) => side.inform(head_of_stream(answer)),
        Side::Nobody => {}
    }
}

/// Sends the head of an answer; `is_last` says that the connection closes behind it. Returns whether it does, which a client of
/// HTTP/1.0 may need to find the end.
pub(super) fn begin(client: &mut Side, request: &Request, answer: &Answer, is_last: bool) -> bool {
    let may_have_body = may_have_body(&request.method, answer.status);
    let side = match client {
        Side::H1(side) => side,
        Side::H2(side) => {
            let is_all = !may_have_body || answer.is_all || answer.length == Some(0);
            side.respond(head_of_stream(answer), is_all);
            return false;
        }
        Side::Nobody => return false,
    };
    let going = match answer.length {
        _ if !may_have_body => Going::Over,
        Some(length) => Going::Length(length),
        None if answer.is_all => Going::Length(0),
        None if request.version == Version::HTTP_10 => Going::UntilClose,
        None => Going::Chunked,
    };
    let is_last = is_last || going == Going::UntilClose;
    side.begin(going, |to| {
        head::write_answer(answer, request.version, to);
        if let Some(length) = answer.length.filter(|_| !may_have_body && tells_length(answer.status)) {
            let length = HeaderValue::from(length);
            head::write_field(CONTENT_LENGTH.as_str().as_bytes(), length.as_bytes(), to);
        }
        match (is_last, request.version) {
            (true, _) => head::write_field(b"connection", b"close", to),
            (false, Version::HTTP_10) => head::write_field(b"connection", b"keep-alive", to),
            _ => {}
        }
    });
    is_last
}

/// Whether an answer without a body may tell the length of the one that it would have (RFC 9110, section 8.6).
fn tells_length(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT
}

fn head_of_stream(answer: &Answer) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = answer.status;
    *head.version_mut() = Version::HTTP_2;
    head.headers_mut().clone_from(&answer.fields);
    if let Some(length) = answer.length.filter(|_| tells_length(answer.status)) {
        head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    head
}

/// Drops what a client of HTTP/2 has still to send, within limits: who is answered before may take a reset for a failure.
pub(super) async fn hear_out(client: &mut Side) {
    let mut wasted = 0;
    let wasting = async {
        while wasted < WASTE
            && let Ok(Progress::More) = poll_fn(|cx| client.poll_waste(cx, &mut wasted)).await
        {}
    };
    let _ = timeout(WASTE_TIME, wasting).await;
}

/// What clients are told where no server answers, of so many that were reached.
pub(super) fn status(reason: Reason, reached: u32) -> StatusCode {
    match reason {
        Reason::NoBackend | Reason::BackendDown | Reason::QueueTimedOut => StatusCode::SERVICE_UNAVAILABLE,
        Reason::ConnectRefused | Reason::Unreachable | Reason::NoSuchHost | Reason::ResolveFailed
            if reached == 0 =>
        {
            StatusCode::SERVICE_UNAVAILABLE
        }
        // As if we had come there ourselves.
        Reason::Hop(HopError { fault: HopFault::Far(code), .. }) if reached == 0 && code != 2 => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        reason => StatusCode::from_u16(inbound::status(reason)).unwrap_or(StatusCode::BAD_GATEWAY),
    }
}

/// Sends an answer of our own.
pub(super) async fn ourselves(client: &mut Side, request: &Request, own: &Own, is_last: bool) -> Behind {
    let (parts, body) = own.answer(&request.fields).into_parts();
    all(client, request, parts.status, parts.headers, body, is_last).await
}

/// Sends a whole answer.
pub(super) async fn all(
    client: &mut Side,
    request: &Request,
    status: StatusCode,
    fields: HeaderMap,
    body: Bytes,
    is_last: bool,
) -> Behind {
    // What is left of a body must not be taken for the next request.
    let is_last = is_last || !client.has_read_all();
    let length = Some(body.len() as u64);
    let head = Answer { status, reason: Bytes::new(), fields, length, is_all: false, upgrade: None };
    let is_last = begin(client, request, &head, is_last);
    let mut is_put = false;
    let sent = poll_fn(|cx| {
        if !std::mem::replace(&mut is_put, true) {
            if may_have_body(&request.method, status) {
                client.put(cx, Data { bytes: &body, of: Some(&body) });
            }
            client.put_end(None);
        }
        client.poll_flush(cx)
    });
    let sent = timeout(PARTING, sent).await;
    if request.has_body {
        hear_out(client).await;
    }
    match sent {
        Ok(Ok(())) if is_last => Behind::Close,
        Ok(Ok(())) => Behind::Next,
        Ok(Err(_)) | Err(_) => {
            client.cut();
            Behind::Cut(By::Client)
        }
    }
}
