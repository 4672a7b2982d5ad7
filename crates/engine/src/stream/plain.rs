//! A connected socket and what is known of its readiness.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use towpath_config::SocketOptions;
use towpath_sys::pacing::spare_bulk;
use towpath_sys::path::{TcpPath, keep_short, limit_pace, tcp_path};
use towpath_sys::pipe::Pipe;
use towpath_sys::socket::{Reads, Socket};
use towpath_sys::{options, stream as sys};

use super::Received;

/// A connected stream socket, TCP or unix.
///
/// It joins the event loop late and for as little as will do: a socket is tried first and registered when a call finds
/// nothing, and it asks for writability only once a write met a full queue. That saves the empty wake-up that each
/// new registration for writing brings.
///
/// A TCP socket resets its connection when it is dropped, however that comes about (an error, a shutdown, kill -9):
/// only [`Plain::finish`] ends it in order. So a truncated stream never looks complete.
#[derive(Debug)]
pub(crate) struct Plain {
    socket: Socket,
    waits_for_writes: bool,
    queue_full: bool,
    /// What the peer sends is acknowledged late, until its first bytes were read.
    acknowledges_late: bool,
    delay: Delay,
    /// Whether its congestion control was chosen, or need not be looked at any more.
    keeps_congestion: Cell<bool>,
    broken: Option<ErrorKind>,
    is_unix: bool,
}

/// Whether TCP_NODELAY is still to be set. The first write leaves at once without it: Nagle's algorithm as Linux has it holds a small
/// segment back only behind another that is not acknowledged yet (`tcp_nagle_check` in net/ipv4/tcp_output.c). A connection that
/// sends once saves the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delay {
    Settled,
    /// Before the second write.
    DueBeforeSecond,
    /// Before the next write.
    DueBeforeNext,
}

/// What waits to be sent on the lane of a tunnel, in bytes.
const LANE_UNSENT: u32 = 128 * 1024;

/// The congestion control of lanes, which takes a lost packet for no more than that.
const LANE_CONGESTION: &str = "bbr";

/// Urgent data too: its mark stops a read early.
const READS: Interest = Interest::READABLE.add(Interest::PRIORITY);

impl Plain {
    /// Takes a connected (or connecting) nonblocking TCP socket whose close is a reset.
    pub(crate) fn tcp(socket: OwnedFd) -> Self {
        let socket = Socket::new(socket);
        Self {
            socket,
            waits_for_writes: false,
            queue_full: false,
            acknowledges_late: false,
            delay: Delay::Settled,
            keeps_congestion: Cell::new(false),
            broken: None,
            is_unix: false,
        }
    }

    /// Takes a nonblocking TCP socket that is about to connect and to send at once: the last packet of the handshake leaves
    /// together with the first bytes.
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub(crate) fn tcp_that_speaks(socket: OwnedFd) -> io::Result<Self> {
        options::acknowledge_with_data(&socket)?;
        Ok(Self { acknowledges_late: true, ..Self::tcp(socket) })
    }

    /// Takes a connected nonblocking unix socket.
    pub(crate) fn unix(socket: OwnedFd) -> Self {
        Self { is_unix: true, ..Self::tcp(socket) }
    }

    /// Has what is written leave at once, on a new connection.
    pub(crate) fn dispel_delay(&mut self) {
        self.delay = Delay::DueBeforeSecond;
    }

    /// Leaves its congestion control as it is, which was chosen.
    pub(super) fn keep_congestion(&self) {
        self.keeps_congestion.set(true);
    }

    /// Leaves the event loop, for that of another worker.
    pub(crate) fn leave(&mut self) {
        self.socket.leave();
        self.waits_for_writes = false;
    }

    /// The error that ended this connection, once a call has met it.
    pub(crate) fn broken(&self) -> Option<ErrorKind> {
        self.broken
    }

    /// Expects nothing to read yet, so that the first read waits for an event instead of trying.
    ///
    /// # Errors
    /// When the event loop cannot take the socket.
    pub(crate) fn expect_silence(&mut self) -> io::Result<()> {
        if self.socket.is_registered() { Ok(()) } else { self.socket.register(READS) }
    }

    /// How its way is, as far as the kernel tells.
    pub(crate) fn path(&self) -> Option<TcpPath> {
        tcp_path(self.socket.as_fd()).filter(|_| !self.is_unix)
    }

    /// Sends at most so many bytes a second; 0 is no limit.
    pub(crate) fn pace(&self, rate: u64) {
        if !self.is_unix {
            // Where the kernel lacks it, lanes lose more.
            let _ = limit_pace(self.socket.as_fd(), rate);
        }
    }

