//! The story of one connection, from accept to its record.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::coop::consume_budget;
use tokio::task::spawn_local;
use tokio::time::timeout;
use towpath_config::{Balance, HashKey, OnDown, ProxyVersion};
use towpath_wire::client_hello;
use towpath_wire::proxy_header::{self, Addresses, Tlvs};
use towpath_wire::sniff::{self, Sniffed};

use crate::attempts::Failure;
use crate::chain;
use crate::error::{ConnectError, Reason};
use crate::first_flight::FirstFlight;
use crate::flow::{End, Flow, Stage};
use crate::forward;
use crate::http;
use crate::inbound::{self, Answer};
use crate::outbound::Connecting;
use crate::pool::{Backend, Lease, Picked, Pool, Standing, hash_key};
use crate::proxied::{self, Wish};
use crate::race::{News, Race};
use crate::relay::Relay;
use crate::route;
use crate::search::Search;
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
        return Box::pin(http::serve(worker, flow, client, first, book)).await;
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
async fn find_server(
    worker: Rc<Worker>,
    mut flow: Flow,
    mut client: Stream,
    first: FirstFlight,
    answer: Option<Answer>,
) {
    let hangup = |cx: &mut Context<'_>| client.poll_hangup(cx);
    let reached = reach(&mut flow, hangup, !first.is_empty(), None, nothing_kept).await;
    let Some((lease, mut server)) = reached.map(|(lease, way)| (lease, way.stream())) else {
        if let Some(answer) = answer {
            Box::pin(proxied::refuse(&flow, client, answer)).await;
        }
        return;
    };
    if let Some(introduction) = introduction(&mut flow, &client) {
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

/// A connection to a backend.
pub(crate) enum Way<K> {
    /// One that was made for this.
    New(Stream),
    /// One that was there.
    Kept(K),
}

impl Way<Infallible> {
    /// The connection, where there are only new ones.
    pub(crate) fn stream(self) -> Stream {
        match self {
            Self::New(stream) => stream,
        }
    }
}

/// For those that keep no connections.
pub(crate) fn nothing_kept(_: &Pool, _: &Lease) -> Option<Infallible> {
    None
}

/// For those that need not know when a client has gone.
pub(crate) fn stays(_: &mut Context<'_>) -> Poll<()> {
    Poll::Pending
}

/// Connects to the first server that answers: backends in the order of the pool's balance, none twice while another is
/// left, a second one beside the first when that is silent; and while none works, again, for as long as the pool holds
/// its clients.
///
/// `hangup` tells that the client has gone; `key` is the hash that the balance goes by, where it is not one of connections; `kept`
/// may have a connection to a backend already.
pub(crate) async fn reach<K>(
    flow: &mut Flow,
    mut hangup: impl FnMut(&mut Context<'_>) -> Poll<()>,
    speaks: bool,
    key: Option<u64>,
    kept: impl Fn(&Pool, &Lease) -> Option<K>,
) -> Option<(Lease, Way<K>)> {
    let pool = flow.pool().clone();
    let key = key.unwrap_or_else(|| hash_key(pool.config.balance, flow.client, flow.server_name()));
    let speaks = speaks || pool.config.send_proxy.is_some();
    let (mut search, mut race) = (Search::new(pool.clone()), Race::default());
    loop {
        let mut pause = None;
        if race.may_join() {
            let was_tried = |backend: &Backend| race.has(backend) || flow.has_tried(backend);
            match pick(&mut search, key, flow.preferred(), was_tried) {
                Picked::Backend(server) => {
                    flow.tries(&server);
                    if let Some(connection) = kept(&pool, &server) {
                        race.leave(&pool);
                        return Some((server, Way::Kept(connection)));
                    }
                    let begun = Instant::now();
                    let address = server.member.place.at(flow.offset);
                    match chain::connect(address, &server.member, &pool, flow.client, speaks) {
                        Ok(Connecting::Done(stream)) => {
                            pool.note_connected(&server, begun.elapsed());
                            race.leave(&pool);
                            return Some((server, Way::New(stream)));
                        }
                        Ok(Connecting::Pending(pending)) => race.join(server, pending, pool.hedge_after()),
                        Err(error) => {
                            note_failure(flow, &pool, &server, &error);
                            consume_budget().await;
                        }
                    }
                    continue;
                }
                nothing => {
                    race.close();
                    match search.wait(&nothing, flow.attempts()) {
                        Ok(time) => pause = Some(time),
                        Err(_) if !race.is_empty() => {}
                        Err(reason) => {
                            flow.not_connected(reason);
                            return None;
                        }
                    }
                }
            }
        }
        match unless_gone(flow, &mut hangup, news(&mut race, &search, pause)).await? {
            News::Reached(server, stream) => {
                race.leave(&pool);
                return Some((server, Way::New(stream)));
            }
            News::Failed(server, error) => note_failure(flow, &pool, &server, &error),
            News::Open => {
                search.start_round(flow.attempts());
                race.open();
            }
            News::Late => {
                race.leave(&pool);
                flow.not_connected(Reason::ConnectTimedOut);
                return None;
            }
        }
    }
}

/// A backend that was not tried: the one that the client has a cookie of, while it takes connections, or else by the balance.
fn pick(
    search: &mut Search,
    key: u64,
    preferred: Option<&Arc<Backend>>,
    was_tried: impl Fn(&Backend) -> bool,
) -> Picked {
    if let Some(preferred) = preferred
        && preferred.standing(Instant::now()) == Standing::Open
        && let picked @ Picked::Backend(_) =
            search.pick(key, |other| !other.is_same(preferred) || was_tried(other))
    {
        return picked;
    }
    search.pick(key, was_tried)
}

/// What happens next: in the race, or after a `pause`, before which a backend may come up.
async fn news(race: &mut Race, search: &Search, pause: Option<Duration>) -> News {
    let Some(pause) = pause else { return race.news(search.pool(), search.end()).await };
    if race.is_empty() {
        search.change(pause).await;
        return News::Open;
    }
    tokio::select! {
        biased;
        news = race.news(search.pool(), search.end()) => news,
        () = search.change(pause) => News::Open,
    }
}

fn note_failure(flow: &mut Flow, pool: &Pool, server: &Lease, error: &ConnectError) {
    let reason = Reason::from(error);
    tracing::debug!("pool {}: backend {}: {error}", pool.config.name, server.member.place);
    pool.note_failure(server, server.probe(), reason);
    flow.tries(server);
    flow.not_connected(reason);
    flow.attempts().failed(server, if error.may_pass() { Failure::Down } else { Failure::Never });
}

/// What `work` comes to, unless the client resets its connection before: that is noted.
async fn unless_gone<T>(
    flow: &mut Flow,
    hangup: &mut impl FnMut(&mut Context<'_>) -> Poll<()>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let result = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => hangup(cx).map(|()| None),
    })
    .await;
    if result.is_none() {
        flow.not_connected(Reason::ClientReset);
    }
    result
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
    }
}
