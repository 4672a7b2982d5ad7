//! What a client of HTTP/1 sends, let through to hyper as far as it is well-formed: hyper is more lenient than a proxy may be.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use towpath_wire::http1::HEAD_BYTES_MAX;
use towpath_wire::http1::gate::{Gate, Passage};

use super::body::SharedFlow;
use crate::error::{Misasked, Reason};
use crate::relay::IdleTimer;
use crate::stream::Stream;

/// The stream of a client, as hyper reads it.
#[derive(Debug)]
pub(crate) struct Gated(Arc<Mutex<Option<Inner>>>);

/// The same as whoever serves the client sees it, when hyper is done.
#[derive(Clone, Debug)]
pub(crate) struct GateKey(Arc<Mutex<Option<Inner>>>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    /// What was read and not let through.
    held: Vec<u8>,
    gate: Gate,
    /// How much of `held` was judged already.
    passing: usize,
    outcome: Outcome,
    has_ended: bool,
    clock: Pin<Box<Sleep>>,
    /// Whether the clock runs for a head that has begun, or for one to begin; `None` for neither.
    clock_is_for_head: Option<bool>,
    header_timeout: Duration,
    patience: Duration,
    /// Who reads on once the server has answered.
    held_up: Option<Waker>,
    /// Whether hyper has nothing more that is to leave, as far as that was asked for.
    is_flushed: bool,
    /// How long the client may take none of what is to leave, and the time while it does not.
    write_patience: Duration,
    stalling: Option<Box<IdleTimer>>,
    has_stalled: bool,
    /// Whether it leaves HTTP: whoever carries the other protocol takes the stream.
    goes_over: bool,
}

/// A client when hyper has served its requests.
pub(super) struct Left {
    pub(super) stream: Stream,
    /// What was read and not let through.
    pub(super) held: Vec<u8>,
    pub(super) outcome: Outcome,
    /// Whether it has left in the middle of a request, which tells of that itself.
    pub(super) in_body: bool,
}

/// What becomes of a client when hyper has served its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has ended.
    Ended,
    /// It asks for a tunnel.
    Connect,
    /// It sent something else than HTTP/1, or took too long.
    Bad(Misasked),
}

impl Gated {
    /// `held` was read already; a head may take `header_timeout`, and come after `patience`. The client may take nothing for
    /// `write_patience`.
    pub(super) fn new(
        stream: Stream,
        held: Vec<u8>,
        header_timeout: Duration,
        patience: Duration,
        write_patience: Duration,
    ) -> (Self, GateKey) {
        let inner = Inner {
            stream,
            held,
            gate: Gate::default(),
            passing: 0,
            outcome: Outcome::Ended,
            has_ended: false,
            clock: Box::pin(sleep(header_timeout)),
            clock_is_for_head: None,
            header_timeout,
            patience,
            held_up: None,
            is_flushed: true,
            write_patience,
            stalling: None,
            has_stalled: false,
            goes_over: false,
        };
        let shared = Arc::new(Mutex::new(Some(inner)));
        (Self(shared.clone()), GateKey(shared))
    }

    /// The stream itself, with what was held back, once the client has gone over to another protocol.
    pub(super) fn into_stream(self, read_by_hyper: &[u8]) -> Option<Stream> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Inner { stream, held, .. } = inner?;
        Some(stream.unread(&held).unread(read_by_hyper))
    }

    fn with<T>(&self, job: impl FnOnce(&mut Inner) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(inner) => job(inner),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl GateKey {
    /// A server has answered without going over to another protocol: requests go on.
    pub(super) fn stays(&self) {
        if let Some(inner) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            inner.gate.stays();
            inner.held_up.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until the client has reset its connection: nobody reads from it while its answer is under way.
    pub(super) fn poll_hangup(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(inner) => inner.stream.poll_hangup(cx),
            None => Poll::Ready(()),
        }
    }

    /// Hyper has something that is to leave.
    pub(super) fn note_unflushed(&self) {
        if let Some(inner) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            inner.is_flushed = false;
        }
    }

    /// Whether all has left since, and whether the client was given up because it took nothing.
    fn written(&self) -> Option<(bool, bool)> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.as_ref().map(|inner| (inner.is_flushed, inner.has_stalled))
    }

    /// A server has gone over to another protocol: the stream is left to whoever carries that.
    pub(super) fn goes_over(&self) {
        if let Some(inner) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            inner.goes_over = true;
        }
    }

    /// What is wrong with what the client sends, once something is.
    pub(super) fn fault(&self) -> Option<Misasked> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.outcome {
            Outcome::Bad(why) => Some(why),
            Outcome::Ended | Outcome::Connect => None,
        }
    }

    /// The stream, what was read and not let through, and what is to become of it; `None` if it went over to another protocol.
    pub(super) fn take(self) -> Option<Left> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = inner.take_if(|inner| !inner.goes_over)?;
        let in_body = inner.gate.is_in_body();
        Some(Left { stream: inner.stream, held: inner.held, outcome: inner.outcome, in_body })
    }
}

