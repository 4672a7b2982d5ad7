//! CONNECT as a stream of HTTP/2 (RFC 9113, section 8.5), and for WebSocket (RFC 8441).

use std::rc::Rc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::SendResponse;
use hyper::header::{CONTENT_LENGTH, FORWARDED, HOST, HeaderMap, PROXY_AUTHORIZATION, SEC_WEBSOCKET_KEY};
use hyper::{Request, Response, StatusCode, Version};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use towpath_config::Proxy;
use towpath_wire::destination::Destination;
use towpath_wire::http1::response;

use super::request::{Refused, log_in};
use super::{Requester, fields};
use crate::conn;
use crate::early::Speaks;
use crate::error::{Misasked, Reason};
use crate::first_flight::FirstFlight;
use crate::flow::{Flow, Stage};
use crate::pool::Lease;
use crate::proxied::find_way;
use crate::reach;
use crate::stream::{H2Stream, Stream};

/// Serves a stream that is to be a tunnel, to its end.
pub(super) async fn serve(
    requester: &Rc<Requester>,
    mut request: Request<RecvStream>,
    answering: &mut SendResponse<Bytes>,
) -> Result<(), Refused> {
    let source = requester.source.clone();
    let Some(proxy) = &source.listener.proxy else { return Err(Misasked::Protocol.into()) };
    let Some(mut flow) = requester.begin() else { return Err(Refused::full()) };
    let login = request.headers_mut().remove(PROXY_AUTHORIZATION);
    log_in(requester, &mut flow, login).await?;
    let protocol = request.extensions_mut().remove::<Protocol>();
    let (lease, server, answer) = match protocol {
        None => {
            let (lease, server) = reach(requester, proxy, &mut flow, &request, None).await?;
            (lease, server, Response::new(()))
        }
        Some(protocol) => web_socket(requester, proxy, &mut flow, &request, &protocol).await?,
    };
    flow.connected(lease, false);
    flow.look_at_server(&server);
    let Ok(send) = answering.send_response(answer, false) else {
        flow.not_connected(Reason::ClientReset);
        return Ok(());
    };
    let client = Stream::layered(H2Stream::new(send, request.into_body(), ()));
    conn::carry(requester.worker.clone(), flow, client, server, FirstFlight::default()).await;
    Ok(())
}

fn misasked(flow: &mut Flow, why: Misasked) -> Refused {
    flow.turned_away(Stage::Ask, Reason::BadRequest(why));
    why.into()
}

/// Connects to the authority of a request.
async fn reach(
    requester: &Requester,
    proxy: &Proxy,
    flow: &mut Flow,
    request: &Request<RecvStream>,
    default_port: Option<u16>,
) -> Result<(Lease, Stream), Refused> {
    let Some(authority) = request.uri().authority() else {
        return Err(misasked(flow, Misasked::NotForProxy));
    };
    let destination = Destination::parse(authority.as_str(), default_port)
        .map_err(|error| misasked(flow, Misasked::Destination(error)))?;
    flow.guest().wanted = Some(destination.clone());
    match find_way(&requester.worker, flow, proxy, &destination).await {
        Ok(pool) => flow.guest().pool = Some(pool),
        Err(no_way) => {
            flow.turned_away(Stage::Route, no_way.reason);
            return Err(Refused::no_way(no_way, &destination));
        }
    }
    let reached = reach::reach(flow, reach::stays, &Speaks::Later, None, reach::nothing_kept).await;
    reached.map(|(lease, way)| (lease, way.stream())).ok_or_else(|| Refused::of(flow.reason(), &destination))
}

/// Opens a WebSocket over HTTP/1.1 for a client that asks for one on a stream of HTTP/2.
async fn web_socket(
    requester: &Requester,
    proxy: &Proxy,
    flow: &mut Flow,
    request: &Request<RecvStream>,
    protocol: &Protocol,
) -> Result<(Lease, Stream, Response<()>), Refused> {
    let is_http = request.uri().scheme_str() == Some("http");
    if protocol.as_str() != "websocket" || !is_http {
        return Err(misasked(flow, Misasked::NotForProxy));
    }
    let (lease, mut server) = reach(requester, proxy, flow, request, Some(80)).await?;
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut headers = request.headers().clone();
    fields::strip(&mut headers);
    // Ours are written here, and what belongs to the stream of HTTP/2 stays there.
    for name in [HOST, SEC_WEBSOCKET_KEY, CONTENT_LENGTH, FORWARDED] {
        headers.remove(name);
    }
    fields::add_via(&mut headers, Version::HTTP_2, proxy.via.as_deref());
    if proxy.forwarded {
        fields::set_forwarded(&mut headers, requester.client);
    }
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: {}\r\n",
        BASE64_STANDARD.encode(fastrand::u128(..).to_be_bytes())
    )
    .into_bytes();
    write_fields(&headers, &mut head);
    let broken = |flow: &mut Flow| {
        flow.not_connected(Reason::ServerReset);
        let wanted = flow.wanted().cloned();
        wanted
            .map_or_else(|| Misasked::NotForProxy.into(), |wanted| Refused::of(Reason::ServerReset, &wanted))
    };
    if server.send_all(&head, false).await.is_err() {
        return Err(broken(flow));
    }
    let limit = flow.pool().config.connect_timeout;
    let answer = timeout(limit, read_answer(server)).await.ok().flatten();
    let Some((answer, server)) = answer else { return Err(broken(flow)) };
    let (status, fields) = answer;
    if status != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        // The status is the server's to say (RFC 8441, section 5).
        flow.connected_with(&lease);
        flow.not_connected(Reason::Served);
        return Err(Refused::by_server(status));
    }
    let mut granted = Response::new(());
    for (name, value) in &fields {
        let wanted = ["sec-websocket-protocol", "sec-websocket-extensions"];
        if wanted.iter().any(|wanted| name.eq_ignore_ascii_case(wanted))
            && let (Ok(name), Ok(value)) =
                (name.parse::<hyper::header::HeaderName>(), value.as_slice().try_into())
        {
            granted.headers_mut().append(name, value);
        }
    }
    Ok((lease, server, granted))
}

fn write_fields(fields: &HeaderMap, to: &mut Vec<u8>) {
    for (name, value) in fields {
        to.extend_from_slice(name.as_str().as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value.as_bytes());
        to.extend_from_slice(b"\r\n");
    }
    to.extend_from_slice(b"\r\n");
}

/// The status and the fields of a server's answer.
type Answer = (u16, Vec<(String, Vec<u8>)>);

/// The head of a server's answer; what came behind it is left to be read.
async fn read_answer(mut server: Stream) -> Option<(Answer, Stream)> {
    let mut answer = Vec::new();
    loop {
        if let Some((head, length)) = response::parse(&answer).ok()? {
            let fields = head
                .fields
                .iter()
                .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec()));
            return Some(((head.status, fields.collect()), server.unread(&answer[length..])));
        }
        if server.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
}
