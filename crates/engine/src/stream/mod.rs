//! A connection of either kind, a socket or a stream within another protocol: the one type that stages pass on.

mod gathered;
mod h2;
mod laden;
mod layered;
mod pieces;
mod plain;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use towpath_config::{Segments, SocketOptions};
use towpath_sys::path::TcpPath;
use towpath_sys::pipe::Pipe;
use towpath_sys::segments::SocketFacts;

pub(crate) use self::gathered::{Flusher, Gathered};
pub(crate) use self::h2::H2Stream;
use laden::Handshake;
pub(crate) use laden::Laden;
pub(crate) use layered::{Io, Layered};
use pieces::Pieces;
pub(crate) use plain::Plain;

use crate::options::interest;
use crate::pool::Lease;

/// How long a peer may take for the end of a stream that is not a socket of its own.
const FAREWELL: Duration = Duration::from_secs(30);

/// A connection. When it is dropped, however that comes about, it is reset; only [`Stream::finish`] ends it in order. So a
/// truncated stream never looks complete.
#[derive(Debug)]
pub(crate) enum Stream {
    /// A socket of its own.
    Plain(Plain),
    /// The same with something to remember.
    Laden(Box<Laden>),
    /// A stream within another protocol.
    Layered(Box<Layered>),
}

/// What a read took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Bytes; 0 is the end of the stream.
    pub(crate) count: usize,
    /// Whether these were the last ones, so that no other read has to find the end.
    pub(crate) is_last: bool,
}

impl Stream {
    /// Takes a connected (or connecting) nonblocking TCP socket whose close is a reset.
    pub(crate) fn tcp(socket: OwnedFd) -> Self {
        Self::Plain(Plain::tcp(socket))
    }

    /// Takes a connected nonblocking unix socket.
    pub(crate) fn unix(socket: OwnedFd) -> Self {
        Self::Plain(Plain::unix(socket))
    }

    /// Takes a stream of another protocol.
    pub(crate) fn layered(io: impl Io + 'static) -> Self {
        Self::Layered(Box::new(Layered::new(Box::new(io))))
    }

    /// Takes a new connection as its listener or pool wants it cut and acknowledged.
    pub(crate) fn cut(self, wanted: Option<&Segments>) -> Self {
        match (self, wanted) {
            (Self::Plain(plain), Some(wanted)) => {
                if wanted.congestion.is_some() {
                    plain.keep_congestion();
                }
                if wanted.quickack {
                    plain.acknowledge_at_once();
                }
                let Some(pieces) = wanted.pieces else { return Self::Plain(plain) };
                let mut laden = Laden::new(plain);
                laden.pieces = Some(Pieces::new(pieces));
                Self::Laden(laden)
            }
            (stream, _) => stream,
        }
    }

    /// Takes a socket whose first packet leaves with its first bytes.
    pub(crate) fn sends_early(self) -> Self {
        match self {
            Self::Plain(plain) => {
                let mut laden = Laden::new(plain);
                laden.handshake = Handshake::Due;
                Self::Laden(laden)
            }
            Self::Laden(mut laden) => {
                laden.handshake = Handshake::Due;
                Self::Laden(laden)
            }
            stream @ Self::Layered(_) => stream,
        }
    }

    /// What the kernel has made of its socket, if it has one of its own that is of TCP.
    pub(crate) fn facts(&self, wanted: &Segments) -> Option<SocketFacts> {
        SocketFacts::read(self.descriptor()?, interest(wanted)).ok()
    }

