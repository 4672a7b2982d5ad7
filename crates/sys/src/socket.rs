//! A socket and its place in tokio's event loop, once it has one.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::task::coop::has_budget_remaining;

/// A nonblocking socket that joins the event loop when it is told to.
#[derive(Debug)]
pub struct Socket {
    // Before `fd`: fields are dropped in this order, and it must leave the event loop before the descriptor is closed.
    registration: Option<AsyncFd<Registered>>,
    fd: OwnedFd,
    /// Whether the event loop knows whom to wake when there is something to read.
    reader_waits: Cell<bool>,
}

/// The number of the descriptor that the [`Socket`] around it owns.
#[derive(Debug)]
pub struct Registered(RawFd);

/// What is known of the bytes to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Nothing.
    GoOn,
    /// The peer has ended its stream in order: what a read takes that leaves room are the last bytes.
    Ended,
    /// A mark of urgent data (EPOLLPRI), a reset, or both streams ended: each read is to be made.
    Special,
}

impl AsRawFd for Registered {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Socket {
    /// A socket outside the event loop.
    pub fn new(fd: OwnedFd) -> Self {
        Self { registration: None, fd, reader_waits: Cell::new(false) }
    }

    /// Leaves the event loop, if it was in it.
    pub fn leave(&mut self) {
        self.registration = None;
        self.reader_waits.set(false);
    }

    /// What the event loop has told of reads beyond that there is something to read, if it was asked for urgent data too.
    pub fn reads(&self) -> Reads {
        let Some(registration) = &self.registration else { return Reads::GoOn };
        if registration.try_io(Interest::PRIORITY, |_| Ok(())).is_err() {
            return Reads::GoOn;
        }
        let all = Interest::PRIORITY | Interest::ERROR | Interest::WRITABLE;
        let told = pin!(registration.ready(all)).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok(guard)) = told else { return Reads::GoOn };
        let ready = guard.ready();
        // A reset ends the reads as well. It brings an error, and a hang-up even where the error was taken already.
        let is_orderly = ready.is_read_closed() && !ready.is_error() && !ready.is_write_closed();
        if is_orderly && !ready.is_priority() { Reads::Ended } else { Reads::Special }
    }

    /// Whether the event loop has it.
    pub fn is_registered(&self) -> bool {
        self.registration.is_some()
    }

    /// Joins the event loop of the current runtime for `interest` alone, anew if it was in it. The loop tells first of
    /// what is ready by then.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn register(&mut self, interest: Interest) -> io::Result<()> {
        self.leave();
        let registered = Registered(self.fd.as_raw_fd());
        // SAFETY: `fd` is open until this value is dropped, which drops `registration` first, and nobody outside can
        // reach into either.
        let registration = unsafe { AsyncFd::register_with_interest(registered, interest) }?;
        self.registration = Some(registration);
        Ok(())
    }

    /// Waits until the event loop has told of something to read, and has not been told since that it was read.
    ///
    /// # Errors
    /// When the event loop is gone.
    pub fn poll_read_ready<'a>(&'a self, cx: &mut Context<'_>) -> Poll<io::Result<Ready<'a>>> {
        let Some(registration) = &self.registration else { return Poll::Pending };
        let polled = registration.poll_read_ready(cx);
        // Whoever has used up its budget was turned away at the door.
        self.reader_waits.set(polled.is_pending() && has_budget_remaining());
        Poll::Ready(ready!(polled))
    }

    /// Whether the last to ask in [`Socket::poll_read_ready`] waits, and the event loop has told of nothing since: the same task
    /// need not ask again.
    pub fn is_waited_for(&self) -> bool {
        let nothing =
            |registration: &AsyncFd<_>| registration.try_io(Interest::READABLE, |_| Ok(())).is_err();
        self.reader_waits.get() && self.registration.as_ref().is_some_and(nothing)
    }

    /// The same for room to write.
    ///
    /// # Errors
    /// When the event loop is gone.
    pub fn poll_write_ready<'a>(&'a self, cx: &mut Context<'_>) -> Poll<io::Result<Ready<'a>>> {
        let Some(registration) = &self.registration else { return Poll::Pending };
        Poll::Ready(ready!(registration.poll_write_ready(cx)))
    }
}

/// Readiness that the event loop has told of; see [`AsyncFdReadyGuard::clear_ready`].
pub type Ready<'a> = AsyncFdReadyGuard<'a, Registered>;

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
