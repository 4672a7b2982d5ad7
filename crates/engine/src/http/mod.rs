//! The story of one request of HTTP, from its head to its record.

mod budget;
mod client;
mod clock;
mod edits;
mod exchange;
mod forwarded;
mod head;
mod idle;
mod own_answer;
mod pump;
mod respond;
mod routing;
mod server;
mod side;
mod streams;
mod weighed;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::StatusCode;
use towpath_config::{Http, Rules};

pub(crate) use client::serve;
pub(crate) use idle::Idle;

use self::clock::Clock;
use self::exchange::{Answering, Exchange, Failed, Times, Upload};
use self::head::Request;
use self::pump::{Break, Tap, poll_pump};
use self::server::Server;
use self::side::{Fault, Side};
use crate::error::Reason;
use crate::flow::{Flow, Meter, Stage};
use crate::inbound;
use crate::listen::{Seat, Source};
use crate::pool::{Lease, Pool};
use crate::worker::Worker;

/// Times where the configuration says nothing.
const BODY_PAUSE: Duration = Duration::from_secs(60);
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A client, and what its requests have in common.
pub(crate) struct Requester {
    worker: Rc<Worker>,
    source: Arc<Source>,
    client: Option<SocketAddr>,
    offset: u16,
    http: Arc<Http>,
}

impl Requester {
    fn new(worker: &Rc<Worker>, flow: &Flow, http: Arc<Http>) -> Rc<Self> {
        Rc::new(Self {
            worker: worker.clone(),
            // Requests have the place of their connection.
            source: Arc::new(flow.seat.source().within()),
            client: flow.client,
            offset: flow.offset,
            http,
        })
    }

    fn begin(&self) -> Option<Flow> {
        let seat = Seat::take_now(&self.source)?;
        Some(Flow::begin(self.worker.colleague(), seat, self.client, self.offset))
    }
}

/// What is to become of the connection of a client behind a request.
pub(super) enum Behind {
    /// It may ask again.
    Next,
    /// It is closed in order.
    Close,
    /// It is reset, since its answer is not whole.
    Cut,
    /// It has gone over to another protocol, with a server.
    Over(Box<(Flow, Lease, Server)>),
}

/// Serves a request; `is_last` says that its connection closes behind it.
pub(super) async fn serve_request(
    requester: &Requester,
    clock: &mut Clock,
    request: Request,
    client: &mut Side,
    is_last: bool,
) -> Behind {
    let Some(mut flow) = requester.begin() else {
        return answer_ourselves(client, &request, StatusCode::SERVICE_UNAVAILABLE, true).await;
    };
    let rules = &requester.http.rules;
    let pool = requester.source.pool.clone();
    clock.set_end(rules.request_timeout);
    let mut upload = Upload::new(&request, pool.config.http.replay_bytes, rules.body_bytes_max);
    if upload.is_too_long() {
        flow.turned_away(Stage::Ask, Reason::TooLarge);
        return answer_ourselves(client, &request, StatusCode::PAYLOAD_TOO_LARGE, true).await;
    }
    let mut exchange = Exchange {
        worker: &requester.worker,
        flow: &mut flow,
        clock,
        client,
        request: &request,
        pool: &pool,
        upload: &mut upload,
        times: times(rules),
        key: None,
        attempts: 0,
    };
    let Answering { server, lease, answer } = match exchange.answer().await {
        Ok(answering) => answering,
        Err(failed) => return fail(&mut flow, client, &request, &upload, failed, is_last).await,
    };
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        if request.upgrade.is_none() || answer.upgrade.is_none() {
            // A server that goes over unasked has lost its way.
            flow.not_connected(Reason::BadAnswer);
            return answer_ourselves(client, &request, StatusCode::BAD_GATEWAY, is_last).await;
        }
        respond::interim(client, &request, &answer);
        return Behind::Over(Box::new((flow, lease, server)));
    }
    let closes = is_last || !upload.is_over || requester.worker.is_draining();
    let closes = respond::begin(client, &request, &answer, closes);
    let mut passing = Passing { flow: &mut flow, clock, pause: times(rules).body, requester };
    let mut server = server;
    let passed = passing.pass(client, &mut server, &mut upload).await;
    server_is_done(requester, &pool, &lease, server, passed.is_ok() && upload.is_over);
    match passed {
        Ok(()) => {
            flow.not_connected(Reason::Served);
            if closes || !upload.is_over { Behind::Close } else { Behind::Next }
        }
        Err(reason) => {
            flow.not_connected(reason);
            client.cut();
            Behind::Cut
        }
    }
}

fn server_is_done(requester: &Requester, pool: &Arc<Pool>, lease: &Lease, server: Server, is_whole: bool) {
    if is_whole {
        server.leave(&requester.worker, pool, lease);
    }
}

