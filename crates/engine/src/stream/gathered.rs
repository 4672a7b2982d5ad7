//! A stream whose small writes leave together: HTTP/2 writes each frame alone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;

/// So many bytes leave at once, flushed or not.
const MOST: usize = 128 * 1024;

/// A stream that is written when it is flushed.
#[derive(Debug)]
pub(crate) struct Gathered {
    stream: Stream,
    waiting: Vec<u8>,
    sent: usize,
}

impl Gathered {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, waiting: Vec::new(), sent: 0 }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            self.sent += ready!(self.stream.poll_send(cx, &self.waiting[self.sent..]))?;
        }
        // What is idle owns no buffer.
        (self.waiting, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.len() - self.sent >= MOST {
            ready!(self.poll_sent(cx))?;
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        self.stream.poll_flushed(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        self.stream.end_writes();
        self.stream.poll_flushed(cx)
    }
}
