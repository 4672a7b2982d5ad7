//! The story of one connection, from accept to its record.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::mem::take;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::timeout;
use towpath_config::{Balance, HashKey, OnDown, ProxyVersion};
use towpath_wire::client_hello;
use towpath_wire::proxy_header::{self, Addresses, Tlvs};
use towpath_wire::sniff::{self, Sniffed};

use crate::attempts::Failure;
use crate::early::{Early, Speaks};
use crate::error::Reason;
use crate::far;
use crate::first_flight::FirstFlight;
use crate::flow::{End, Flow, Stage};
use crate::forward;
use crate::http;
use crate::inbound::{self, Answer};
use crate::proxied::{self, Wish};
use crate::reach::{nothing_kept, reach};
use crate::relay::Relay;
use crate::route;
use crate::stream::Stream;
use crate::tls::Accepted;
use crate::worker::Worker;

/// How long a client may take to say which server it wants, where that matters.
const NAME_TIME: Duration = Duration::from_millis(500);

/// How long a client may take for the handshake of TLS.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A server that breaks so soon without a word counts as one that fails. Later, it may be of a protocol in which servers only
/// listen.
const EARLY: Duration = Duration::from_secs(5);

/// Brings one accepted client to a server.
///
/// The client's socket is reset on every way out but the orderly one, so a client that could not be served, or whose
/// stream was cut, knows it. The record is that of `flow`, when it is dropped.
pub(crate) async fn serve(worker: Rc<Worker>, mut flow: Flow, mut client: Stream) {
    let mut first = FirstFlight::default();
    if !identify(&worker, &mut flow, &mut client, &mut first).await || !admit(&mut flow) {
        return;
    }
    if flow.seat.listener.tls.is_some() {
        let Some(within) = Box::pin(shake_hands(&mut flow, client, &mut first)).await else { return };
        client = within;
    }
    flow.look_at_client(&client);
    if let Some(far) = flow.seat.far.clone() {
        return Box::pin(far::serve(worker, flow, client, first, far)).await;
    }
    first.take_more(&mut client, &worker.buffers).await;
    if let Some(proxy) = &flow.seat.listener.clone().proxy {
        // Where to go is the client's to say.
        loop {
            let asking = Box::pin(proxied::ask(&worker, &mut flow, client, &mut first, proxy));
            client = match asking.await {
                Wish::Tunnel(client, answer) => {
                    return find_server(worker, flow, client, first, Some(answer)).await;
                }
                Wish::Requests(client) => {
                    let serving = Box::pin(forward::serve(&worker, &mut flow, client, &mut first, proxy));
                    let Some(client) = serving.await else { return };
                    client
                }
                Wish::Streams(client) => {
                    return Box::pin(forward::serve_h2(&worker, &mut flow, client, first)).await;
                }
                Wish::None => return,
            };
        }
    }
    if let Some(book) = flow.seat.rulebook.clone() {
        // A task of its own is smaller than this one with room for all that others need.
        spawn_local(http::serve(worker, flow, client, first, book));
        return;
    }
    if !flow.seat.listener.routes.is_empty()
        && !Box::pin(take_route(&worker, &mut flow, &mut client, &mut first)).await
    {
        return;
    }
    if wants_name(&flow, &first) {
        Box::pin(ask_for_name(&worker, &mut flow, &mut client, &mut first)).await;
    }
    find_server(worker, flow, client, first, None).await;
}

/// Takes the client's PROXY header where the listener wants one; false when the client is not taken.
async fn identify(worker: &Worker, flow: &mut Flow, client: &mut Stream, first: &mut FirstFlight) -> bool {
    let listener = flow.seat.listener.clone();
    let Some(wanted) = &listener.proxy_header else { return true };
    let peer = flow.client;
    match Box::pin(inbound::identify(wanted, peer, client, first, &worker.buffers)).await {
        Ok(header) => flow.identified(header),
        Err(error) => {
            tracing::debug!("listener {}, client {peer:?}: {error}", listener.name);
            flow.turned_away(Stage::Identify, Reason::BadProxyHeader(error));
            return false;
        }
    }
    true
}

