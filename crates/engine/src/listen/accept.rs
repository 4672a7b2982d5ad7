//! The accept loop of one socket on one worker: it only accepts.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::sleep;
use towpath_sys::socket::Socket;
use towpath_sys::{limits, listener};

use super::source::{Door, Seat, Source};
use crate::worker::Worker;

/// How long accepting rests when the kernel has nothing left to make a connection of.
const PAUSE: Duration = Duration::from_millis(50);

/// A client that has been let in.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: OwnedFd,
    /// A unix client has no address.
    pub(crate) client: Option<SocketAddr>,
    /// Its place within the limits, and where it came in.
    pub(crate) seat: Seat,
    /// Place of the port in the listener's range.
    pub(crate) offset: u16,
}

/// A listening socket on the worker that accepts from it.
#[derive(Debug)]
pub(crate) struct Acceptor {
    socket: Socket,
    door: Arc<Door>,
}

impl Acceptor {
    /// Whether it stands at this door.
    pub(crate) fn is_at(&self, door: &Arc<Door>) -> bool {
        Arc::ptr_eq(&self.door, door)
    }

    /// Must be made on the worker's thread.
    ///
    /// # Errors
    /// When the event loop cannot take the socket.
    pub(crate) fn new(socket: OwnedFd, door: Arc<Door>) -> io::Result<Self> {
        let mut socket = Socket::new(socket);
        socket.register(Interest::READABLE)?;
        Ok(Self { socket, door })
    }

    /// Accepts for as long as it is polled. A place within the limits is taken before each accept.
    pub(crate) async fn run(&self, worker: &Rc<Worker>) {
        // Clients that are known to wait: the kernel is asked once for many.
        let mut waiting: usize = 0;
        let mut known = self.door.source();
        while let Ok(mut ready) = poll_fn(|cx| self.socket.poll_read_ready(cx)).await {
            let source = self.door.source();
            if !Arc::ptr_eq(&source, &known) {
                self.take_options(&known, &source);
                known = source.clone();
            }
            if source.pace.is_some() && listener::waiting(self.socket.as_fd()) == 0 {
                ready.clear_ready();
                continue;
            }
            let seat = match Seat::take_now(&source) {
                Some(seat) if source.pace.is_none() => seat,
                seat => match self.wait_for_turn(&source, seat).await {
                    Some(seat) => seat,
                    None => continue,
                },
            };
            match self.accept(seat) {
                Ok(accepted) => {
                    worker.serve(accepted);
                    waiting = waiting.saturating_sub(1);
                    if waiting == 0 {
                        waiting = listener::waiting(self.socket.as_fd());
                    }
                    if waiting == 0 {
                        ready.clear_ready();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => {
                    worker.warn_now_and_then(|| complain(&source, &error));
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits for a place and the turn of the pace; `None` when the door leads elsewhere before.
    async fn wait_for_turn(&self, source: &Arc<Source>, seat: Option<Seat>) -> Option<Seat> {
        let mut changed = pin!(self.door.changed());
        changed.as_mut().enable();
        if !Arc::ptr_eq(&self.door.source(), source) {
            return None;
        }
        let turn = async {
            let seat = match seat {
                Some(seat) => seat,
                None => Seat::take(source).await,
            };
            if let Some(pace) = &source.pace {
                pace.turn().await;
            }
            seat
        };
        tokio::select! {
            biased;
            () = changed => None,
            seat = turn => Some(seat),
        }
    }

    /// Clients inherit the options of the listening socket.
    fn take_options(&self, before: &Source, source: &Source) {
        // A unix socket has none of them.
        let (before, options) = (&before.listener.socket, &source.listener.socket);
        let _ = crate::options::change_listening(before, options, &self.socket);
    }

    /// Has the kernel refuse clients that come from now on; those whose handshake is under way still get in.
    pub(crate) fn refuse_new(&self) {
        // Where the kernel has no such option (before 5.7), closing the socket may reset a few.
        let _ = listener::refuse_new(self.socket.as_fd());
    }

    /// Takes those clients that the kernel has let in already: closing the socket would reset them.
    pub(crate) fn take_waiting(&self, worker: &Rc<Worker>) {
        while let Some(seat) = Seat::take_now(&self.door.source())
            && let Ok(accepted) = self.accept(seat)
        {
            worker.serve(accepted);
        }
    }

    fn accept(&self, seat: Seat) -> io::Result<Accepted> {
        let (socket, client) = listener::accept(self.socket.as_fd())?;
        Ok(Accepted { socket, client, seat, offset: self.door.offset })
    }
}

fn complain(source: &Source, error: &io::Error) {
    let name = &source.listener.name;
    if limits::is_exhausted(error) {
        tracing::warn!("listener {name} pauses: {error}; raise the limit of open files (ulimit -n)");
    } else {
        tracing::warn!("listener {name} cannot accept: {error}");
    }
}
