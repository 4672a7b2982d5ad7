//! One request: who asks, where it may go, and the answer.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode, Version};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};
use towpath_config::Proxy;
use towpath_wire::destination::Destination;

use super::body::{Coming, Down, Progress, SharedFlow, Up, Watch};
use super::sender::{Key, Sender};
use super::{PAUSE, Requester, fields, upgraded};
use crate::conn;
use crate::early::Speaks;
use crate::error::{HopError, HopFault, Misasked, Reason};
use crate::first_flight::FirstFlight;
use crate::flow::{Flow, Stage};
use crate::inbound;
use crate::pool::Pool;
use crate::proxied::{NoWay, find_way, told};
use crate::reach;
use crate::worker::Worker;

/// How long a server may take for the head of its answer, where no idle timeout says otherwise.
const ANSWER_TIME: Duration = Duration::from_secs(300);

pub(super) type Answer = Response<Down>;

/// Why a request is not passed on, and what its client is told.
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) told: String,
    pub(super) wants_login: bool,
    /// It did not come to its end: whoever serves the client answers, if anybody.
    is_cut: bool,
}

/// A request of which the client did not send all.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request did not come to its end")]
pub(super) struct Cut;

impl Refused {
    /// The server does not open a WebSocket.
    pub(super) fn by_server(status: u16) -> Self {
        let told = "the server opens no WebSocket there".to_owned();
        Self { status, told, wants_login: false, is_cut: false }
    }

    /// There is no place for another connection.
    pub(super) fn full() -> Self {
        let told = "too many connections".to_owned();
        Self { status: 503, told, wants_login: false, is_cut: false }
    }

    pub(super) fn of(reason: Reason, destination: &Destination) -> Self {
        Self::no_way(NoWay::from(reason), destination)
    }

    pub(super) fn no_way(NoWay { reason, judged }: NoWay, destination: &Destination) -> Self {
        let (status, told) = (inbound::status(reason), told(reason, destination, judged));
        Self { status, told, wants_login: false, is_cut: false }
    }
}

impl Refused {
    /// The same as an answer.
    pub(super) fn into_answer(self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut answer = own(status, &self.told);
        if self.wants_login {
            let challenge = HeaderValue::from_static("Basic realm=\"towpath\", charset=\"UTF-8\"");
            answer.headers_mut().insert(PROXY_AUTHENTICATE, challenge);
        }
        answer
    }
}

impl From<Misasked> for Refused {
    fn from(why: Misasked) -> Self {
        let status = inbound::http_status(why);
        Self { status, told: why.to_string(), wants_login: status == 407, is_cut: false }
    }
}

/// Serves one request of a client of HTTP/1.
pub(super) async fn serve_h1(
    requester: Rc<Requester>,
    mut request: Request<Incoming>,
) -> Result<Answer, Cut> {
    // Only those that ask for it go over to another protocol.
    let asks = fields::upgrade(request.headers()).is_some();
    let client_side = asks.then(|| hyper::upgrade::on(&mut request));
    requester.asked.set(requester.asked.get() + 1);
    requester.is_asking.set(true);
    let answer = serve(requester.clone(), request.map(Coming::H1), client_side).await;
    requester.is_asking.set(false);
    answer
}

/// Serves one request of a client; `client_side` is what is left of its connection when it goes over to another protocol.
pub(super) async fn serve(
    requester: Rc<Requester>,
    request: Request<Coming>,
    client_side: Option<OnUpgrade>,
) -> Result<Answer, Cut> {
    let asks_to_go_over = client_side.is_some();
    let answer = answer(&requester, request, client_side).await;
    let goes_over = answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::SWITCHING_PROTOCOLS);
    if let Some(gate) = requester.gate.as_ref().filter(|_| asks_to_go_over && !goes_over) {
        gate.stays();
    }
    answer
}

