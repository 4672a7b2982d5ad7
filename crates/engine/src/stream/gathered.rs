//! A stream whose writes leave together: HTTP/2 writes and flushes each frame alone.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::{FAREWELL, Stream};
use crate::spare;

/// So many bytes leave at once.
const MOST: usize = 128 * 1024;

/// A peer that has all and says nothing for so long has said all.
const REST: Duration = Duration::from_millis(200);

/// A stream that is written when its [`Flusher`] says so.
#[derive(Debug)]
pub(crate) struct Gathered(Rc<RefCell<Inner>>);

/// Sends what was written to a [`Gathered`].
#[derive(Debug)]
pub(crate) struct Flusher(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    waiting: Vec<u8>,
    sent: usize,
    /// Bytes that have come and gone in all.
    up: u64,
    down: u64,
}

impl Gathered {
    pub(crate) fn new(stream: Stream) -> (Self, Flusher) {
        let inner = Rc::new(RefCell::new(Inner { stream, waiting: Vec::new(), sent: 0, up: 0, down: 0 }));
        (Self(inner.clone()), Flusher(inner))
    }
}

impl Flusher {
    /// What `work` comes to, with what it writes sent each time that it waits.
    pub(crate) async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let done = work.as_mut().poll(cx);
            // An error is found by whoever reads or writes next.
            let _ = self.0.borrow_mut().poll_sent(cx);
            done
        })
        .await
    }
}

impl Flusher {
    /// Closes in order, once the [`Gathered`] is dropped: what was written is delivered, and then the end. Without it the
    /// connection is reset, and what the peer has not acknowledged is lost.
    pub(crate) async fn finish(self) {
        let Some(mut inner) = Rc::into_inner(self.0).map(RefCell::into_inner) else { return };
        let Ok(Ok(())) = timeout(FAREWELL, inner.deliver()).await else { return };
        if let Some(finishing) = inner.stream.finish() {
            finishing.await;
        }
    }

    /// Bytes that have come in all, and gone.
    pub(crate) fn carried(&self) -> (u64, u64) {
        let inner = self.0.borrow();
        (inner.up, inner.down)
    }
}

impl Inner {
    /// Sends all and the end of it, and takes what the peer still says until it has all: bytes that meet a closed socket are
    /// answered with a reset, which would take along what it has not read.
    async fn deliver(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_sent(cx)).await?;
        self.stream.end_writes();
        poll_fn(|cx| self.stream.poll_flushed(cx)).await?;
        let mut unwanted = Vec::with_capacity(4096);
        loop {
            unwanted.clear();
            match timeout(REST, self.stream.read_buf(&mut unwanted)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(read) => drop(read?),
                Err(_) if self.stream.unacknowledged() == 0 => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            self.sent += ready!(self.stream.poll_send(cx, &self.waiting[self.sent..]))?;
        }
        if !self.waiting.is_empty() {
            // What is idle owns no buffer.
            spare::give(std::mem::take(&mut self.waiting));
            self.sent = 0;
        }
        self.stream.poll_flushed(cx)
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut inner.stream).poll_read(cx, buffer);
        inner.up += (buffer.filled().len() - before) as u64;
        read
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        if inner.waiting.len() - inner.sent >= MOST {
            ready!(inner.poll_sent(cx))?;
        }
        if inner.waiting.is_empty() {
            inner.waiting = spare::take();
        }
        inner.waiting.extend_from_slice(bytes);
        inner.down += bytes.len() as u64;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.borrow().stream.broken() {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_sent(cx))?;
        inner.stream.end_writes();
        inner.stream.poll_flushed(cx)
    }
}
