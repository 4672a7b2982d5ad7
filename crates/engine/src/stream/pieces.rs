//! Writing a stream in pieces, each a segment of its own, with time between them if that is wanted.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use towpath_config as config;

use super::Plain;

/// After so many pieces other connections have their turn.
const TURN: u32 = 64;

/// How a stream is cut, and where it is.
#[derive(Debug)]
pub(super) struct Pieces {
    bytes: usize,
    /// What is left of a piece that the socket had no room for: it must not become a part of the next one.
    rest: usize,
    gap: Option<Duration>,
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    turn: u32,
}

impl Pieces {
    pub(super) fn new(wanted: config::Pieces) -> Box<Self> {
        let config::Pieces { bytes, gap } = wanted;
        Box::new(Self { bytes, rest: 0, gap, due: None, sleep: None, turn: 0 })
    }

    /// Leaves the event loop, for that of another worker.
    pub(super) fn leave(&mut self) {
        self.sleep = None;
    }

    /// Writes the pieces that are due and that there is room for, without waiting.
    ///
    /// # Errors
    /// When the connection is broken and nothing was written.
    pub(super) fn try_send(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut Plain,
        bytes: &[u8],
    ) -> io::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() && self.poll_due(cx).is_ready() {
            let piece = self.next(&bytes[sent..]);
            match plain.try_send_piece(piece) {
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
                Ok(count) => {
                    sent += count;
                    self.note(piece.len(), count);
                    if count < piece.len() {
                        break;
                    }
                }
            }
        }
        Ok(sent)
    }

    /// Waits until a piece is due and there is room, and writes it.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut Plain,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_due(cx));
        let piece = self.next(bytes);
        let count = ready!(plain.poll_send_piece(cx, piece))?;
        self.note(piece.len(), count);
        Poll::Ready(Ok(count))
    }

    fn next<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let length = if self.rest > 0 { self.rest } else { self.bytes };
        &bytes[..bytes.len().min(length)]
    }

    /// Of a piece of `length` bytes, `count` were written.
    fn note(&mut self, length: usize, count: usize) {
        self.rest = length - count;
        self.turn += 1;
        if self.rest == 0 {
            self.due = self.gap.map(|gap| Instant::now() + gap);
        }
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn >= TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(due) = self.due else { return Poll::Ready(()) };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        ready!(sleep.as_mut().poll(cx));
        self.due = None;
        Poll::Ready(())
    }
}