    /// The socket that carries it, where that is known.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self.as_plain() {
            Ok(plain) => Some(plain.as_fd()),
            Err(layered) => layered.io().descriptor(),
        }
    }

    /// Keeps places at proxies for as long as this lives.
    pub(crate) fn holding(self, held: Vec<Lease>) -> Self {
        match self {
            stream if held.is_empty() => stream,
            Self::Plain(plain) => {
                let mut laden = Laden::new(plain);
                laden.leases = held;
                Self::Laden(laden)
            }
            Self::Laden(mut laden) => {
                laden.leases.extend(held);
                Self::Laden(laden)
            }
            Self::Layered(mut layered) => {
                layered.leases.extend(held);
                Self::Layered(layered)
            }
        }
    }

    /// Has `bytes`, which were read already, read again before any other.
    pub(crate) fn unread(self, bytes: &[u8]) -> Self {
        match self {
            stream if bytes.is_empty() => stream,
            Self::Plain(plain) => {
                let mut laden = Laden::new(plain);
                laden.ahead = bytes.to_vec();
                Self::Laden(laden)
            }
            Self::Laden(mut laden) => {
                laden.ahead.splice(0..0, bytes.iter().copied());
                Self::Laden(laden)
            }
            Self::Layered(mut layered) => {
                layered.ahead.splice(0..0, bytes.iter().copied());
                Self::Layered(layered)
            }
        }
    }

    fn as_plain(&self) -> Result<&Plain, &Layered> {
        match self {
            Self::Plain(plain) => Ok(plain),
            Self::Laden(laden) => Ok(&laden.plain),
            Self::Layered(layered) => Err(layered),
        }
    }

    fn as_plain_mut(&mut self) -> Result<&mut Plain, &mut Layered> {
        match self {
            Self::Plain(plain) => Ok(plain),
            Self::Laden(laden) => Ok(&mut laden.plain),
            Self::Layered(layered) => Err(layered),
        }
    }

    /// Whether bytes can go past the process to and from it.
    pub(crate) fn is_plain(&self) -> bool {
        !matches!(self, Self::Layered(_))
    }

    /// Whether it is written in pieces.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self, Self::Laden(laden) if laden.pieces.is_some())
    }

    /// Leaves the event loop, for that of another worker. Only plain ones can.
    pub(crate) fn leave(&mut self) {
        if let Self::Laden(laden) = self
            && let Some(pieces) = &mut laden.pieces
        {
            pieces.leave();
        }
        if let Ok(plain) = self.as_plain_mut() {
            plain.leave();
        }
    }

    /// Whether the peer has sent nothing, and not closed, as the kernel knows by now; within another protocol that is not known.
    pub(crate) fn is_silent(&self) -> bool {
        self.as_plain().map_or(true, Plain::is_silent)
    }

    /// The error that ended this connection, once a call has met it.
    pub(crate) fn broken(&self) -> Option<ErrorKind> {
        match self.as_plain() {
            Ok(plain) => plain.broken(),
            Err(layered) => layered.broken(),
        }
    }

    /// Whether the last read waits for bytes, and none have come: the same task need not try again. Not all can tell.
    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        matches!(self, Self::Plain(plain) if plain.is_waited_for())
    }

    /// Reads what is there.
    #[inline]
    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Received>> {
        match self {
            Self::Plain(plain) => plain.poll_recv(cx, buffer),
            Self::Laden(laden) => laden.poll_recv(cx, buffer),
            Self::Layered(layered) => layered.poll_recv(cx, buffer),
        }
    }

    /// Moves what there is into an empty pipe; 0 is the end of the stream. Only for plain ones.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        match self.as_plain_mut() {
            Ok(plain) => plain.poll_fill(cx, pipe),
            Err(_) => Poll::Ready(Err(ErrorKind::Unsupported.into())),
        }
    }

    /// Writes what there is room for, without waiting; 0 when there is none. The `last` bytes of a stream leave with its
    /// end, or of a header with what is behind it, which must follow at once.
    ///
    /// # Errors
    /// When the connection is broken.
    #[inline]
    pub(crate) fn try_send(&mut self, cx: &mut Context<'_>, bytes: &[u8], last: bool) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.try_send(bytes, last),
            Self::Laden(laden) => laden.try_send(cx, bytes, last),
            Self::Layered(layered) => match layered.poll_send(cx, bytes) {
                Poll::Ready(result) => result,
                Poll::Pending => Ok(0),
            },
        }
    }

    /// Writes all of it, waiting for room where there is none; `more` follows at once.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) async fn send_all(&mut self, bytes: &[u8], more: bool) -> io::Result<()> {
        let mut sent = poll_fn(|cx| Poll::Ready(self.try_send(cx, bytes, more))).await?;
        while sent < bytes.len() {
            sent += poll_fn(|cx| self.poll_send(cx, &bytes[sent..])).await?;
        }
        poll_fn(|cx| self.poll_flushed(cx)).await
    }

    /// Waits for room and writes.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(plain) => plain.poll_send(cx, bytes),
            Self::Laden(laden) => laden.poll_send(cx, bytes),
            Self::Layered(layered) => layered.poll_send(cx, bytes),
        }
    }

    /// Waits until what was written is on its way, and the end of it once that was asked for.
    #[inline]
    pub(crate) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Laden(laden) => laden.poll_flushed(cx),
            Self::Layered(layered) => layered.poll_flushed(cx),
        }
    }

    /// Waits for room and moves the content of the pipe to the socket, as far as there is room. Only for plain ones.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        match self.as_plain_mut() {
            Ok(plain) => plain.poll_drain(cx, pipe),
            Err(_) => Poll::Ready(Err(ErrorKind::Unsupported.into())),
        }
    }

    /// Waits until the connection has broken: reset, or given up by the kernel. For when no read would tell.
    pub(crate) fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.as_plain_mut() {
            Ok(plain) => plain.poll_hangup(cx),
            Err(layered) => layered.poll_hangup(cx),
        }
    }

    /// Ends the stream that is written; what was written before is delivered first.
    pub(crate) fn end_writes(&mut self) {
        match self.as_plain_mut() {
            Ok(plain) => plain.end_writes(),
            Err(layered) => layered.end_writes(),
        }
    }

    /// Has the kernel find out when the peer is gone.
    pub(crate) fn keep_alive(&self, wanted: &SocketOptions) {
        match self.as_plain() {
            Ok(plain) => plain.keep_alive(wanted),
            Err(layered) => layered.io().keep_alive(wanted),
        }
    }

    /// The address that the peer connected to, or connects from; a unix socket has none.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self.as_plain() {
            Ok(plain) => plain.local_address(),
            Err(layered) => layered.io().local_address(),
        }
    }

    /// Whether the other end wants to go once nobody uses it.
    pub(crate) fn is_unwanted(&self) -> bool {
        matches!(self, Self::Layered(layered) if layered.io().is_unwanted())
    }

    /// Bytes written and not yet acknowledged by the peer.
    pub(crate) fn unacknowledged(&self) -> usize {
        match self.as_plain() {
            Ok(plain) => plain.unacknowledged(),
            Err(layered) => layered.io().unacknowledged(),
        }
    }

    /// Closes in order, in the time that a peer may take for that.
    pub(crate) async fn finish_in_order(self) {
        if let Some(finishing) = self.finish() {
            finishing.await;
        }
    }

    /// How its way is, as far as the kernel tells.
    pub(crate) fn path(&self) -> Option<TcpPath> {
        match self.as_plain() {
            Ok(plain) => plain.path(),
            Err(layered) => layered.io().path(),
        }
    }

    /// Is about to be the lane of a tunnel, which keeps what waits to be sent short; `options` were set already.
    pub(crate) fn prepare_lane(&self, options: &SocketOptions) {
        match self.as_plain() {
            Ok(plain) => plain.prepare_lane(options),
            Err(layered) => layered.io().prepare_lane(options),
        }
    }

    /// Sends at most so many bytes a second; 0 is no limit.
    pub(crate) fn pace(&self, rate: u64) {
        match self.as_plain() {
            Ok(plain) => plain.pace(rate),
            Err(layered) => layered.io().pace(rate),
        }
    }

    /// Closes in order: what was written is delivered, then the end of the stream. A future is what that takes, if it
    /// takes time.
    pub(crate) fn finish(self) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        match self {
            Self::Plain(plain) => {
                plain.finish();
                None
            }
            Self::Laden(laden) => {
                laden.plain.finish();
                None
            }
            Self::Layered(mut layered) => Some(Box::pin(async move {
                layered.end_writes();
                let ending = timeout(FAREWELL, poll_fn(|cx| layered.poll_flushed(cx))).await;
                if matches!(ending, Ok(Ok(()))) {
                    layered.into_io().finish();
                }
            })),
        }
    }
}

impl Stream {
    /// Closes in order what has told its end already.
    pub(crate) fn finish_now(self) {
        match self {
            Self::Plain(plain) => plain.finish(),
            Self::Laden(laden) => laden.plain.finish(),
            Self::Layered(layered) => layered.into_io().finish(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let received = ready!(self.get_mut().poll_recv(cx, buffer.initialize_unfilled()))?;
        buffer.advance(received.count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.end_writes();
        stream.poll_flushed(cx)
    }
}
