//! Carrying the frames of one lane.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll};

use towpath_config::Segments;
use towpath_sys::path::TcpPath;
use towpath_wire::tunnel::frame::Decoder;
use towpath_wire::tunnel::{Fault, LaneId, Path, StreamId};

use super::hub::{Hub, Out};
use super::pace::Pacing;
use super::parting::Carried;
use crate::spare;
use crate::stream::Stream;

/// After so many bytes of one lane the others have their turn.
const TURN_BYTES: usize = 1024 * 1024;

/// How a lane ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// In order, by either end.
    Closed,
    /// It broke.
    Broken(ErrorKind),
    /// The other end did what it may not: all of its session is over.
    Fault(Fault),
}

/// Carries the frames of a lane until it ends; `opened` takes the streams that the other end opens. Its socket is as `wanted`.
pub(crate) async fn carry(
    hub: &Arc<Hub>,
    id: LaneId,
    stream: Stream,
    wanted: Option<&Segments>,
    mut opened: impl FnMut(StreamId),
) -> Ended {
    let mut carrier = Carrier {
        hub,
        id,
        stream,
        decoder: Decoder::default(),
        out: Vec::new(),
        sent: 0,
        is_flushed: true,
        // Unless somebody has said how fast it may send.
        pacing: wanted.is_none_or(|wanted| wanted.pacing_rate.is_none()).then(Pacing::default),
    };
    if let Some(facts) = wanted.and_then(|wanted| carrier.stream.facts(wanted)) {
        tracing::debug!("tunnel: lane {id}: {facts:?}");
    }
    let _carried = Carried::here();
    let ended = poll_fn(|cx| carrier.poll(cx, &mut opened)).await;
    hub.remove_lane(id);
    if matches!(ended, Ended::Closed)
        && let Some(finishing) = carrier.stream.finish()
    {
        finishing.await;
    }
    ended
}

struct Carrier<'a> {
    hub: &'a Arc<Hub>,
    id: LaneId,
    stream: Stream,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    is_flushed: bool,
    pacing: Option<Pacing>,
}

/// How its way is, as the session wants to know.
fn way(path: &TcpPath) -> Path {
    let rate = path.window as f64 / path.rtt.as_secs_f64().max(1e-6);
    Path { unsent: path.unsent, rate: rate as u64, rtt: path.rtt, is_recovering: path.is_recovering }
}

impl Carrier<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, opened: &mut impl FnMut(StreamId)) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.poll_write(cx) {
            let broken = |error: io::Error| match self.hub.take_fault() {
                Some(fault) => Ended::Fault(fault),
                None => Ended::Broken(error.kind()),
            };
            return Poll::Ready(ended.map_or_else(broken, |()| Ended::Closed));
        }
        let mut count = 0;
        while count < TURN_BYTES {
            match self.poll_read(cx, opened) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(read)) => count += read,
                Poll::Ready(Err(ended)) => return Poll::Ready(ended),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what there is; ready when the lane is to close.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut written = 0;
        loop {
            while self.sent < self.out.len() {
                match self.stream.poll_send(cx, &self.out[self.sent..])? {
                    Poll::Ready(count) => self.sent += count,
                    Poll::Pending if self.hub.is_dead(self.id, cx) => {
                        return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !self.is_flushed {
                match self.stream.poll_flushed(cx)? {
                    Poll::Ready(()) => self.is_flushed = true,
                    Poll::Pending if self.hub.is_dead(self.id, cx) => {
                        return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            written += self.out.len();
            spare::give(std::mem::take(&mut self.out));
            self.sent = 0;
            if written >= TURN_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let path = self.stream.path();
            if let (Some(pacing), Some(path)) = (&mut self.pacing, &path)
                && let Some(pace) = pacing.look(self.hub.now(), path)
            {
                self.stream.pace(pace);
            }
            match self.hub.poll_out(self.id, path.as_ref().map(way), cx) {
                Poll::Ready(Out::Bytes(bytes)) => (self.out, self.is_flushed) = (bytes, false),
                Poll::Ready(Out::Close) => return Poll::Ready(Ok(())),
                Poll::Ready(Out::Drop) => return Poll::Ready(Err(ErrorKind::TimedOut.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        opened: &mut impl FnMut(StreamId),
    ) -> Poll<Result<usize, Ended>> {
        let stream = &mut self.stream;
        let read = self.decoder.fill(|room| match stream.poll_recv(cx, room) {
            Poll::Ready(Ok(received)) => (received.count, Poll::Ready(Ok(received.count))),
            Poll::Ready(Err(error)) => (0, Poll::Ready(Err(error))),
            Poll::Pending => (0, Poll::Pending),
        });
        let count = match read {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Ended::Broken(error.kind()))),
            Poll::Ready(Ok(0)) if self.decoder.is_within_frame() => {
                return Poll::Ready(Err(Ended::Broken(ErrorKind::UnexpectedEof)));
            }
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(Ended::Closed)),
            Poll::Ready(Ok(count)) => count,
        };
        let mut frames = Vec::new();
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(fault) => {
                    self.hub.finish();
                    return Poll::Ready(Err(Ended::Fault(fault)));
                }
            }
        }
        // Most reads end within a frame.
        if frames.is_empty() {
            return Poll::Ready(Ok(count));
        }
        match self.hub.receive(self.id, frames) {
            Ok(streams) => streams.into_iter().for_each(opened),
            Err(fault) => return Poll::Ready(Err(Ended::Fault(fault))),
        }
        Poll::Ready(Ok(count))
    }
}
