//! A stream within another protocol, such as TLS, as the relay sees it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use towpath_config::SocketOptions;
use towpath_sys::path::TcpPath;

use super::Received;
use crate::pool::Lease;

/// A stream of another protocol. When it is dropped its peer must be able to tell that from an end in order.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {
    /// Waits until it has broken, when nothing is read.
    fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Has the kernel find out when the peer is gone.
    fn keep_alive(&self, wanted: &SocketOptions);

    /// The address of this end.
    fn local_address(&self) -> Option<SocketAddr>;

    /// The socket that carries it alone, if there is one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Bytes written and not yet acknowledged by the peer's kernel.
    fn unacknowledged(&self) -> usize;

    /// Whether the other end wants to go once nobody uses it.
    fn is_unwanted(&self) -> bool {
        false
    }

    /// How its way is, as far as the kernel tells.
    fn path(&self) -> Option<TcpPath>;

    /// Is about to be the lane of a tunnel, which keeps what waits to be sent short.
    fn prepare_lane(&self, options: &SocketOptions);

    /// Sends at most so many bytes a second; 0 is no limit.
    fn pace(&self, rate: u64);

    /// Closes in order, after its writes were shut down.
    fn finish(self: Box<Self>);
}

/// A stream of another protocol, and what has come of it.
pub(crate) struct Layered {
    io: Box<dyn Io>,
    broken: Option<ErrorKind>,
    /// Bytes were written, and may still be here.
    is_unflushed: bool,
    end: Ending,
    /// Places at proxies that it goes through.
    pub(super) leases: Vec<Lease>,
    /// What is to be read before all else.
    pub(super) ahead: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// More may be written.
    Open,
    /// The end is to be told.
    Due,
    /// It was told.
    Told,
}

impl fmt::Debug for Layered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layered")
            .field("broken", &self.broken)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Layered {
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        Self {
            io,
            broken: None,
            is_unflushed: false,
            end: Ending::Open,
            leases: Vec::new(),
            ahead: Vec::new(),
        }
    }

    pub(super) fn io(&self) -> &dyn Io {
        &*self.io
    }

    pub(super) fn into_io(self) -> Box<dyn Io> {
        self.io
    }

    pub(super) fn broken(&self) -> Option<ErrorKind> {
        self.broken
    }

    pub(super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Received>> {
        if let Some(received) = take_ahead(&mut self.ahead, buffer) {
            return Poll::Ready(Ok(received));
        }
        let mut buffer = ReadBuf::new(buffer);
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
        Poll::Ready(self.note(result).map(|()| Received { count: buffer.filled().len(), is_last: false }))
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.is_unflushed = true;
        Poll::Ready(self.note(result))
    }

    pub(super) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_unflushed {
            let result = ready!(Pin::new(&mut self.io).poll_flush(cx));
            self.is_unflushed = false;
            self.note(result)?;
        }
        if self.end == Ending::Due {
            let result = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            self.end = Ending::Told;
            self.note(result)?;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.broken.is_none() {
            ready!(self.io.poll_hangup(cx));
            self.broken = Some(ErrorKind::ConnectionReset);
        }
        Poll::Ready(())
    }

    pub(super) fn end_writes(&mut self) {
        if self.end == Ending::Open {
            self.end = Ending::Due;
        }
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.broken.get_or_insert(error.kind());
        }
        result
    }
}

/// Reads from what is to be read before all else, if there is any.
pub(super) fn take_ahead(ahead: &mut Vec<u8>, buffer: &mut [u8]) -> Option<Received> {
    if ahead.is_empty() {
        return None;
    }
    let count = ahead.len().min(buffer.len());
    buffer[..count].copy_from_slice(&ahead[..count]);
    ahead.drain(..count);
    Some(Received { count, is_last: false })
}