/// Shakes hands with a client that has to speak TLS: what it says within.
async fn shake_hands(flow: &mut Flow, mut client: Stream, first: &mut FirstFlight) -> Option<Stream> {
    client = client.unread(&std::mem::take(&mut first.0));
    let tls = flow.seat.tls.clone();
    let shaking = async { tls.ok_or(ErrorKind::NotFound)?.accept(client).await };
    match timeout(HANDSHAKE_TIME, shaking).await.unwrap_or(Err(ErrorKind::TimedOut.into())) {
        Ok(Accepted { stream, server_name, alpn }) => {
            let guest = flow.guest();
            (guest.server_name, guest.alpn) = (server_name.or(guest.server_name.take()), alpn);
            Some(stream)
        }
        Err(error) => {
            tracing::debug!("listener {}, client {:?}: TLS: {error}", flow.seat.listener.name, flow.client);
            flow.turned_away(Stage::Identify, Reason::ClientTls);
            None
        }
    }
}

/// Lets the client in as the rules of the listener say.
fn admit(flow: &mut Flow) -> bool {
    match flow.seat.gatekeeper.admit(flow.client.map(|client| client.ip()), Instant::now()) {
        Ok(None) => true,
        Ok(pass) => {
            flow.guest().pass = pass;
            true
        }
        Err(refusal) => {
            flow.seat.note_refused(flow.client, refusal.as_str());
            flow.turned_away(Stage::Admit, Reason::Refused);
            false
        }
    }
}

/// Chooses the pool by the first bytes of the client; false when none is for it.
async fn take_route(worker: &Worker, flow: &mut Flow, client: &mut Stream, first: &mut FirstFlight) -> bool {
    let source = flow.seat.source().clone();
    let mut sniffed = sniff::sniff(&first.0);
    let waiting = async {
        while sniffed == Sniffed::Incomplete && first.wait_for_more(client, &worker.buffers).await {
            sniffed = sniff::sniff(&first.0);
        }
    };
    // Whoever waits for the server to speak is one of the rest.
    let _ = timeout(source.listener.first_bytes_timeout, waiting).await;
    let routes = source.listener.routes.iter().zip(&source.route_pools);
    let found = routes.into_iter().find(|(route, _)| route::matches(&route.matches, &sniffed));
    if let Sniffed::Tls(hello) = sniffed {
        flow.guest().server_name = hello.server_name;
    }
    match found {
        Some((_, pool)) => flow.guest().pool = Some(pool.clone()),
        None if source.listener.refuses_rest => {
            flow.turned_away(Stage::Route, Reason::NoRoute);
            return false;
        }
        None => {}
    }
    true
}

/// Whether the server name is to be had from the client: to balance by it, or to tell servers, for which nothing waits that
/// has not begun.
fn wants_name(flow: &Flow, first: &FirstFlight) -> bool {
    let pool = &flow.pool().config;
    let balances = pool.balance == Balance::Hash(HashKey::Sni);
    let tells = pool.send_proxy == Some(ProxyVersion::V2) && !first.is_empty();
    (balances || tells) && flow.server_name().is_none()
}

/// Waits for the client's ClientHello, for a while: a client of another protocol has no name.
async fn ask_for_name(worker: &Worker, flow: &mut Flow, client: &mut Stream, first: &mut FirstFlight) {
    let waiting = async {
        while client_hello::sniff(&first.0) == client_hello::Sniffed::Incomplete
            && first.wait_for_more(client, &worker.buffers).await
        {}
    };
    // A server that speaks first has its client wait for nothing longer than this.
    let _ = timeout(NAME_TIME, waiting).await;
    if let client_hello::Sniffed::Hello(hello) = client_hello::sniff(&first.0) {
        flow.guest().server_name = hello.server_name;
    }
}

/// The PROXY header that the server gets before the client's first byte.
fn introduction(flow: &mut Flow, client: &Stream) -> Option<Vec<u8>> {
    let version = flow.pool().config.send_proxy?;
    if version == ProxyVersion::V2 && flow.unique_id().is_none() {
        // Kept, so that a second server is told the same.
        flow.guest().unique_id = Some(format!("{:032x}", fastrand::u128(..)).into_bytes());
    }
    let header = flow.header();
    let known = header.and_then(|header| header.addresses);
    let addresses =
        known.or_else(|| Some(Addresses { source: flow.client?, destination: client.local_address()? }));
    let mut bytes = Vec::new();
    match version {
        ProxyVersion::V1 => proxy_header::write_v1(addresses, &mut bytes),
        ProxyVersion::V2 => {
            let tlvs = Tlvs {
                authority: flow.server_name(),
                alpn: flow.alpn(),
                unique_id: flow.unique_id(),
                checksum: true,
            };
            proxy_header::write_v2(addresses, &tlvs, &mut bytes);
        }
    }
    Some(bytes)
}