impl Inner {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.passing > 0 {
                let count = self.passing.min(buffer.remaining());
                buffer.put_slice(&self.held[..count]);
                self.held.drain(..count);
                self.passing -= count;
                return Poll::Ready(Ok(()));
            }
            if self.outcome != Outcome::Ended || self.has_ended {
                return Poll::Ready(Ok(()));
            }
            match self.gate.look(&self.held) {
                Passage::Pass(count) if count > 0 => {
                    self.passing = count;
                    self.clock_is_for_head = None;
                    continue;
                }
                Passage::Connect => self.outcome = Outcome::Connect,
                Passage::Bad(fault) => self.outcome = Outcome::Bad(Misasked::Http(fault)),
                Passage::Hold => {
                    // Nothing is read until the server has said whether it goes over to the other protocol.
                    self.held_up = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Passage::Pass(_) | Passage::Wait => ready!(self.poll_more(cx))?,
            }
        }
    }

    /// Reads more, within the time there is for it.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [0; HEAD_BYTES_MAX];
        let mut buffer = ReadBuf::new(&mut chunk);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        if let Poll::Ready(Err(_)) = &read {
            self.has_ended = true;
        }
        if read?.is_pending() {
            if self.gate.is_between() {
                self.poll_clock(cx);
            }
            return if self.outcome == Outcome::Ended && !self.has_ended {
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            };
        }
        self.has_ended = buffer.filled().is_empty();
        if self.has_ended && (self.gate.is_in_body() || !self.held.is_empty()) {
            self.outcome = Outcome::Bad(Misasked::Ended);
        }
        self.held.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// Looks how long the client has taken for a head, or for one to begin.
    fn poll_clock(&mut self, cx: &mut Context<'_>) {
        let in_head = !self.held.is_empty();
        if self.clock_is_for_head != Some(in_head) {
            self.clock_is_for_head = Some(in_head);
            let time = if in_head { self.header_timeout } else { self.patience };
            self.clock.as_mut().reset(Instant::now() + time);
        }
        if self.clock.as_mut().poll(cx).is_ready() {
            if in_head {
                self.outcome = Outcome::Bad(Misasked::Late);
            } else {
                self.has_ended = true;
            }
        }
    }
}

impl Inner {
    /// What a write came to, which may wait for the client for so long and no longer.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalling = None;
            return written;
        }
        let stream = &self.stream;
        let stalling = self.stalling.get_or_insert_with(|| IdleTimer::new(self.write_patience));
        ready!(stalling.poll(cx, false, || stream.unacknowledged()));
        self.has_stalled = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Answers of servers that hyper has all of, and that may not have left for their client.
#[derive(Default)]
pub(super) struct Leaving {
    flows: RefCell<Vec<SharedFlow>>,
    /// Whether the client was given up because it took nothing.
    has_stalled: Cell<bool>,
}

impl Leaving {
    /// An answer has come to its end.
    pub(super) fn put(&self, gate: &GateKey, flow: &SharedFlow) {
        // That is how it ends unless it leaves.
        flow.borrow_mut().not_connected(Reason::ClientReset);
        gate.note_unflushed();
        self.flows.borrow_mut().push(flow.clone());
    }

    /// Whether the client was given up because it took nothing.
    pub(super) fn has_stalled(&self) -> bool {
        self.has_stalled.get()
    }

    /// Ends the stories of those that have left by now, or never will.
    pub(super) fn settle(&self, gate: &GateKey) {
        let Some((is_flushed, has_stalled)) = gate.written() else { return };
        self.has_stalled.set(has_stalled);
        let reason = if is_flushed { Reason::Served } else { Reason::Idle };
        if is_flushed || has_stalled {
            self.flows.borrow_mut().drain(..).for_each(|flow| flow.borrow_mut().not_connected(reason));
        }
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|inner| inner.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Gated {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|inner| {
            let written = inner.stream.poll_send(cx, bytes);
            inner.in_time(cx, written)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|inner| {
            let flushed = inner.stream.poll_flushed(cx);
            ready!(inner.in_time(cx, flushed))?;
            // It comes here behind all that it had.
            inner.is_flushed = true;
            Poll::Ready(Ok(()))
        })
    }

    /// The end is told by whoever serves the client: it may have more to say.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|inner| inner.stream.poll_flushed(cx))
    }
}