async fn answer(
    requester: &Rc<Requester>,
    request: Request<Coming>,
    client_side: Option<OnUpgrade>,
) -> Result<Answer, Cut> {
    let source = requester.source.clone();
    let Some(proxy) = &source.listener.proxy else { return Ok(own(StatusCode::BAD_GATEWAY, "no proxy")) };
    let Some(flow) = requester.begin() else { return Ok(Refused::full().into_answer()) };
    match pass_on(requester, proxy, flow, request, client_side).await {
        Err(refused) if refused.is_cut => Err(Cut),
        result => Ok(result.unwrap_or_else(Refused::into_answer)),
    }
}

/// Who a client is by the field of its request.
pub(super) async fn log_in(
    requester: &Requester,
    flow: &mut Flow,
    field: Option<HeaderValue>,
) -> Result<(), Refused> {
    let Some(users) = &requester.source.users else { return Ok(()) };
    let ip = requester.client.map(|client| client.ip());
    match inbound::log_in(users, ip, field.as_ref().map(HeaderValue::as_bytes)).await {
        Ok(user) => {
            flow.guest().user = Some(user);
            Ok(())
        }
        Err(why) => {
            flow.turned_away(Stage::Ask, Reason::BadRequest(why));
            Err(why.into())
        }
    }
}

/// Where a request of the absolute form goes.
fn destination(request: &Request<Coming>) -> Result<(Destination, String), Misasked> {
    let uri = request.uri();
    // Some clients of WebSocket write its own scheme.
    let is_http = uri
        .scheme_str()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws"));
    let authority = uri.authority().filter(|_| is_http).ok_or(Misasked::NotForProxy)?;
    let destination = Destination::parse(authority.as_str(), Some(80)).map_err(Misasked::Destination)?;
    Ok((destination, authority.as_str().to_owned()))
}

async fn pass_on(
    requester: &Rc<Requester>,
    proxy: &Proxy,
    mut flow: Flow,
    mut request: Request<Coming>,
    client_side: Option<OnUpgrade>,
) -> Result<Answer, Refused> {
    let login = request.headers_mut().remove(PROXY_AUTHORIZATION);
    log_in(requester, &mut flow, login).await?;
    let (destination, authority) = destination(&request).map_err(|why| {
        flow.turned_away(Stage::Ask, Reason::BadRequest(why));
        Refused::from(why)
    })?;
    flow.guest().wanted = Some(destination.clone());
    let upgrade = fields::upgrade(request.headers()).filter(|_| client_side.is_some());
    let (mut parts, body) = request.into_parts();
    let version = parts.version;
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    fields::strip(&mut parts.headers);
    if let Some(upgrade) = &upgrade {
        parts.headers.insert(UPGRADE, upgrade.clone());
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    fields::add_via(&mut parts.headers, version, proxy.via.as_deref());
    if proxy.forwarded {
        fields::set_forwarded(&mut parts.headers, requester.client);
    }
    let parent = requester.source.pool.parent();
    match &parent {
        // Another proxy of HTTP takes the request as it is: many let nobody CONNECT to port 80.
        Some((_, login)) => fields::address_proxy(&mut parts, &authority, login.as_ref()),
        None => fields::address_server(&mut parts, &authority),
    }
    .ok_or(Misasked::NotForProxy)?;
    let has_parent = parent.is_some();
    let flow = Rc::new(RefCell::new(flow));
    let progress = Rc::new(Progress { has_failed: Cell::new(false), last: Cell::new(Instant::now()) });
    let request = Request::from_parts(parts, Up::new(body, length, flow.clone(), progress.clone()));
    let sending = send(requester, proxy, &flow, &destination, request, parent.map(|(pool, _)| pool));
    let limit = flow.borrow().idle_timeout().unwrap_or(ANSWER_TIME);
    let sent = match unless_idle(sending, &progress, limit).await {
        Some(sent) => sent,
        None => {
            flow.borrow_mut().not_connected(Reason::AnswerTimedOut);
            Err(Refused::of(Reason::AnswerTimedOut, &destination))
        }
    };
    if sent.is_err() && progress.has_failed.get() {
        // The server has broken nothing: it was our end that told it.
        let fault = requester.gate.as_ref().and_then(|gate| gate.fault());
        let reason = fault.map_or(Reason::ClientReset, Reason::BadRequest);
        flow.borrow_mut().turned_away(Stage::Ask, reason);
        let refused = Refused::of(reason, &destination);
        return Err(Refused { is_cut: true, ..refused });
    }
    let (mut answer, sender) = sent?;
    if has_parent && answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        // It is we who are not known there, not the client.
        let number = u8::try_from(requester.source.pool.hops.len()).unwrap_or(u8::MAX);
        let reason = Reason::Hop(HopError { number, fault: HopFault::Login });
        flow.borrow_mut().not_connected(reason);
        return Err(Refused::of(reason, &destination));
    }
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return go_over(requester, flow, answer, client_side, upgrade);
    }
    let version = answer.version();
    fields::strip(answer.headers_mut());
    fields::add_via(answer.headers_mut(), version, proxy.via.as_deref());
    keep(requester, sender);
    *answer.version_mut() = Version::HTTP_11;
    let limit = flow.borrow().idle_timeout().unwrap_or(PAUSE);
    let client = requester.gate.clone().map(|gate| (gate, requester.leaving.clone()));
    let watch = Watch::new(client, limit);
    Ok(answer.map(|incoming| Down::Passed { incoming, flow, watch }))
}