/// Finds a server for a client and goes on to [`carry`], here or on another worker. A client that waits for an `answer` gets
/// it first.
pub(crate) async fn find_server(
    worker: Rc<Worker>,
    mut flow: Flow,
    mut client: Stream,
    mut first: FirstFlight,
    answer: Option<Answer>,
) {
    let introduction = introduction(&mut flow, &client);
    let speaks = match answer {
        // Who waits for an answer says nothing before.
        None if flow.pool().ends_with_tunnel() && flow.pool().tls.is_none() => {
            let told = introduction.clone().unwrap_or_default();
            Speaks::Early(Early::new(told, take(&mut first), flow.pool().config.replay))
        }
        _ if first.is_empty() => Speaks::Later,
        _ => Speaks::AtOnce,
    };
    let hangup = |cx: &mut Context<'_>| {
        if let Some(early) = speaks.early() {
            early.take_more(&mut client, &worker.buffers, cx);
        }
        client.poll_hangup(cx)
    };
    let reached = reach(&mut flow, hangup, &speaks, None, nothing_kept).await;
    if let Some(early) = speaks.early() {
        first = early.end();
    }
    let Some((lease, mut server)) = reached.map(|(lease, way)| (lease, way.stream())) else {
        if let Some(answer) = answer {
            Box::pin(proxied::refuse(&flow, client, answer)).await;
        }
        return;
    };
    if let Some(introduction) = introduction {
        let limit = flow.pool().config.connect_timeout;
        let sending = server.send_all(&introduction, !first.is_empty());
        // On a new connection there is nearly always room. If it broke, the relay meets that.
        if timeout(limit, sending).await.is_err() {
            flow.tries(&lease);
            flow.not_connected(Reason::ConnectTimedOut);
            return;
        }
    }
    flow.connected(lease, !first.is_empty());
    flow.look_at_server(&server);
    if let Some(answer) = answer
        && client.send_all(&answer.granted(), false).await.is_err()
    {
        flow.not_connected(Reason::ClientReset);
        return;
    }
    worker.go_on(flow, client, server, first);
}

/// Carries the bytes of both sides until both have ended.
///
/// A task of its own: a live connection keeps no room for what connecting took.
pub(crate) fn carry(
    worker: Rc<Worker>,
    mut flow: Flow,
    client: Stream,
    server: Stream,
    first: FirstFlight,
) -> impl Future<Output = ()> {
    let throttle = flow.throttle();
    let idle_timeout = flow.idle_timeout();
    let mut relay = Relay::new(client, server, first, idle_timeout, throttle, &flow.pool().config);
    let mut down = goes_down(&flow);
    async move {
        let end = poll_fn(|cx| {
            if let Some(down) = &mut down
                && down.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(End::BackendDown);
            }
            relay.poll(cx, &worker.buffers, &flow)
        })
        .await;
        if let Some(first) = try_another(&mut flow, &mut relay, end) {
            spawn_local(find_server(worker, flow, relay.into_client(), first, None));
            return;
        }
        flow.ended(end);
        relay.show_sockets(&mut flow);
        if let Some(last_bytes) = relay.close(end) {
            last_bytes.await;
        }
    }
}

/// Waits until the backend is found down, where the pool does not let its connections go on then.
fn goes_down(flow: &Flow) -> Option<Pin<Box<impl Future<Output = ()> + use<>>>> {
    if flow.pool().config.on_down == OnDown::Keep {
        return None;
    }
    let backend = flow.backend()?.clone();
    Some(Box::pin(async move { backend.goes_down().await }))
}

/// All that the client has sent, when the server broke before its first byte, or was found down, and another may get it.
fn try_another(flow: &mut Flow, relay: &mut Relay, end: End) -> Option<FirstFlight> {
    let (up, down) = flow.carried();
    let is_break = end.is_servers_break();
    if !flow.may_change_server() {
        return None;
    }
    if down > 0 || !(is_break || end == End::BackendDown) {
        return None;
    }
    if is_break && let Some(backend) = flow.backend().filter(|_| flow.since_connected() < EARLY) {
        flow.pool().note_failure(backend, flow.probe(), Reason::ServerReset);
    }
    if !(if is_break { flow.has_another() } else { flow.has_other() }) {
        return None;
    }
    let first = relay.take_back(up)?;
    flow.starts_again(if is_break { Failure::Broke } else { Failure::Down });
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_takes_little_memory() {
        let bytes = size_of_future(carry);
        assert!(bytes <= 400, "the task of a connection has grown to {bytes} bytes");
        let bytes = size_of_future(http::serve);
        assert!(bytes <= 1450, "the task of a client of HTTP has grown to {bytes} bytes");
    }
}
