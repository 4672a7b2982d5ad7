//! A client of HTTP/2: what its streams ask.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Method;
use http::header::{CONTENT_LENGTH, HOST, TE};
use towpath_wire::destination::Destination;
use towpath_wire::http1::target;

use super::clock::Clock;
use super::head::{self, Request};
use super::side::{H2Side, Side};
use super::{Behind, By, Requester, serve_request};
use crate::first_flight::FirstFlight;
use crate::stream::Stream;
use crate::streams::{self, Limits, OpenStream};

/// Serves a client whose first bytes are in `first`.
pub(super) async fn serve(requester: &Rc<Requester>, client: Stream, first: FirstFlight) {
    let http = requester.http();
    let limits = Limits {
        streams: 256,
        stream_window: 128 * 1024,
        connection_window: 4 * 1024 * 1024,
        fields: u32::try_from(http.header_bytes_max).unwrap_or(u32::MAX),
        extended_connect: false,
        counts_frames: true,
    };
    let (client, patience) = (client.unread(&first.0), http.keepalive_timeout);
    let is_leaving = || requester.is_leaving();
    let serve_one = |request, answering, place| {
        let requester = requester.clone();
        async move { serve_stream(&requester, request, answering, &place).await }
    };
    let served = streams::serve(&requester.worker, client, &limits, patience, is_leaving, serve_one).await;
    if let Err(error) = served {
        tracing::debug!("client {:?}: {error}", requester.client);
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
    let Some(request) = request_of(parts, has_body).map(Box::new) else {
        answering.send_reset(Reason::PROTOCOL_ERROR);
        return;
    };
    let mut client = Side::H2(H2Side::of_client(body, answering, place.bodies()));
    let behind = serve_request(requester, &mut Clock::new(), request, &mut client, false).await;
    if let Behind::Cut(by) = behind {
        if by == By::Client {
            place.note_given_up();
        }
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