/// What `sending` comes to; `None` once no part of the request has gone on for `limit`, and no answer has come.
async fn unless_idle<T>(sending: impl Future<Output = T>, progress: &Progress, limit: Duration) -> Option<T> {
    let mut sending = pin!(sending);
    loop {
        let last = progress.last.get();
        match timeout_at(last + limit, sending.as_mut()).await {
            Ok(sent) => return Some(sent),
            Err(_) if progress.last.get() == last => return None,
            Err(_) => {}
        }
    }
}

/// Keeps a connection for the next request, once it is ready for it.
fn keep(requester: &Rc<Requester>, mut sender: Sender) {
    let requester = Rc::downgrade(requester);
    spawn_local(async move {
        if sender.requests.ready().await.is_ok()
            && let Some(requester) = requester.upgrade()
        {
            requester.idle.borrow_mut().put(sender);
        }
    });
}

/// Sends a request on a connection that is there, or on a new one. One that was there may have been closed by its server in
/// the meantime: what was not sent is sent again.
#[expect(
    clippy::await_holding_refcell_ref,
    reason = "nobody else has the story before there is a connection"
)]
async fn send(
    requester: &Rc<Requester>,
    proxy: &Proxy,
    flow: &SharedFlow,
    destination: &Destination,
    mut request: Request<Up>,
    parent: Option<Pool>,
) -> Result<(Response<Incoming>, Sender), Refused> {
    let to = match parent {
        // One connection to a parent serves all destinations, so each is judged.
        Some(_) => {
            let way = find_way(&requester.worker, &flow.borrow(), proxy, destination).await;
            way.map_err(|no_way| no_way_for(&mut flow.borrow_mut(), no_way, destination))?;
            "parent".to_owned()
        }
        None => destination.to_string(),
    };
    let key: Key = (to, flow.borrow().user());
    // A place in between would hold its cell over a wait.
    let reused = requester.idle.borrow_mut().take(&key);
    if let Some(mut sender) = reused {
        flow.borrow_mut().goes_out_on(&sender.pool, &sender.backend);
        let again = Up::again(&request);
        match sender.requests.try_send_request(request).await {
            Ok(answer) => return Ok((answer, sender)),
            // Its server may have closed it just then.
            Err(mut error) => match error.take_message().or(again) {
                Some(unsent) => request = unsent,
                None => return Err(broken(flow, destination)),
            },
        }
    }
    let mut sender = connect(requester, proxy, flow, destination, key, parent).await?;
    match sender.requests.send_request(request).await {
        Ok(answer) => Ok((answer, sender)),
        Err(error) => {
            tracing::debug!("{destination}: {error}");
            Err(broken(flow, destination))
        }
    }
}

