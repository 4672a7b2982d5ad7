//! A socket of its own, and what few sockets have.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use super::pieces::Pieces;
use super::{Plain, Received, layered};
use crate::pool::Lease;

/// A socket with something to remember.
#[derive(Debug)]
pub(crate) struct Laden {
    pub(super) plain: Plain,
    /// What is to be read before all else.
    pub(super) ahead: Vec<u8>,
    /// Places at proxies that it goes through.
    pub(super) leases: Vec<Lease>,
    /// How it is written in pieces, if it is.
    pub(super) pieces: Option<Box<Pieces>>,
    pub(super) handshake: Handshake,
}

/// Whether the connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// It is.
    Over,
    /// The first packet leaves with the first bytes (TCP Fast Open).
    Due,
    /// It has left. To end the stream now would undo it all: shutdown(2) disconnects a socket that still connects
    /// (`inet_shutdown` in net/ipv4/af_inet.c).
    UnderWay,
    /// It came to this, which the socket tells but once.
    Failed(ErrorKind),
}

impl Laden {
    pub(super) fn new(plain: Plain) -> Box<Self> {
        let (ahead, leases, pieces) = (Vec::new(), Vec::new(), None);
        Box::new(Self { plain, ahead, leases, pieces, handshake: Handshake::Over })
    }

    pub(super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Received>> {
        if let Some(received) = layered::take_ahead(&mut self.ahead, buffer) {
            return Poll::Ready(Ok(received));
        }
        match self.handshake {
            Handshake::Failed(kind) => Poll::Ready(Err(kind.into())),
            _ => self.plain.poll_recv(cx, buffer),
        }
    }

    pub(super) fn try_send(&mut self, cx: &mut Context<'_>, bytes: &[u8], last: bool) -> io::Result<usize> {
        let sent = match &mut self.pieces {
            Some(pieces) => pieces.try_send(cx, &mut self.plain, bytes),
            None => self.plain.try_send(bytes, last && self.handshake == Handshake::Over),
        };
        self.note_sent(&sent);
        sent
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = ready!(match &mut self.pieces {
            Some(pieces) => pieces.poll_send(cx, &mut self.plain, bytes),
            None => self.plain.poll_send(cx, bytes),
        });
        self.note_sent(&sent);
        Poll::Ready(sent)
    }

    pub(super) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.handshake == Handshake::UnderWay {
            let result = ready!(self.plain.poll_connected(cx));
            self.handshake = match &result {
                Ok(()) => Handshake::Over,
                Err(error) => Handshake::Failed(error.kind()),
            };
            return Poll::Ready(result);
        }
        Poll::Ready(Ok(()))
    }

    fn note_sent(&mut self, sent: &io::Result<usize>) {
        if self.handshake == Handshake::Due && sent.as_ref().is_ok_and(|count| *count > 0) {
            self.handshake = Handshake::UnderWay;
        }
    }
}