    /// Is about to be the lane of a tunnel: what waits to be sent is kept short, and a lost packet costs little, where `wanted` says
    /// nothing else of that.
    pub(crate) fn prepare_lane(&self, wanted: &SocketOptions) {
        if self.is_unix {
            return;
        }
        let wanted = wanted.segments.as_deref();
        // Where the kernel lacks one of both, the lane is slower, and no more.
        if wanted.is_none_or(|wanted| wanted.notsent_lowat.is_none()) {
            let _ = keep_short(self.socket.as_fd(), LANE_UNSENT);
        }
        if wanted.is_none_or(|wanted| wanted.congestion.is_none()) {
            let _ = options::choose_congestion(self.socket.as_fd(), LANE_CONGESTION);
            self.keep_congestion();
        }
    }

    /// Whether the peer has sent nothing, and not closed, as the kernel knows by now.
    pub(crate) fn is_silent(&self) -> bool {
        sys::is_silent(self.socket.as_fd())
    }

    /// Whether the last read waits for bytes, and none have come: the same task need not try again.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.socket.is_waited_for()
    }

    /// Reads what is there.
    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Received>> {
        // A read that left room took all there was, but for what stops one early: descriptors that come along with the
        // bytes of a unix socket, and the mark of urgent data (which poll_read looks after).
        let whole = if self.is_unix { 0 } else { buffer.len() };
        let result = ready!(self.poll_read(cx, |fd| sys::recv(fd, buffer), |count| count < whole));
        self.acknowledge(&result);
        Poll::Ready(self.note(result))
    }

    /// Moves what there is into an empty pipe; 0 is the end of the stream.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let result = ready!(self.poll_read(cx, |fd| pipe.fill(fd), |_| false));
        self.acknowledge(&result);
        Poll::Ready(self.note(result).map(|received| received.count))
    }

    /// Runs `read` when there may be something; `drained` tells from its count whether it took all there was.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
        drained: impl Fn(usize) -> bool,
    ) -> Poll<io::Result<Received>> {
        let more = |count| Ok(Received { count, is_last: false });
        while !self.socket.is_registered() {
            match read(self.socket.as_fd()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.socket.register(READS)?,
                Ok(count) if count > 0 && drained(count) => {
                    self.socket.register(READS)?;
                    return Poll::Ready(more(count));
                }
                result => return Poll::Ready(result.and_then(more)),
            }
        }
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            match read(self.socket.as_fd()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Ok(count) if count > 0 && drained(count) => {
                    let known = self.socket.reads();
                    if known != Reads::Special {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(Received { count, is_last: known == Reads::Ended }));
                }
                result => return Poll::Ready(result.and_then(more)),
            }
        }
    }

    /// Writes what there is room for, without waiting; 0 when there is none. The `last` bytes of a stream leave with its
    /// end, or of a header with what is behind it, which must follow at once.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn try_send(&mut self, bytes: &[u8], last: bool) -> io::Result<usize> {
        // What leaves together with what is behind it would be pushed by the call.
        if !last {
            self.settle_delay();
        }
        let socket = self.socket.as_fd();
        match if last { sys::send_last(socket, bytes) } else { sys::send(socket, bytes) } {
            Ok(count) => {
                self.queue_full = count < bytes.len();
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.queue_full = true;
                Ok(0)
            }
            result => self.note(result),
        }
    }

    /// Waits for room and writes.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(self.poll_write(cx, |fd| sys::send(fd, bytes), |count| count < bytes.len()));
        Poll::Ready(self.note(result))
    }

    /// Writes a piece that is to leave by itself, as far as there is room, without waiting.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn try_send_piece(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.settle_delay();
        match sys::send_piece(self.socket.as_fd(), piece) {
            Ok(count) => {
                self.queue_full = count < piece.len();
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.queue_full = true;
                Ok(0)
            }
            result => self.note(result),
        }
    }

    /// Waits for room and writes a piece that is to leave by itself.
    pub(super) fn poll_send_piece(&mut self, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        let send = |fd: BorrowedFd<'_>| sys::send_piece(fd, piece);
        let result = ready!(self.poll_write(cx, send, |count| count < piece.len()));
        Poll::Ready(self.note(result))
    }

    /// Acknowledges what has come without waiting for something to send.
    pub(super) fn acknowledge_at_once(&self) {
        // A socket of MPTCP has no such option.
        let _ = options::acknowledge_at_once(&self.socket);
    }

    /// Waits for room and moves the content of the pipe to the socket, as far as there is room.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let result = ready!(self.poll_write(cx, |fd| pipe.drain(fd), |_| false));
        Poll::Ready(self.note(result))
    }

    /// Runs `write` when there may be room; `filled` tells from its count whether it took all the room there was.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
        filled: impl Fn(usize) -> bool,
    ) -> Poll<io::Result<usize>> {
        self.settle_delay();
        if !self.queue_full {
            match write(self.socket.as_fd()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.queue_full = true,
                result => return Poll::Ready(result),
            }
        }
        if !self.keeps_congestion.replace(true) {
            // Who has to wait has much to send.
            spare_bulk(self.socket.as_fd());
        }
        self.register_for_writes(cx)?;
        loop {
            let mut ready = ready!(self.socket.poll_write_ready(cx))?;
            match write(self.socket.as_fd()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Ok(count) => {
                    self.queue_full = filled(count);
                    if self.queue_full {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                result => return Poll::Ready(result),
            }
        }
    }

    /// Waits until the connection has broken: reset, or given up by the kernel. For when no read would tell: the stream
    /// was read to its end, or is not read now. A unix peer that has closed in order is no break.
    pub(crate) fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.broken.is_some() {
            return Poll::Ready(());
        }
        if self.queue_full {
            return Poll::Pending; // the writer waits already, and meets the error
        }
        if self.expect_silence().is_err() {
            return Poll::Pending;
        }
        loop {
            match ready!(self.socket.poll_write_ready(cx)) {
                Ok(mut ready) if ready.ready().is_write_closed() || ready.ready().is_error() => {
                    ready.retain_ready();
                    let Err(error) = sys::take_error(self.socket.as_fd()) else { return Poll::Pending };
                    self.broken = Some(error.kind());
                    return Poll::Ready(());
                }
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return Poll::Pending,
            }
        }
    }

    /// Waits until a connection that is under way is made or has failed.
    pub(super) fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.register_for_writes(cx)?;
        ready!(self.socket.poll_write_ready(cx))?.retain_ready();
        let result = sys::take_error(self.socket.as_fd());
        Poll::Ready(self.note(result))
    }

    /// Ends the stream that is written; what was written before is delivered first.
    pub(crate) fn end_writes(&mut self) {
        if sys::shutdown_write(self.socket.as_fd()).is_err() {
            self.broken.get_or_insert(ErrorKind::ConnectionReset);
        }
    }

    /// Has the kernel find out when the peer is gone. A unix socket, whose peer cannot vanish, takes no such options.
    pub(crate) fn keep_alive(&self, wanted: &SocketOptions) {
        if let Err(error) = crate::options::tcp(wanted).apply_lasting(&self.socket) {
            tracing::debug!("keepalive options: {error}");
        }
    }

    /// The address that the peer connected to, or connects from; a unix socket has none.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        sys::local_address(&self.socket).ok().flatten()
    }

    /// Bytes written and not yet acknowledged by the peer.
    pub(crate) fn unacknowledged(&self) -> usize {
        sys::unacknowledged(self.socket.as_fd()).unwrap_or(0)
    }

    /// Closes in order: what was written is delivered, then the end of the stream.
    pub(crate) fn finish(self) {
        // A unix socket has no such option and needs none.
        let _ = options::reset_on_close(&self.socket, false);
    }

    /// Waits until a socket that is connecting has its answer.
    ///
    /// # Errors
    /// Why it could not connect.
    pub(crate) async fn connected(&mut self) -> io::Result<()> {
        self.waits_for_writes = true;
        self.socket.register(READS.add(Interest::WRITABLE))?;
        poll_fn(|cx| self.socket.poll_write_ready(cx).map_ok(|mut ready| ready.retain_ready())).await?;
        sys::take_error(self.socket.as_fd())
    }

    /// Asks for writability as well as readability, and keeps a reader waiting that waited before.
    fn register_for_writes(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.waits_for_writes {
            return Ok(());
        }
        self.socket.register(READS.add(Interest::WRITABLE))?;
        self.waits_for_writes = true;
        if self.socket.poll_read_ready(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// To be called before each write that is not to wait for the next one.
    fn settle_delay(&mut self) {
        self.delay = match self.delay {
            Delay::Settled => return,
            Delay::DueBeforeSecond => Delay::DueBeforeNext,
            Delay::DueBeforeNext => {
                // A connection that has broken tells so in the write.
                let _ = options::send_without_delay(&self.socket);
                Delay::Settled
            }
        };
    }

    /// Acknowledges the first bytes of a peer that got ours with the handshake, since the kernel would wait for 40 ms. A peer
    /// with Nagle's algorithm (RFC 1122, section 4.2.3.4) that answers in two writes holds the second one back until then.
    fn acknowledge(&mut self, result: &io::Result<Received>) {
        if self.acknowledges_late {
            self.acknowledges_late = false;
            if result.as_ref().is_ok_and(|received| received.count > 0 && !received.is_last) {
                let _ = options::acknowledge_at_once(&self.socket);
            }
        }
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.broken.get_or_insert(error.kind());
        }
        result
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
