//! One stream of a tunnel, as a layer: a reset is a reset on either side, and an end an end.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use towpath_config::SocketOptions;
use towpath_sys::path::TcpPath;
use towpath_wire::tunnel::frame::{Last, Why};
use towpath_wire::tunnel::session::Read;
use towpath_wire::tunnel::{BLOCK_BYTES_MAX, Fault, StreamId};

use super::hub::Hub;
use super::squeeze::{Squeeze, unsqueeze};
use crate::error::HopFault;
use crate::stream::Io;

/// What the far end has said of the connection that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing yet: its first byte is still to come.
    Asked,
    /// It is there, or this is the far end.
    There,
    /// It is not, for this reason.
    Refused(u8),
}

/// One stream of a tunnel.
pub(crate) struct TunnelStream {
    hub: Arc<Hub>,
    id: StreamId,
    unread: Bytes,
    squeeze: Squeeze,
    standing: Standing,
    /// Bytes in front of what will be written that were sent already.
    had: usize,
    has_ended: bool,
    is_finished: bool,
}

impl TunnelStream {
    /// A stream that was opened; `standing` says whether the other end still has to tell what became of it.
    pub(crate) fn new(hub: Arc<Hub>, id: StreamId, standing: Standing) -> Self {
        let theirs = hub.with(|state, _| state.session.terms().features);
        let squeeze = Squeeze::new(hub.end.compress, theirs);
        Self {
            hub,
            id,
            unread: Bytes::new(),
            squeeze,
            standing,
            had: 0,
            has_ended: false,
            is_finished: false,
        }
    }

    /// Waits until the far end has told whether it has come to where the stream is to go.
    pub(crate) fn poll_granted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HopFault>> {
        if self.standing == Standing::Asked && ready!(self.poll_more(cx)).is_err() {
            return Poll::Ready(Err(HopFault::Closed));
        }
        Poll::Ready(match self.standing {
            Standing::Asked => Err(HopFault::Closed),
            Standing::There => Ok(()),
            Standing::Refused(code) => Err(HopFault::Far(code)),
        })
    }

    /// So much of what will be written was sent already.
    pub(crate) fn has_had(&mut self, count: usize) {
        self.had = count;
    }

    /// Ends what is written.
    pub(crate) fn end(&mut self) {
        if !std::mem::replace(&mut self.has_ended, true) {
            let id = self.id;
            self.hub.with(|state, _| state.session.finish(id, Last::End));
        }
    }

    /// Sends the far end what it is asked for, or what leaves with that: the first bytes of the stream.
    pub(crate) fn ask(&self, asking: &[u8]) {
        let id = self.id;
        self.hub.with(|state, _| state.session.write(id, asking));
    }

    /// Waits for something to read, which is nothing at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            let (id, before) = (self.id, self.standing);
            let read = self.hub.with(|state, now| {
                let read = state.session.read(id, now);
                if read == Read::Nothing {
                    state.wait_to_read(id, cx);
                }
                read
            });
            match read {
                Read::Block(block) => match unsqueeze(block) {
                    Some(bytes) => self.unread = bytes,
                    None => {
                        self.hub.condemn(Fault::Coding);
                        return Poll::Ready(Err(ErrorKind::InvalidData.into()));
                    }
                },
                Read::Over(Last::Reset(why)) => return Poll::Ready(Err(kind(why).into())),
                Read::Over(_) => return Poll::Ready(Ok(())),
                Read::Nothing => return Poll::Pending,
            }
            if self.standing == Standing::Asked && !self.unread.is_empty() {
                self.standing = match self.unread.get_u8() {
                    0 => Standing::There,
                    code => Standing::Refused(code),
                };
            }
            if before != self.standing {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn kind(why: Why) -> ErrorKind {
    match why {
        Why::Refused => ErrorKind::ConnectionRefused,
        Why::TimedOut => ErrorKind::TimedOut,
        Why::Denied => ErrorKind::PermissionDenied,
        Why::Reset | Why::Unreachable | Why::NoName => ErrorKind::ConnectionReset,
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.standing == Standing::Asked {
            ready!(self.poll_more(cx))?;
            if self.standing == Standing::Asked {
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
        }
        ready!(self.poll_more(cx))?;
        if let Standing::Refused(_) = self.standing {
            return Poll::Ready(Err(ErrorKind::ConnectionRefused.into()));
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { hub, id, squeeze, had, .. } = &mut *self;
        let id = *id;
        if *had > 0 {
            let count = bytes.len().min(*had);
            *had -= count;
            return Poll::Ready(Ok(count));
        }
        let room = hub.with(|state, now| {
            let room = state.session.room(id);
            if room == Some(0) {
                state.wait_to_write(id, cx);
            }
            room.map(|room| (room, state.is_narrow(now)))
        });
        let (room, is_narrow) = match room {
            None => return Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            Some((0, _)) => return Poll::Pending,
            Some(found) => found,
        };
        let part = &bytes[..bytes.len().min(room).min(BLOCK_BYTES_MAX)];
        // Lanes that take more than there is gain nothing by less.
        let rate = if is_narrow { hub.rate() } else { f64::MAX };
        let count = match squeeze.block(part, rate) {
            Some((payload, coding)) => {
                hub.with(|state, _| state.session.write_coded(id, payload, part.len(), coding));
                part.len()
            }
            None => hub.with(|state, _| state.session.write(id, part)),
        };
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Io for TunnelStream {
    fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let id = self.id;
        self.hub.with(|state, _| {
            if state.session.is_reset(id) {
                return Poll::Ready(());
            }
            state.watch(id, cx);
            Poll::Pending
        })
    }

    fn is_unwanted(&self) -> bool {
        !self.hub.is_of_use()
    }

    fn keep_alive(&self, _wanted: &SocketOptions) {}

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn unacknowledged(&self) -> usize {
        let id = self.id;
        usize::from(!self.hub.with(|state, _| state.session.is_delivered(id)))
    }

    fn path(&self) -> Option<TcpPath> {
        None
    }

    fn prepare_lane(&self, _options: &SocketOptions) {}

    fn pace(&self, _rate: u64) {}

    fn finish(mut self: Box<Self>) {
        self.is_finished = true;
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        let (id, is_finished) = (self.id, self.is_finished && self.has_ended);
        self.hub.with(|state, now| {
            if !is_finished {
                state.session.finish(id, Last::Reset(Why::Reset));
            }
            state.session.release(id, now);
            state.forget(id);
        });
    }
}
