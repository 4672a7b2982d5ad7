//! The story of the HTTP of one client of a proxy: its requests, each passed on to where it wants to go.

mod body;
mod connect;
mod fields;
mod gated;
mod request;
mod sender;
mod streams;
mod upgraded;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::sleep;
use towpath_config::Proxy;

use self::gated::{GateKey, Gated, Leaving, Left, Outcome};
use self::sender::Idle;
use crate::error::Misasked;
use crate::first_flight::FirstFlight;
use crate::flow::{Flow, Stage};
use crate::inbound;
use crate::listen::{Seat, Source};
use crate::proxied::part;
use crate::record::SocketFacts;
use crate::stream::Stream;
use crate::worker::Worker;

pub(crate) use streams::serve as serve_h2;

/// A client that asks nothing for so long is left, if the listener has no idle timeout of its own.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long an answer may pause between two of its parts, and its client take none of it, likewise: events come seldom.
const PAUSE: Duration = Duration::from_secs(3600);

/// A client that rests in a drain may have sent its next request just now: it has so long to come, and is the last.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// A client of a proxy that speaks HTTP, and what its requests have in common.
pub(crate) struct Requester {
    worker: Rc<Worker>,
    source: Arc<Source>,
    client: Option<SocketAddr>,
    client_socket: Option<Arc<SocketFacts>>,
    offset: u16,
    /// Connections to servers that may serve its next requests.
    idle: RefCell<Idle>,
    /// What holds back what the client of HTTP/1 sends.
    gate: Option<GateKey>,
    /// Its answers that come behind the gate.
    leaving: Rc<Leaving>,
    /// How many requests of HTTP/1 have come, and whether the last of them waits for its answer to begin.
    asked: Cell<u64>,
    is_asking: Cell<bool>,
    /// Told when a request that has gone over to another protocol is over.
    over: Rc<Notify>,
}

impl Requester {
    fn new(worker: &Rc<Worker>, flow: &Flow, gate: Option<GateKey>) -> Rc<Self> {
        Rc::new(Self {
            worker: worker.clone(),
            // Requests of HTTP/1 come one after another: they have the place of their connection.
            source: match &gate {
                Some(_) => Arc::new(flow.seat.source().within()),
                None => flow.seat.source().clone(),
            },
            client: flow.client,
            client_socket: flow.client_socket(),
            offset: flow.offset,
            idle: RefCell::default(),
            gate,
            leaving: Rc::default(),
            asked: Cell::default(),
            is_asking: Cell::default(),
            over: Rc::default(),
        })
    }

    /// The story of one of its requests, which has a place of its own; `None` when there is none.
    fn begin(&self) -> Option<Flow> {
        let seat = Seat::take_now(&self.source)?;
        let mut flow = Flow::begin(self.worker.colleague(), seat, self.client, self.offset);
        flow.has_client_socket(self.client_socket.clone());
        Some(flow)
    }
}

/// Serves the requests of a client of HTTP/1. It comes back when it asks for a tunnel: what it has sent is in `first` then.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    flow: &mut Flow,
    client: Stream,
    first: &mut FirstFlight,
    proxy: &Proxy,
) -> Option<Stream> {
    let (patience, pause) = (flow.idle_timeout().unwrap_or(KEEP_ALIVE), flow.idle_timeout().unwrap_or(PAUSE));
    let (gated, gate) =
        Gated::new(client, std::mem::take(&mut first.0), proxy.header_timeout, patience, pause);
    let requester = Requester::new(worker, flow, Some(gate.clone()));
    let over = requester.over.clone();
    let asking = requester.clone();
    let service = service_fn(move |request| request::serve_h1(asking.clone(), request));
    let serving = http1::Builder::new()
        .half_close(true)
        .preserve_header_case(true)
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(gated), service)
        .with_upgrades();
    flow.speaks_for_others();
    let mut serving = Box::pin(serving);
    let mut draining = pin!(worker.draining());
    // In a drain: how many requests had come by then, and how long another is waited for.
    let mut farewell = None;
    let mut is_told = false;
    let served = poll_fn(|cx| {
        let mut served = serving.as_mut().poll(cx);
        if farewell.is_none() && draining.as_mut().poll(cx).is_ready() {
            farewell = Some((requester.asked.get(), Box::pin(sleep(LAST_REQUEST))));
        }
        if let Some((before, clock)) = &mut farewell
            && served.is_pending()
            && !is_told
            && (requester.is_asking.get()
                || requester.asked.get() > *before
                || clock.as_mut().poll(cx).is_ready())
        {
            is_told = true;
            serving.as_mut().graceful_shutdown();
            served = serving.as_mut().poll(cx);
        }
        requester.leaving.settle(&gate);
        served
    })
    .await;
    // With it goes what was under way, which tells its story.
    drop(serving);
    let is_cut = served.is_err();
    if let Err(error) = served {
        tracing::debug!("listener {}, client {:?}: {error}", flow.seat.listener.name, flow.client);
        if error.is_parse() {
            flow.speaks_for_itself();
            flow.turned_away(Stage::Ask, crate::error::Reason::BadRequest(Misasked::Protocol));
        }
    }
    if requester.leaving.has_stalled() {
        return None;
    }
    let Some(left) = gate.take() else {
        // The place of this connection is that of what it has become.
        over.notified().await;
        return None;
    };
    leave(left, flow, first, is_cut).await
}

/// Ends the connection of a client whose requests are served, of which the last `is_cut` or not; or hands it out for a tunnel.
async fn leave(left: Left, flow: &mut Flow, first: &mut FirstFlight, is_cut: bool) -> Option<Stream> {
    let Left { stream: client, held, outcome, in_body } = left;
    match outcome {
        Outcome::Connect => {
            first.0 = held;
            flow.speaks_for_itself();
            return Some(client);
        }
        Outcome::Bad(why) => {
            if !in_body {
                flow.speaks_for_itself();
            }
            flow.turned_away(Stage::Ask, crate::error::Reason::BadRequest(why));
            part(client, &inbound::http_refusal(why).parting).await;
        }
        // An answer that was cut must not look complete: its length may be told by the end alone.
        Outcome::Ended if is_cut => crate::relay::deliver(client).await,
        Outcome::Ended => {
            if let Some(finishing) = client.finish() {
                finishing.await;
            }
        }
    }
    None
}
