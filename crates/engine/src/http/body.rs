//! Bodies on their way through, counted, and what towpath itself has to say.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::error::Reason;
use crate::flow::{Flow, Meter};

/// The story of one request, which its two bodies add to.
pub(super) type SharedFlow = Rc<RefCell<Flow>>;

/// The body of a request on its way to a server.
pub(super) struct Up {
    incoming: Incoming,
    flow: SharedFlow,
    has_failed: Rc<Cell<bool>>,
}

impl Up {
    /// `has_failed` tells later whether the client did not send all of it.
    pub(super) fn new(incoming: Incoming, flow: SharedFlow, has_failed: Rc<Cell<bool>>) -> Self {
        Self { incoming, flow, has_failed }
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
    },
}

impl Body for Up {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.flow.borrow().up(data.len() as u64);
                }
            }
            Some(Err(_)) => self.has_failed.set(true),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Body for Down {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed { incoming, flow } => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                match &frame {
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            flow.borrow().down(data.len() as u64);
                        }
                    }
                    Some(Err(_)) => flow.borrow_mut().not_connected(Reason::ServerReset),
                    None => flow.borrow_mut().not_connected(Reason::Served),
                }
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
        if let Self::Passed { incoming, flow } = self
            && incoming.is_end_stream()
        {
            flow.borrow_mut().not_connected(Reason::Served);
        }
    }
}
