//! Moves a body from one side to the other as it comes.

use std::task::{Context, Poll, ready};

use http::HeaderMap;

use super::side::{Data, Fault, Progress, Side};
use crate::buffers::Buffers;

/// A body moves so many bytes before other connections have their turn.
const TURN_BYTES: u64 = 1024 * 1024;

/// Which side came to a bad end, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// The one that the body comes from.
    Source(Fault),
    /// The one that it goes to.
    Sink(Fault),
}

/// Sees a body on its way, and may make another of it.
pub(crate) trait Tap {
    /// A part of it was read: what of it goes on is put on `sink`.
    fn pass(&mut self, cx: &mut Context<'_>, data: Data<'_>, sink: &mut Side);
    /// Nothing more comes for now: what was held back goes on.
    fn rest(&mut self, cx: &mut Context<'_>, sink: &mut Side);
    /// It is over.
    fn end(&mut self, cx: &mut Context<'_>, trailers: Option<HeaderMap>, sink: &mut Side);
}

/// Moves what can be moved now; ready when all of the body was moved.
///
/// # Errors
/// Which side broke, and how.
pub(crate) fn poll_pump(
    cx: &mut Context<'_>,
    source: &mut Side,
    sink: &mut Side,
    is_over: &mut bool,
    tap: &mut dyn Tap,
    buffers: &Buffers,
) -> Poll<Result<(), Break>> {
    let mut turn = 0;
    while !*is_over {
        if sink.is_full() {
            let flushed = sink.poll_flush(cx).map_err(Break::Sink);
            if flushed.is_pending() {
                // Nobody reads the source meanwhile, and only a look at it tells that it has gone.
                let _ = source.poll_gone(cx);
            }
            ready!(flushed)?;
        }
        if turn >= TURN_BYTES {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let to_keep = sink.keeps_data();
        let moved = source.poll_body(cx, buffers, to_keep, &mut |cx, data| {
            turn += data.bytes.len() as u64;
            tap.pass(cx, data, sink);
        });
        match moved {
            Poll::Ready(Ok(Progress::More)) => {}
            Poll::Ready(Ok(Progress::Over(trailers))) => {
                tap.end(cx, trailers, sink);
                *is_over = true;
            }
            Poll::Ready(Err(fault)) => return Poll::Ready(Err(Break::Source(fault))),
            Poll::Pending => {
                tap.rest(cx, sink);
                ready!(sink.poll_flush(cx).map_err(Break::Sink))?;
                return Poll::Pending;
            }
        }
    }
    sink.poll_flush(cx).map_err(Break::Sink)
}
