//! Bodies on their way through, counted, and what towpath itself has to say.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::gated::{GateKey, Leaving};
use crate::error::Reason;
use crate::flow::{Flow, Meter};

/// The story of one request, which its two bodies add to.
pub(super) type SharedFlow = Rc<RefCell<Flow>>;

/// The body of a request as it comes.
pub(super) enum Coming {
    /// By HTTP/1.
    H1(Incoming),
    /// By HTTP/2.
    H2(RecvStream),
    /// There is none.
    Nothing,
}

impl Coming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let receive = match self {
            Self::H1(incoming) => {
                return Pin::new(incoming).poll_frame(cx).map_err(|_| Failed);
            }
            Self::H2(receive) => receive,
            Self::Nothing => return Poll::Ready(None),
        };
        if let Some(data) = ready!(receive.poll_data(cx)) {
            return Poll::Ready(Some(data.map_err(|_| Failed).map(|data| {
                let _ = receive.flow_control().release_capacity(data.len());
                Frame::data(data)
            })));
        }
        match ready!(receive.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(_) => Poll::Ready(Some(Err(Failed))),
        }
    }
}

/// A body has not come to its end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not come to its end")]
pub(super) struct Failed;

/// The body of a request on its way to a server.
pub(super) struct Up {
    incoming: Coming,
    length: Option<u64>,
    flow: SharedFlow,
    progress: Rc<Progress>,
}

/// How far the body of a request has come.
#[derive(Debug)]
pub(super) struct Progress {
    /// Whether the client did not send all of it.
    pub(super) has_failed: Cell<bool>,
    /// When a part of it went on last.
    pub(super) last: Cell<Instant>,
}

impl Up {
    /// `progress` tells later how far it came.
    pub(super) fn new(
        incoming: Coming,
        length: Option<u64>,
        flow: SharedFlow,
        progress: Rc<Progress>,
    ) -> Self {
        Self { incoming, length, flow, progress }
    }
}

impl Up {
    /// A request once more, if it has no body and may be sent twice (RFC 9110, section 9.2.2).
    pub(super) fn again(request: &Request<Self>) -> Option<Request<Self>> {
        let body = request.body();
        let may_be = request.method().is_idempotent() && body.is_end_stream();
        may_be.then(|| {
            let nothing = Self::new(Coming::Nothing, None, body.flow.clone(), body.progress.clone());
            let mut again = Request::new(nothing);
            again.method_mut().clone_from(request.method());
            again.uri_mut().clone_from(request.uri());
            *again.version_mut() = request.version();
            again.headers_mut().clone_from(request.headers());
            again
        })
    }
}

/// The body of an answer.
pub(super) enum Down {
    /// Ours.
    Own(Option<Bytes>),
    /// A server's, on its way to the client.
    Passed {
        /// What comes.
        incoming: Incoming,
        /// The story that ends with it.
        flow: SharedFlow,
        /// Whoever waits for it, to see that he has gone.
        watch: Watch,
    },
}

/// How an answer ends: all of it has come, or its client has reset the connection, or nothing more comes in time.
pub(super) struct Watch {
    /// A client of HTTP/1.
    client: Option<(GateKey, Rc<Leaving>)>,
    /// Whether all of the answer has come.
    is_over: bool,
    limit: Duration,
    clock: Pin<Box<Sleep>>,
}

impl Watch {
    /// Between two parts of an answer there may be as much time as `limit`.
    pub(super) fn new(client: Option<(GateKey, Rc<Leaving>)>, limit: Duration) -> Self {
        Self { client, is_over: false, limit, clock: Box::pin(sleep(limit)) }
    }

    /// All of the answer has come.
    fn end(&mut self, flow: &SharedFlow) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        match &self.client {
            Some((gate, leaving)) => leaving.put(gate, flow),
            None => flow.borrow_mut().not_connected(Reason::Served),
        }
    }

    /// Something has come.
    fn set_anew(&mut self) {
        self.clock.as_mut().reset(Instant::now() + self.limit);
    }

    /// Whether the client takes no more.
    fn has_stalled(&self) -> bool {
        !self.is_over && self.client.as_ref().is_some_and(|(_, leaving)| leaving.has_stalled())
    }

    /// Ready with the reason once nothing more is to be waited for.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        if self.client.as_ref().is_some_and(|(gate, _)| gate.poll_hangup(cx).is_ready()) {
            return Poll::Ready(Reason::ClientReset);
        }
        self.clock.as_mut().poll(cx).map(|()| Reason::Idle)
    }
}

impl Body for Up {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let frame = ready!(self.incoming.poll_frame(cx));
        self.progress.last.set(Instant::now());
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.flow.borrow().up(data.len() as u64);
                }
            }
            Some(Err(_)) => self.progress.has_failed.set(true),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.incoming {
            Coming::H1(incoming) => incoming.is_end_stream(),
            Coming::H2(receive) => receive.is_end_stream(),
            Coming::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.incoming, self.length) {
            (Coming::H1(incoming), _) => incoming.size_hint(),
            (Coming::Nothing, _) => SizeHint::with_exact(0),
            (Coming::H2(_), Some(length)) => SizeHint::with_exact(length),
            (Coming::H2(receive), None) if receive.is_end_stream() => SizeHint::with_exact(0),
            (Coming::H2(_), None) => SizeHint::default(),
        }
    }
}

impl Body for Down {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed { incoming, flow, watch } => {
                let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
                    let reason = ready!(watch.poll_over(cx));
                    flow.borrow_mut().not_connected(reason);
                    return Poll::Ready(Some(Err(Failed)));
                };
                watch.set_anew();
                match &frame {
                    Some(Ok(frame)) => {
                        match frame.data_ref() {
                            Some(data) => flow.borrow().down(data.len() as u64),
                            // Nothing is behind trailers.
                            None => watch.end(flow),
                        }
                    }
                    Some(Err(_)) => flow.borrow_mut().not_connected(Reason::ServerReset),
                    None => watch.end(flow),
                }
                let frame = frame.map(|frame| frame.map_err(|_| Failed));
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Passed { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Passed { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        let Self::Passed { incoming, flow, watch } = self else { return };
        if incoming.is_end_stream() {
            watch.end(flow);
        } else if watch.has_stalled() {
            flow.borrow_mut().not_connected(Reason::Idle);
        }
    }
}