fn times(rules: &Rules) -> Times {
    Times {
        body: rules.body_timeout.unwrap_or(BODY_PAUSE),
        answer: rules.answer_timeout.unwrap_or(ANSWER_TIME),
    }
}

/// An answer on its way to the client.
struct Passing<'a> {
    flow: &'a mut Flow,
    clock: &'a mut Clock,
    pause: Duration,
    requester: &'a Requester,
}

/// A body that is counted on its way down.
struct Down<'a>(&'a Flow, &'a mut bool);

impl Tap for Down<'_> {
    fn pass(&mut self, cx: &mut Context<'_>, data: &[u8], sink: &mut Side) {
        self.0.down(data.len() as u64);
        *self.1 = true;
        sink.put(cx, data);
    }

    fn rest(&mut self, _: &mut Context<'_>, _: &mut Side) {}

    fn end(&mut self, _: &mut Context<'_>, trailers: Option<HeaderMap>, sink: &mut Side) {
        sink.put_end(trailers);
    }
}

impl Passing<'_> {
    /// Moves the answer down, and what is left of the request up.
    async fn pass(
        &mut self,
        client: &mut Side,
        server: &mut Server,
        upload: &mut Upload,
    ) -> Result<(), Reason> {
        let (mut is_down, mut is_cut_off) = (false, false);
        self.clock.set(Some(self.pause));
        let buffers = &self.requester.worker.buffers;
        poll_fn(|cx| {
            let mut has_moved = false;
            let mut tap = Down(self.flow, &mut has_moved);
            let down = poll_pump(cx, &mut server.side, client, &mut is_down, &mut tap, buffers);
            match down {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(Break::Source(Fault::Http(_)))) => return Poll::Ready(Err(Reason::BadAnswer)),
                Poll::Ready(Err(Break::Source(_))) => return Poll::Ready(Err(Reason::ServerReset)),
                Poll::Ready(Err(Break::Sink(_))) => return Poll::Ready(Err(Reason::ClientReset)),
                Poll::Pending => {}
            }
            if !upload.is_over && !is_cut_off {
                match upload.poll(cx, self.flow, client, &mut server.side, buffers) {
                    Poll::Ready(Err(Break::Source(_))) => return Poll::Ready(Err(Reason::ClientReset)),
                    // It has answered without the rest.
                    Poll::Ready(Err(Break::Sink(_))) => is_cut_off = true,
                    Poll::Ready(Ok(())) => has_moved = true,
                    Poll::Pending => {}
                }
            } else if client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Reason::ClientReset));
            }
            if has_moved {
                self.clock.set(Some(self.pause));
            }
            self.clock.poll(cx).map(|()| Err(Reason::Idle))
        })
        .await
    }
}

/// Answers for servers that do not, or tells a client what is wrong with its request.
async fn fail(
    flow: &mut Flow,
    client: &mut Side,
    request: &Request,
    upload: &Upload,
    failed: Failed,
    is_last: bool,
) -> Behind {
    let is_last = is_last || !upload.is_over;
    let status = match failed {
        Failed::Server => match flow.reason() {
            Reason::NoBackend | Reason::BackendDown => StatusCode::SERVICE_UNAVAILABLE,
            reason => StatusCode::from_u16(inbound::status(reason)).unwrap_or(StatusCode::BAD_GATEWAY),
        },
        Failed::TooLong => {
            flow.turned_away(Stage::Ask, Reason::TooLarge);
            StatusCode::PAYLOAD_TOO_LARGE
        }
        Failed::Late => {
            flow.turned_away(Stage::Ask, Reason::BadRequest(crate::error::Misasked::Late));
            StatusCode::REQUEST_TIMEOUT
        }
        Failed::Client(fault) => {
            exchange::note_client(flow, fault);
            match fault {
                Fault::Http(fault) => {
                    StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST)
                }
                _ => {
                    client.cut();
                    return Behind::Cut;
                }
            }
        }
    };
    answer_ourselves(client, request, status, is_last).await
}

/// Sends an answer of our own.
async fn answer_ourselves(client: &mut Side, request: &Request, status: StatusCode, is_last: bool) -> Behind {
    let body = Bytes::from(format!("{status}\n"));
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let head = respond::head_of(status, fields, &body);
    let is_last = respond::begin(client, request, &head, is_last);
    let sent = poll_fn(|cx| {
        if respond::may_have_body(&request.method, status) {
            client.put(cx, &body);
        }
        client.put_end(None);
        Poll::Ready(())
    });
    sent.await;
    match poll_fn(|cx| client.poll_flush(cx)).await {
        Ok(()) if is_last => Behind::Close,
        Ok(()) => Behind::Next,
        Err(_) => Behind::Cut,
    }
}
