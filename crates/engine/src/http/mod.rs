//! The story of one request of HTTP, from its head to its record.

mod budget;
mod client;
mod clock;
mod compress;
mod edits;
mod entry;
mod exchange;
mod forwarded;
mod head;
mod hedge;
mod idle;
mod mirror;
mod own_answer;
mod passing;
mod pump;
mod respond;
mod routing;
mod server;
mod side;
mod streams;
mod toward;
mod trace;
mod upload;
mod warm;
mod weighed;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use towpath_config::{Http, Rules};
use towpath_wire::http1::HeadFault;

pub(crate) use budget::Budget;
pub(crate) use client::serve;
pub(crate) use idle::Idle;
use idle::Way;
pub(crate) use warm::keep_warm;

use self::clock::Clock;
use self::entry::{Admitted, Facts, To};
use self::exchange::{Answering, Exchange, Failed, Order, Times};
use self::forwarded::Told;
use self::head::{Answer, Request};
use self::own_answer::Own;
use self::passing::Passing;
use self::respond::ourselves;
use self::server::Server;
use self::side::{Fault, Side};
use self::upload::Upload;
use crate::error::{Misasked, Reason};
use crate::flow::{Flow, Stage};
use crate::listen::{Seat, Source};
use crate::pool::{Backend, Lease};
use crate::record::SocketFacts;
use crate::rulebook::{PoolAtWork, Rulebook};
use crate::worker::Worker;

/// A client, and what its requests have in common.
pub(crate) struct Requester {
    worker: Rc<Worker>,
    source: Arc<Source>,
    /// Where its connection came in.
    came_in: Arc<Source>,
    book: Arc<Rulebook>,
    client: Option<SocketAddr>,
    client_socket: Option<Arc<SocketFacts>>,
    /// What servers are told of its address.
    told: Option<Told>,
    offset: u16,
    is_tls: bool,
    /// The server name that it asked for in TLS.
    server_name: Option<String>,
}

impl Requester {
    fn new(worker: &Rc<Worker>, flow: &Flow, book: Arc<Rulebook>) -> Rc<Self> {
        Rc::new(Self {
            worker: worker.clone(),
            // Requests have the place of their connection.
            source: Arc::new(flow.seat.source().within()),
            came_in: flow.seat.source().clone(),
            book,
            client: flow.client,
            client_socket: flow.client_socket(),
            told: flow.client.and_then(|client| Told::new(client.ip())),
            offset: flow.offset,
            is_tls: flow.seat.listener.tls.is_some(),
            server_name: flow.server_name().map(str::to_owned),
        })
    }

    /// Whether its connection is to end with what is under way: in a drain, and when a reload has other rules.
    fn is_leaving(&self) -> bool {
        self.worker.is_draining() || self.came_in.is_replaced()
    }

    fn begin(&self) -> Option<Flow> {
        let seat = Seat::take_now(&self.source)?;
        let mut flow = Flow::begin(self.worker.colleague(), seat, self.client, self.offset);
        flow.has_client_socket(self.client_socket.clone());
        Some(flow)
    }

    fn book(&self) -> &Rulebook {
        &self.book
    }

    fn http(&self) -> &Http {
        &self.book.config
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// What is to become of the connection of a client behind a request.
pub(super) enum Behind {
    /// It may ask again.
    Next,
    /// It is closed in order.
    Close,
    /// It is reset, since its answer is not whole.
    Cut(By),
    /// It has gone over to another protocol, with a server.
    Over(Box<(Flow, Lease, Box<Server>)>),
}

/// Who has broken an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Client,
    Server,
}

/// Serves a request; `is_last` says that its connection closes behind it.
pub(super) async fn serve_request(
    requester: &Requester,
    clock: &mut Clock,
    mut request: Box<Request>,
    client: &mut Side,
    is_last: bool,
) -> Behind {
    let is_last = is_last || requester.is_leaving();
    // What is left of a body that nobody wants ends the connection.
    let ends = is_last || request.has_body;
    let Some(mut flow) = requester.begin() else {
        return ourselves(client, &request, &Own::new(StatusCode::SERVICE_UNAVAILABLE, ""), true).await;
    };
    flow.asks(|| request.told());
    let mut facts = Facts::new(requester, &request);
    flow.is_of(facts.ip);
    let Admitted { rules, route, to } = match entry::admit(requester, &mut flow, &request, &facts).await {
        Ok(admitted) => admitted,
        Err(own) => {
            flow.answers(own.status);
            return ourselves(client, &request, &own, ends).await;
        }
    };
    let pool = match to {
        To::Pool(pool) => pool,
        To::Here(status, fields, body) => {
            flow.answers(status);
            flow.turned_away(Stage::Answer, Reason::Served);
            return respond::all(client, &request, status, fields, body, ends).await;
        }
    };
    flow.goes_to(&pool.pool);
    if pool.pool.config.http.is_h2 && !server::fits_stream(&request) {
        flow.turned_away(Stage::Ask, Reason::BadRequest(Misasked::Http(HeadFault::Host)));
        flow.answers(StatusCode::BAD_REQUEST);
        let own = Own::new(StatusCode::BAD_REQUEST, "no host, or a path that HTTP/2 has no place for");
        return ourselves(client, &request, &own, ends).await;
    }
    clock.set_end(rules.request_timeout);
    let (key, wanted) = (toward::key(&pool.pool, &request), wanted(pool, &request));
    toward::prepare(requester, rules, pool, &mut request, &mut facts);
    flow.prefers(wanted.clone());
    let mut upload = Upload::new(&request, pool.pool.config.http.replay_bytes, rules.body_bytes_max);
    let times = Times { body: rules.body_timeout, answer: rules.answer_timeout };
    let order = Order { worker: &requester.worker, request: &request, pool: &pool.pool, times, key };
    let mut exchange = Exchange::new(order, &mut flow, clock, client, &mut upload);
    let answered = exchange.answer().await;
    let attempts = exchange.attempts;
    flow.attempted(attempts);
    let answering = match answered {
        Ok(answering) => answering,
        Err(failed) => return fail(&mut flow, client, &request, &upload, (failed, attempts), is_last).await,
    };
    flow.answers(answering.answer.status);
    let granted = Granted { requester, rules, pool, request: &request, facts: &facts, wanted, is_last };
    if answering.answer.status == StatusCode::SWITCHING_PROTOCOLS {
        return granted.go_over(flow, client, answering).await;
    }
    let behind = granted.pass_on(&mut flow, clock, client, &mut upload, answering).await;
    if let Some(mirror) = &route.mirror {
        mirror::copy(requester, mirror, (&request, times), &upload);
    }
    behind
}

/// A request that a server answers.
struct Granted<'a> {
    requester: &'a Requester,
    rules: &'a Rules,
    pool: &'a PoolAtWork,
    request: &'a Request,
    facts: &'a Facts,
    /// The backend that its cookie stands for.
    wanted: Option<Arc<Backend>>,
    is_last: bool,
}

