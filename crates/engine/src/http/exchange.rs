//! One request at the backends of a pool: asked of one, and of others when that fails, until there is an answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Method;
use towpath_config::Hedge;
use towpath_wire::http1::HeadFault;

use super::clock::{Clock, Late};
use super::head::{Answer, Request};
use super::idle;
use super::pump::Break;
use super::respond;
use super::server::{Heard, Kept, Server};
use super::side::{Fault, Side};
use super::upload::Upload;
use crate::attempts::Failure;
use crate::early::Speaks;
use crate::error::Reason;
use crate::flow::Flow;
use crate::pool::{Backend, Lease, Pool, Standing};
use crate::reach::{self, Way};
use crate::worker::Worker;

/// A client that has closed its half, or all of it, which nobody can tell, waits so long for a server that says nothing.
pub(super) const HALF_CLOSED: Duration = Duration::from_secs(10);

/// A server that sends more interim answers to one request has no other.
const INTERIMS: u32 = 32;

/// Why there is no answer of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// No server could be reached, or none answered; the flow has the reason.
    Server,
    /// The client has gone, or sent what is no request.
    Client(Fault),
    /// The body of the request is longer than it may be.
    TooLong,
    /// The client took too long for its body.
    Late,
}

/// How an attempt to be answered ended without an answer.
enum Unheard {
    Server(Fault),
    Client(Fault),
    /// The server took too long.
    TimedOut(Late),
    /// The client took too long for its body.
    Late,
    TooLong,
}

/// A server that answers.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) server: Box<Server>,
    pub(super) lease: Lease,
    pub(super) answer: Box<Answer>,
}

/// Times that a request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How long a body may pause.
    pub(super) body: Duration,
    /// How long the head of an answer may take once all is sent.
    pub(super) answer: Duration,
}

/// What is asked, and of whom.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) request: &'a Request,
    pub(super) pool: &'a Arc<Pool>,
    pub(super) times: Times,
    /// The hash that the balance goes by.
    pub(super) key: Option<u64>,
}

