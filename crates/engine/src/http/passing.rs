//! An answer on its way to the client, and what is left of the request on its way up.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HeaderMap;

use super::clock::{Clock, Late};
use super::compress::Squeeze;
use super::exchange::HALF_CLOSED;
use super::pump::{Break, Tap, poll_pump};
use super::server::Server;
use super::side::{Data, Fault, Side};
use super::upload::Upload;
use crate::buffers::Buffers;
use crate::error::Reason;
use crate::flow::{Flow, Meter};

/// An answer under way.
pub(super) struct Passing<'a> {
    pub(super) flow: &'a Flow,
    pub(super) clock: &'a mut Clock,
    /// How long it may pause.
    pub(super) pause: Duration,
    pub(super) buffers: &'a Buffers,
    /// What makes it shorter.
    pub(super) squeeze: Option<Squeeze>,
}

/// A body that is counted on its way down.
struct Down<'a> {
    flow: &'a Flow,
    has_moved: bool,
    squeeze: &'a mut Option<Squeeze>,
}

/// Parts that are compressed at once, so that others have their turn.
const SQUEEZED: usize = 16 * 1024;

impl Down<'_> {
    /// Puts what a step of compressing has made.
    fn squeezed(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Side,
        step: impl FnOnce(Squeeze, &mut Vec<u8>) -> io::Result<Option<Squeeze>>,
    ) {
        let Some(squeeze) = self.squeeze.take() else { return };
        let mut made = Vec::new();
        match step(squeeze, &mut made) {
            Ok(squeeze) => {
                *self.squeeze = squeeze;
                self.flow.down(made.len() as u64);
                sink.put(cx, made.as_slice().into());
            }
            // Memory has run out: half an answer must not look whole.
            Err(_) => sink.cut(),
        }
    }
}

impl Tap for Down<'_> {
    fn pass(&mut self, cx: &mut Context<'_>, data: Data<'_>, sink: &mut Side) {
        self.has_moved = true;
        if self.squeeze.is_none() {
            self.flow.down(data.bytes.len() as u64);
            return sink.put(cx, data);
        }
        for part in data.bytes.chunks(SQUEEZED) {
            self.squeezed(cx, sink, |mut squeeze, to| squeeze.push(part, to).map(|()| Some(squeeze)));
        }
    }

    fn rest(&mut self, cx: &mut Context<'_>, sink: &mut Side) {
        self.squeezed(cx, sink, |mut squeeze, to| squeeze.flush(to).map(|()| Some(squeeze)));
    }

    fn end(&mut self, cx: &mut Context<'_>, trailers: Option<HeaderMap>, sink: &mut Side) {
        self.squeezed(cx, sink, |squeeze, to| squeeze.finish(to).map(|()| None));
        sink.put_end(trailers);
    }
}

impl Passing<'_> {
    /// Moves the answer down, and what is left of the request up, until the answer is over.
    ///
    /// # Errors
    /// Why it is not whole.
    pub(super) async fn pass(
        &mut self,
        client: &mut Side,
        server: &mut Server,
        upload: &mut Upload,
    ) -> Result<(), Reason> {
        let (mut is_down, mut is_cut_off) = (false, false);
        let (mut is_timed, mut unread) = (false, 0);
        poll_fn(|cx| {
            let mut tap = Down { flow: self.flow, has_moved: false, squeeze: &mut self.squeeze };
            let down = poll_pump(cx, &mut server.side, client, &mut is_down, &mut tap, self.buffers);
            let mut has_moved = tap.has_moved;
            match down {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(reason(broken))),
                Poll::Pending => {}
            }
            let before = upload.count;
            if !upload.is_sent && !is_cut_off {
                match upload.poll(cx, self.flow, client, &mut server.side, self.buffers) {
                    Poll::Ready(Err(Break::Source(_))) => return Poll::Ready(Err(Reason::ClientReset)),
                    // It has answered without the rest.
                    Poll::Ready(Err(Break::Sink(_))) => is_cut_off = true,
                    Poll::Ready(Ok(())) => has_moved = true,
                    Poll::Pending => {}
                }
            }
            has_moved |= upload.count > before;
            let takes_no_more = upload.is_over || is_cut_off || server.side.is_full();
            if takes_no_more && client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Reason::ClientReset));
            }
            if client.has_just_half_closed() {
                self.pause = self.pause.min(HALF_CLOSED);
                is_timed = false;
            }
            if has_moved || !std::mem::replace(&mut is_timed, true) {
                self.clock.set(Some(self.pause));
            }
            while let Poll::Ready(late) = self.clock.poll(cx) {
                // While it gets fewer, a slow reader is reading.
                let waiting = client.unacknowledged();
                match late {
                    Late::All => return Poll::Ready(Err(Reason::AnswerTimedOut)),
                    Late::Part if waiting == unread => return Poll::Ready(Err(Reason::Idle)),
                    Late::Part => {
                        unread = waiting;
                        self.clock.set(Some(self.pause));
                    }
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn reason(broken: Break) -> Reason {
    match broken {
        Break::Source(Fault::Http(_)) => Reason::BadAnswer,
        Break::Source(_) => Reason::ServerReset,
        Break::Sink(Fault::Http(_)) => Reason::BadAnswer,
        Break::Sink(_) => Reason::ClientReset,
    }
}
