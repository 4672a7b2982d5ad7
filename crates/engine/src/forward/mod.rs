//! The story of the HTTP of one client of a proxy: its requests, each passed on to where it wants to go.

mod body;
mod connect;
mod fields;
mod gated;
mod request;
mod sender;
mod streams;
mod upgraded;

use std::cell::RefCell;
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
use towpath_config::Proxy;

use self::body::Leaving;
use self::gated::{GateKey, Gated, Left, Outcome};
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
    let patience = flow.idle_timeout().unwrap_or(KEEP_ALIVE);
    let (gated, gate) = Gated::new(client, std::mem::take(&mut first.0), proxy.header_timeout, patience);
    let requester = Requester::new(worker, flow, Some(gate.clone()));
    let (over, leaving) = (requester.over.clone(), requester.leaving.clone());
    let service = service_fn(move |request| request::serve_h1(requester.clone(), request));
    let serving = http1::Builder::new()
        .half_close(true)
        .preserve_header_case(true)
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(gated), service)
        .with_upgrades();
    flow.speaks_for_others();
    let mut serving = pin!(serving);
    // The draining is looked at each time, the order told only once.
    let mut draining = pin!(worker.draining());
    let mut is_told = false;
    let served = poll_fn(|cx| {
        if !is_told && draining.as_mut().poll(cx).is_ready() {
            is_told = true;
            serving.as_mut().graceful_shutdown();
        }
        let served = serving.as_mut().poll(cx);
        leaving.settle(&gate);
        served
    })
    .await;
    let is_cut = served.is_err();
    if let Err(error) = served {
        tracing::debug!("listener {}, client {:?}: {error}", flow.seat.listener.name, flow.client);
        if error.is_parse() {
            flow.speaks_for_itself();
            flow.turned_away(Stage::Ask, crate::error::Reason::BadRequest(Misasked::Protocol));
        }
    }
    let Some(Left { stream: client, held, outcome, in_body }) = gate.take() else {
        // The place of this connection is that of what it has become.
        over.notified().await;
        return None;
    };
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