/// One request at the backends of a pool.
pub(super) struct Exchange<'a> {
    pub(super) order: Order<'a>,
    pub(super) flow: &'a mut Flow,
    clock: &'a mut Clock,
    client: &'a mut Side,
    upload: &'a mut Upload,
    pub(super) attempts: u32,
    /// Those among them that met a connection which had waited for too long.
    blameless: u32,
    /// Whether the client has ended its half of the connection.
    is_half_closed: bool,
    /// Is told the backend that is asked now, where that matters.
    pub(super) trying: Option<Rc<RefCell<Option<Arc<Backend>>>>>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        order: Order<'a>,
        flow: &'a mut Flow,
        clock: &'a mut Clock,
        client: &'a mut Side,
        upload: &'a mut Upload,
    ) -> Self {
        Self {
            order,
            flow,
            clock,
            client,
            upload,
            attempts: 0,
            blameless: 0,
            is_half_closed: false,
            trying: None,
        }
    }

    /// Finds a server that answers; where the pool wants that, a second one is asked when the first is silent for too long.
    pub(super) async fn answer(&mut self) -> Result<Answering, Failed> {
        match self.order.pool.config.hedge_after {
            Hedge::After(time) if is_read_only(self.order.request) && !self.order.request.has_body => {
                Box::pin(self.answer_hedged(time)).await
            }
            _ => self.answer_alone().await,
        }
    }

    pub(super) async fn answer_alone(&mut self) -> Result<Answering, Failed> {
        let mut takes_kept = true;
        self.order.worker.budget(&self.order.pool.config.name).request(self.flow.start());
        loop {
            let (lease, way) = self.reach(takes_kept).await?;
            let way = if takes_kept { self.shared(&lease, way) } else { way };
            let is_used = matches!(way, Way::Kept(_));
            let begun = match is_used && self.attempts == 0 {
                true => {
                    self.flow.connected_before(&lease);
                    self.flow.start()
                }
                false => {
                    self.flow.connected_with(&lease);
                    Instant::now()
                }
            };
            self.attempts += 1;
            if let Some(trying) = &self.trying {
                *trying.borrow_mut() = Some(Arc::clone(&lease));
            }
            let place = idle::Way { pool: self.order.pool, backend: &lease, offset: self.flow.offset };
            let server = match way {
                Way::Kept(kept) => Server::on_kept(self.order.worker, kept, self.order.request).await,
                Way::New(stream) => {
                    Server::on_new(self.order.worker, stream, place, self.order.request).await
                }
            };
            let mut server = match server {
                Ok(server) => server,
                Err(fault) => {
                    takes_kept &= !is_used;
                    self.failed(&lease, is_used, Unheard::Server(fault))?;
                    continue;
                }
            };
            let heard = match self.hear(&mut server).await {
                Ok(answer) => self.hear_more(&mut server, &answer).await.map(|()| answer),
                Err(unheard) => Err(unheard),
            };
            match heard {
                Ok(answer) => {
                    self.order.pool.note_answer_since(&lease, begun);
                    if self.is_to_be_asked_elsewhere(&lease, &answer) {
                        self.flow.attempts().failed(&lease, Failure::Never);
                        continue;
                    }
                    if let Side::H1(side) = &server.side {
                        self.flow.look_at_server(&side.stream);
                    }
                    return Ok(Answering { server, lease, answer });
                }
                Err(unheard) => {
                    takes_kept &= !is_used;
                    self.failed(&lease, is_used, unheard)?;
                }
            }
        }
    }

    /// A connection that another request has made meanwhile, in place of a new one, where it takes several at a time.
    fn shared(&self, backend: &Arc<Backend>, way: Way<Kept>) -> Way<Kept> {
        let place = idle::Way { pool: self.order.pool, backend, offset: self.flow.offset };
        match way {
            Way::New(stream) if self.order.pool.config.http.is_h2 => match self.order.worker.idle.room(place)
            {
                Some(room) => {
                    stream.finish_now();
                    Way::Kept(Kept::H2(room))
                }
                None => Way::New(stream),
            },
            way => way,
        }
    }

    /// Finds a connection to a backend, one that waits if `takes_kept`.
    async fn reach(&mut self, takes_kept: bool) -> Result<(Lease, Way<Kept>), Failed> {
        let (worker, client, clock) = (self.order.worker, &mut *self.client, &mut *self.clock);
        let offset = self.flow.offset;
        let length =
            self.order.request.length.unwrap_or(if self.order.request.has_body { u64::MAX } else { 0 });
        let surely = !is_safe(self.order.request) || length > self.order.pool.config.http.replay_bytes as u64;
        clock.set(None);
        let mut is_late = false;
        let kept = |pool: &Arc<Pool>, lease: &Lease, now| {
            let way = idle::Way { pool, backend: lease, offset };
            takes_kept.then(|| take_kept(worker, way, surely, now)).flatten()
        };
        let hangup = |cx: &mut Context<'_>| {
            is_late = clock.poll(cx).is_ready();
            if is_late { Poll::Ready(()) } else { client.poll_gone(cx) }
        };
        if let Some(reached) = reach::reach(self.flow, hangup, &Speaks::AtOnce, self.order.key, kept).await {
            return Ok(reached);
        }
        if is_late {
            self.flow.not_connected(Reason::AnswerTimedOut);
        }
        Err(match self.flow.reason() {
            Reason::ClientReset => Failed::Client(Fault::Ended),
            _ => Failed::Server,
        })
    }

    /// Waits for the head of the answer while the body of the request goes up.
    async fn hear(&mut self, server: &mut Server) -> Result<Box<Answer>, Unheard> {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        if let Some(kept) = self.upload.kept.as_ref().filter(|kept| !kept.is_empty()) {
            server.side.put(cx, kept.as_slice().into());
        }
        if self.upload.is_over && self.order.request.has_body {
            server.side.put_end(self.upload.trailers.clone());
        }
        self.upload.is_sent = false;
        let (mut is_cut_off, mut interims) = (false, 0);
        if !self.upload.is_over {
            self.clock.set(Some(self.order.times.body));
        }
        loop {
            let heard = poll_fn(|cx| self.poll_hear(cx, server, &mut is_cut_off)).await?;
            match heard {
                Heard::Final(answer) => return Ok(answer),
                Heard::Interim(_) if interims >= INTERIMS => {
                    return Err(Unheard::Server(Fault::Http(HeadFault::Line)));
                }
                Heard::Interim(answer) => {
                    interims += 1;
                    respond::interim(self.client, self.order.request, &answer);
                }
            }
            // It goes on with what else there is; a client that takes no interim answer takes the answer no better.
            let _ = poll_fn(|cx| Poll::Ready(self.client.poll_flush(cx))).await;
        }
    }

    /// Waits for the first of the body, for a moment: a server that is killed between head and body has answered nobody yet.
    async fn hear_more(&mut self, server: &mut Server, answer: &Answer) -> Result<(), Unheard> {
        if answer.is_all || !self.upload.is_over || !is_safe(self.order.request) {
            return Ok(());
        }
        let mut moment = pin!(self.order.worker.pulse.moment());
        poll_fn(|cx| match server.poll_first(cx) {
            Poll::Ready(first) => Poll::Ready(first.map_err(Unheard::Server)),
            Poll::Pending => moment.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    fn poll_hear(
        &mut self,
        cx: &mut Context<'_>,
        server: &mut Server,
        is_cut_off: &mut bool,
    ) -> Poll<Result<Heard, Unheard>> {
        let before = self.upload.count;
        if !self.upload.is_sent && !*is_cut_off {
            let buffers = &self.order.worker.buffers;
            match self.upload.poll(cx, self.flow, self.client, &mut server.side, buffers) {
                Poll::Ready(Ok(())) => {
                    self.clock.set(Some(self.order.times.answer));
                }
                Poll::Ready(Err(Break::Source(fault))) => return Poll::Ready(Err(Unheard::Client(fault))),
                // It may have answered before it closed.
                Poll::Ready(Err(Break::Sink(_))) => *is_cut_off = true,
                Poll::Pending => {}
            }
            if self.upload.is_too_long {
                return Poll::Ready(Err(Unheard::TooLong));
            }
        }
        let to_keep = self.client.keeps_data();
        if let Poll::Ready(heard) =
            server.poll_heard(cx, &self.order.worker.buffers, &self.order.request.method, to_keep)
        {
            return Poll::Ready(heard.map_err(Unheard::Server));
        }
        // While it sends, its end shows in what it sends.
        let waits_for_server = self.upload.is_over || *is_cut_off || server.side.is_full();
        if waits_for_server && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Unheard::Client(Fault::Ended)));
        }
        if self.client.has_just_half_closed() {
            self.is_half_closed = true;
            self.clock.set(Some(self.order.times.answer.min(HALF_CLOSED)));
        } else if self.upload.count > before && !self.upload.is_sent {
            self.clock.set(Some(self.order.times.body));
        }
        self.clock.poll(cx).map(|late| match late {
            // That time was the client's.
            Late::Part if self.is_half_closed => Err(Unheard::Client(Fault::Ended)),
            late if waits_for_server => Err(Unheard::TimedOut(late)),
            _ => Err(Unheard::Late),
        })
    }

    /// Notes an attempt that came to nothing.
    ///
    /// # Errors
    /// When there is no other to make.
    fn failed(&mut self, lease: &Lease, is_used: bool, how: Unheard) -> Result<(), Failed> {
        let how_large = matches!(how, Unheard::Server(Fault::Http(HeadFault::Large)));
        let (reason, is_refused) = match how {
            Unheard::Client(fault) => return Err(Failed::Client(fault)),
            Unheard::TooLong => return Err(Failed::TooLong),
            Unheard::Late => return Err(Failed::Late),
            // No server has had all of the time.
            Unheard::TimedOut(Late::All) => {
                self.flow.not_connected(Reason::AnswerTimedOut);
                return Err(Failed::Server);
            }
            Unheard::TimedOut(Late::Part) => (Reason::AnswerTimedOut, false),
            Unheard::Server(Fault::Unsendable) => {
                return Err(Failed::Client(Fault::Http(HeadFault::Target)));
            }
            Unheard::Server(Fault::Http(_)) => (Reason::BadAnswer, false),
            Unheard::Server(Fault::Refused) => (Reason::ServerReset, true),
            Unheard::Server(Fault::Ended | Fault::Broken(_)) => (Reason::ServerReset, false),
        };
        self.flow.not_connected(reason);
        tracing::debug!("pool {}: backend {}: {reason}", self.order.pool.config.name, lease.member.place);
        if reason == Reason::BadAnswer && how_large {
            // That is so at every server.
            return Err(Failed::Server);
        }
        self.blameless += u32::from(is_used && reason == Reason::ServerReset);
        // One that waited for long may have been closed in order.
        if !is_used {
            self.order.pool.note_failure(lease, lease.probe(), reason);
        }
        if !is_used || reason != Reason::ServerReset {
            let how = if reason == Reason::AnswerTimedOut { Failure::Never } else { Failure::Broke };
            self.flow.attempts().failed(lease, how);
        }
        let may_be_repeated = is_refused || is_safe(self.order.request);
        let has_other = is_used || self.flow.has_attempt_left();
        match may_be_repeated && has_other && self.upload.kept.is_some() && self.may_retry(is_used) {
            true => Ok(()),
            false => Err(Failed::Server),
        }
    }

    /// Whether one more attempt is within the limits. One for which a server is not to blame is none of the budget.
    fn may_retry(&self, is_blameless: bool) -> bool {
        let http = &self.order.pool.config.http;
        let budget = || self.order.worker.budget(&self.order.pool.config.name);
        self.attempts - self.blameless <= http.retries
            && (is_blameless || budget().try_retry(http.retry_budget, Instant::now()))
    }

    /// Whether another server may have a better answer.
    fn is_to_be_asked_elsewhere(&self, lease: &Lease, answer: &Answer) -> bool {
        let status = answer.status.as_u16();
        let is_bad =
            self.order.pool.config.http.retry_on.iter().any(|(low, high)| (*low..=*high).contains(&status));
        // The answer is given up only for a server that seems to work.
        let has_other = || {
            let now = Instant::now();
            let is_other = |other: &Backend| !other.is_same(lease) && !self.flow.has_tried(other);
            let mut all = self.order.pool.backends().into_iter();
            all.any(|other| is_other(&other) && other.standing(now) == Standing::Open)
        };
        is_bad
            && is_safe(self.order.request)
            && self.upload.is_over
            && self.upload.kept.is_some()
            && has_other()
            && self.may_retry(false)
    }
}

/// Whether a request may be served twice at the same time: nothing changes by it (RFC 9110, section 9.2.1).
fn is_read_only(request: &Request) -> bool {
    matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a request may be sent twice (RFC 9110, section 9.2.2).
fn is_safe(request: &Request) -> bool {
    matches!(
        request.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    ) || request.fields.contains_key("idempotency-key")
}

fn take_kept(worker: &Worker, way: idle::Way<'_>, surely: bool, now: Instant) -> Option<Kept> {
    match way.pool.config.http.is_h2 {
        true => worker.idle.room(way).map(Kept::H2),
        false => worker.idle.take(way, surely, now).map(Kept::H1),
    }
}