fn no_way_for(flow: &mut Flow, no_way: NoWay, destination: &Destination) -> Refused {
    flow.turned_away(Stage::Route, no_way.reason);
    Refused::no_way(no_way, destination)
}

fn broken(flow: &SharedFlow, destination: &Destination) -> Refused {
    flow.borrow_mut().not_connected(Reason::ServerReset);
    Refused::of(Reason::ServerReset, destination)
}

#[expect(
    clippy::await_holding_refcell_ref,
    reason = "nobody else has the story before there is a connection"
)]
async fn connect(
    requester: &Rc<Requester>,
    proxy: &Proxy,
    flow: &SharedFlow,
    destination: &Destination,
    key: Key,
    parent: Option<Pool>,
) -> Result<Sender, Refused> {
    let mut flow = flow.borrow_mut();
    let way = find_way(&requester.worker, &flow, proxy, destination).await;
    let pool = way.map_err(|no_way| no_way_for(&mut flow, no_way, destination))?;
    let pool = parent.map_or(pool, Arc::new);
    flow.guest().pool = Some(pool.clone());
    let reached = reach::reach(&mut flow, reach::stays, &Speaks::AtOnce, None, reach::nothing_kept).await;
    let (lease, way) = reached.ok_or_else(|| Refused::of(flow.reason(), destination))?;
    let stream = way.stream();
    flow.connected_with(&lease);
    flow.look_at_server(&stream);
    Sender::new(stream, lease, pool, key).await.map_err(|_| {
        flow.not_connected(Reason::ServerReset);
        Refused::of(Reason::ServerReset, destination)
    })
}

/// Both sides go over to another protocol: the relay carries it.
fn go_over(
    requester: &Rc<Requester>,
    flow: SharedFlow,
    mut answer: Response<Incoming>,
    client_side: Option<OnUpgrade>,
    upgrade: Option<HeaderValue>,
) -> Result<Answer, Refused> {
    // A server that goes over unasked has lost its way.
    let (Some(client_side), Some(_)) = (client_side, upgrade) else {
        return Err(Misasked::NotForProxy.into());
    };
    let server_side = hyper::upgrade::on(&mut answer);
    let agreed = fields::upgrade(answer.headers());
    fields::strip(answer.headers_mut());
    if let Some(agreed) = agreed {
        answer.headers_mut().insert(UPGRADE, agreed);
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(gate) = &requester.gate {
        gate.goes_over();
    }
    let (worker, over) = (requester.worker.clone(), requester.over.clone());
    spawn_local(async move {
        carry(worker, flow, join(client_side, server_side)).await;
        over.notify_one();
    });
    Ok(answer.map(|_| Down::Own(None)))
}

/// Carries what both sides have gone over to.
async fn carry(
    worker: Rc<Worker>,
    flow: SharedFlow,
    sides: impl Future<Output = (hyper::Result<Upgraded>, hyper::Result<Upgraded>)>,
) {
    let (Ok(client), Ok(server)) = sides.await else {
        return tracing::debug!("a connection broke before it went over to another protocol");
    };
    let (Ok(client), Ok(server)) = (upgraded::into_stream(client), upgraded::into_stream(server)) else {
        return tracing::debug!("a connection that goes over to another protocol is of an unknown kind");
    };
    match Rc::try_unwrap(flow) {
        Ok(flow) => {
            let mut flow = flow.into_inner();
            flow.goes_over();
            conn::carry(worker, flow, client, server, FirstFlight::default()).await;
        }
        Err(_) => tracing::debug!("a request that has gone over to another protocol is not over"),
    }
}

/// An answer of our own: a line for people.
pub(super) fn own(status: StatusCode, told: &str) -> Answer {
    let mut answer = Response::new(Down::Own(Some(Bytes::from(format!("{told}\n")))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