impl Granted<'_> {
    /// Both sides go over to another protocol, if the client has asked for one.
    async fn go_over(
        &self,
        mut flow: Flow,
        client: &mut Side,
        Answering { server, lease, mut answer }: Answering,
    ) -> Behind {
        if self.request.upgrade.is_none() || answer.upgrade.is_none() {
            // A server that goes over unasked has lost its way.
            flow.not_connected(Reason::BadAnswer);
            flow.answers(StatusCode::BAD_GATEWAY);
            let own = Own::new(StatusCode::BAD_GATEWAY, "");
            return ourselves(client, self.request, &own, self.is_last).await;
        }
        self.finish(&lease, &mut answer);
        respond::interim(client, self.request, &answer);
        Behind::Over(Box::new((flow, lease, server)))
    }

    /// Makes of an answer what the client gets.
    fn finish(&self, lease: &Lease, answer: &mut Answer) {
        let has_cookie = self.wanted.as_ref().is_some_and(|wanted| wanted.is_same(lease));
        let sticky = self.pool.sticky.as_deref().filter(|_| !has_cookie).map(|sticky| (sticky, &***lease));
        toward::finish(self.requester, self.rules, (self.request, self.facts), sticky, answer);
    }

    /// Passes the answer on to the client.
    async fn pass_on(
        &self,
        flow: &mut Flow,
        clock: &mut Clock,
        client: &mut Side,
        upload: &mut Upload,
        Answering { mut server, lease, mut answer }: Answering,
    ) -> Behind {
        let Self { requester, rules, pool, request, .. } = *self;
        self.finish(&lease, &mut answer);
        let squeeze = toward::compress(rules, request, &mut answer);
        let closes = self.is_last || !upload.is_over || requester.is_leaving();
        let closes = respond::begin(client, request, &answer, closes);
        let buffers = &requester.worker.buffers;
        let mut passing = Passing { flow, clock, pause: rules.body_timeout, buffers, squeeze };
        let passed = passing.pass(client, &mut server, upload).await;
        if passed.is_ok() && upload.is_over {
            let way = Way { pool: &pool.pool, backend: &lease, offset: requester.offset };
            server.leave(&requester.worker, way);
        }
        flow.not_connected(passed.err().unwrap_or(Reason::Served));
        match passed {
            Ok(()) if !upload.is_over => {
                respond::hear_out(client).await;
                Behind::Close
            }
            Ok(()) if closes => Behind::Close,
            Ok(()) => Behind::Next,
            // Of an answer that broke before its first byte went out the client need not know.
            Err(Reason::ServerReset | Reason::BadAnswer) if client.take_back() => {
                flow.answers(StatusCode::BAD_GATEWAY);
                ourselves(client, request, &Own::new(StatusCode::BAD_GATEWAY, ""), closes).await
            }
            Err(reason) => {
                client.cut();
                Behind::Cut(if reason == Reason::ClientReset { By::Client } else { By::Server })
            }
        }
    }
}

/// The backend that a client's cookie stands for.
fn wanted(pool: &PoolAtWork, request: &Request) -> Option<Arc<Backend>> {
    let sticky = pool.sticky.as_ref()?;
    sticky.find(&pool.pool, &sticky.key.read(&request.fields)?)
}

/// Answers for servers that do not, or tells a client what is wrong with its request.
async fn fail(
    flow: &mut Flow,
    client: &mut Side,
    request: &Request,
    upload: &Upload,
    (failed, attempts): (Failed, u32),
    is_last: bool,
) -> Behind {
    let is_last = is_last || !upload.is_over;
    let (status, told) = match failed {
        Failed::Server => (respond::status(flow.reason(), attempts), ""),
        Failed::TooLong => {
            flow.turned_away(Stage::Ask, Reason::TooLarge);
            (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
        }
        Failed::Late => {
            flow.turned_away(Stage::Ask, Reason::BadRequest(Misasked::Late));
            (StatusCode::REQUEST_TIMEOUT, "the body took too long")
        }
        Failed::Client(Fault::Http(fault)) => {
            flow.turned_away(Stage::Ask, Reason::BadRequest(Misasked::Http(fault)));
            (StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST), "the body has mistakes")
        }
        Failed::Client(_) => {
            flow.not_connected(Reason::ClientReset);
            client.cut();
            return Behind::Cut(By::Client);
        }
    };
    flow.answers(status);
    ourselves(client, request, &Own::new(status, told), is_last).await
}
