//! One stream of HTTP/2 that is a tunnel, as a layer: a reset is a reset on either side, and an end an end.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use towpath_config::SocketOptions;
use towpath_sys::path::TcpPath;

use super::Io;

/// A reset throws away what has not left yet, so it waits for so long after the last write.
const LEAVES_WITHIN: Duration = Duration::from_millis(250);

/// A tunnel on a connection of HTTP/2 (RFC 9113, section 8.5).
pub(crate) struct H2Stream<K> {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received and not read.
    unread: Bytes,
    has_ended: bool,
    /// When something was written last.
    written: Option<Instant>,
    /// Lives as long as this.
    _kept: K,
}

impl<K> H2Stream<K> {
    /// Both halves of a stream, with what is to live as long as it.
    pub(crate) fn new(send: SendStream<Bytes>, receive: RecvStream, kept: K) -> Self {
        Self { send, receive, unread: Bytes::new(), has_ended: false, written: None, _kept: kept }
    }
}

impl<K: Unpin> AsyncRead for H2Stream<K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(data)) => self.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(io_error(&error))),
            }
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        // The sender may send so much more, now that this has left.
        let _ = self.receive.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl<K: Unpin> AsyncWrite for H2Stream<K> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(bytes.len());
        let mut room = self.send.capacity();
        while room == 0 {
            room = match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Poll::Ready(Err(io_error(&error))),
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            };
        }
        let count = room.min(bytes.len());
        let data = Bytes::copy_from_slice(&bytes[..count]);
        self.send.send_data(data, false).map_err(|error| io_error(&error))?;
        self.written = Some(Instant::now());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.has_ended = true;
            self.send.send_data(Bytes::new(), true).map_err(|error| io_error(&error))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<K: Unpin + Send> Io for H2Stream<K> {
    fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(drop)
    }

    fn keep_alive(&self, _wanted: &SocketOptions) {}

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn unacknowledged(&self) -> usize {
        // What was written had room in the windows, so it leaves with the next turns of its connection; nobody tells when.
        usize::from(self.written.is_some_and(|written| written.elapsed() < LEAVES_WITHIN))
    }

    fn path(&self) -> Option<TcpPath> {
        None
    }

    fn prepare_lane(&self, _options: &SocketOptions) {}

    fn pace(&self, _rate: u64) {}

    fn finish(self: Box<Self>) {}
}

impl<K> Drop for H2Stream<K> {
    fn drop(&mut self) {
        let is_whole = self.has_ended && self.receive.is_end_stream();
        if !is_whole {
            // What a broken connection of TCP is to the other side (RFC 9113, section 8.5).
            self.send.send_reset(Reason::CONNECT_ERROR);
        }
    }
}

fn io_error(error: &h2::Error) -> io::Error {
    let kind = if error.is_reset() { ErrorKind::ConnectionReset } else { ErrorKind::BrokenPipe };
    io::Error::new(kind, error.to_string())
}
