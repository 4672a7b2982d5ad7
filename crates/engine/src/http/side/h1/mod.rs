//! A connection of HTTP/1: heads and bodies that come. Those that go are in `writing`.

mod writing;

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use towpath_wire::http1::HeadFault;
use towpath_wire::http1::framing::Bite;

use super::framing::{Coming, Going};
use super::{Data, Fault, Progress};
use crate::buffers::Buffers;
use crate::http::head;
use crate::spare::{self, ReadBuffer};
use crate::stream::Stream;

/// A head is read with at most so much of what is behind it.
const FIRST_READ: usize = 16 * 1024;

/// A connection of HTTP/1. Between two messages it owns no buffer.
#[derive(Debug)]
pub(crate) struct H1Side {
    pub(crate) stream: Stream,
    /// What was read and is of no message yet.
    ahead: Vec<u8>,
    /// The same where it may be kept, behind what is in `ahead`, which is empty then.
    rest: Bytes,
    /// What is to be written, and how much of it was.
    behind: Vec<u8>,
    sent: usize,
    /// Whether some of the message that goes has left.
    has_left: bool,
    /// Whether the last write found no room.
    is_blocked: bool,
    coming: Coming,
    going: Going,
    /// What broke a write, which the next flush tells.
    fault: Option<Fault>,
    end: End,
}

/// Whether the peer has ended its half of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not that we know.
    None,
    /// It has, which nobody was told.
    Met,
    /// It has.
    Told,
}

impl H1Side {
    /// `ahead` was read already.
    pub(crate) fn new(stream: Stream, ahead: Vec<u8>) -> Self {
        Self {
            stream,
            ahead,
            rest: Bytes::new(),
            behind: Vec::new(),
            sent: 0,
            has_left: false,
            is_blocked: false,
            coming: Coming::Over,
            going: Going::Over,
            fault: None,
            end: End::None,
        }
    }

    /// The connection itself, and what was read and not used.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        let ahead = if self.rest.is_empty() { self.ahead } else { self.rest.to_vec() };
        (self.stream, ahead)
    }

    /// Whether bytes have come that are of no message yet.
    pub(crate) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty() || !self.rest.is_empty()
    }

    /// Whether the message that came and the one that went are both whole, and nothing is left of them.
    pub(crate) fn is_between(&self) -> bool {
        self.has_read_all() && self.has_written_all() && !self.has_ahead()
    }

    /// Whether all of the body that goes was written.
    pub(crate) fn has_written_all(&self) -> bool {
        self.going == Going::Over && self.behind.is_empty() && self.fault.is_none()
    }

    pub(crate) fn has_read_all(&self) -> bool {
        matches!(self.coming, Coming::Over)
    }

    /// The body that comes now.
    pub(crate) fn expect(&mut self, coming: Coming) {
        self.coming = coming;
    }

    /// Waits for a head, which `parse` reads; `None` when the stream ended before it began. What is behind it may be kept if that
    /// is `to_keep`.
    pub(crate) fn poll_head<T>(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        to_keep: bool,
        mut parse: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, HeadFault>,
    ) -> Poll<Result<Option<T>, Fault>> {
        if !self.rest.is_empty() {
            self.ahead = std::mem::take(&mut self.rest).to_vec();
        }
        if to_keep && self.ahead.is_empty() {
            let mut buffer = ReadBuffer::take();
            let count = ready!(self.stream.poll_recv(cx, buffer.room()))?.count;
            if count == 0 {
                return Poll::Ready(Ok(None));
            }
            match parse(&buffer.room()[..count])? {
                Some((head, length)) => {
                    // A short rest does not keep the whole buffer.
                    self.rest = match count - length < spare::LEAST {
                        true => Bytes::copy_from_slice(&buffer.room()[length..count]),
                        false => buffer.into_bytes(count).slice(length..),
                    };
                    return Poll::Ready(Ok(Some(head)));
                }
                None => self.ahead.extend_from_slice(&buffer.room()[..count]),
            }
        }
        if !self.ahead.is_empty()
            && let Some((head, length)) = parse(&self.ahead)?
        {
            self.use_up(length);
            return Poll::Ready(Ok(Some(head)));
        }
        loop {
            let Self { stream, ahead, .. } = self;
            let read = buffers.with_hot(|hot| {
                let room = hot.len().min(FIRST_READ);
                let count = ready!(stream.poll_recv(cx, &mut hot[..room]))?.count;
                if count == 0 {
                    return Poll::Ready(if ahead.is_empty() { Ok(Some(None)) } else { Err(Fault::Ended) });
                }
                if ahead.is_empty()
                    && let Some((head, length)) = parse(&hot[..count])?
                {
                    if length < count {
                        *ahead = spare::take();
                        ahead.extend_from_slice(&hot[length..count]);
                    }
                    return Poll::Ready(Ok(Some(Some(head))));
                }
                ahead.extend_from_slice(&hot[..count]);
                Poll::Ready(Ok(None))
            });
            match ready!(read)? {
                Some(head) => return Poll::Ready(Ok(head)),
                None => {
                    if let Some((head, length)) = parse(&self.ahead)? {
                        self.use_up(length);
                        return Poll::Ready(Ok(Some(head)));
                    }
                }
            }
        }
    }

    /// Waits until some of the body that comes is here, or all of it was.
    pub(crate) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.has_ahead() || self.has_read_all() {
            return Poll::Ready(Ok(()));
        }
        let mut chunk = [0; 4096];
        let count = ready!(self.stream.poll_recv(cx, &mut chunk))?.count;
        if count > 0 {
            self.ahead.extend_from_slice(&chunk[..count]);
        } else if matches!(self.coming, Coming::UntilClose) {
            self.coming = Coming::Over;
        } else {
            return Poll::Ready(Err(Fault::Ended));
        }
        Poll::Ready(Ok(()))
    }

    fn use_up(&mut self, count: usize) {
        if count == self.ahead.len() {
            spare::give(std::mem::take(&mut self.ahead));
        } else {
            self.ahead.drain(..count);
        }
    }

    /// Reads some of the body, each part of which `take` gets.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        to_keep: bool,
        take: &mut dyn FnMut(&mut Context<'_>, Data<'_>),
    ) -> Poll<Result<Progress, Fault>> {
        if self.has_read_all() {
            return Poll::Ready(Ok(Progress::Over(None)));
        }
        if !self.rest.is_empty() {
            let bytes = std::mem::take(&mut self.rest);
            return Poll::Ready(self.decode_kept(cx, bytes, take));
        }
        if !self.ahead.is_empty() {
            let ahead = std::mem::take(&mut self.ahead);
            let (used, progress) = self.decode(cx, &ahead, None, take)?;
            if used < ahead.len() {
                self.ahead = ahead[used..].to_vec();
            }
            spare::give(ahead);
            return Poll::Ready(Ok(progress));
        }
        if to_keep {
            let mut buffer = ReadBuffer::take();
            return match ready!(self.stream.poll_recv(cx, buffer.room()))?.count {
                0 => Poll::Ready(self.end_of_stream()),
                count if count < spare::LEAST => {
                    let (used, progress) = self.decode(cx, &buffer.room()[..count], None, take)?;
                    self.rest = Bytes::copy_from_slice(&buffer.room()[used..count]);
                    Poll::Ready(Ok(progress))
                }
                count => Poll::Ready(self.decode_kept(cx, buffer.into_bytes(count), take)),
            };
        }
        buffers.with_hot(|hot| {
            // All of the room, even if less is left of the body: a read that leaves room has found that there is no more.
            let count = ready!(self.stream.poll_recv(cx, hot))?.count;
            if count == 0 {
                return Poll::Ready(self.end_of_stream());
            }
            let (used, progress) = self.decode(cx, &hot[..count], None, take)?;
            self.ahead.extend_from_slice(&hot[used..count]);
            Poll::Ready(Ok(progress))
        })
    }

    /// The peer has ended its stream in a body.
    fn end_of_stream(&mut self) -> Result<Progress, Fault> {
        match std::mem::replace(&mut self.coming, Coming::Over) {
            Coming::UntilClose => Ok(Progress::Over(None)),
            _ => Err(Fault::Ended),
        }
    }

    /// The same as [`Self::decode`], of which the rest stays.
    fn decode_kept(
        &mut self,
        cx: &mut Context<'_>,
        bytes: Bytes,
        take: &mut dyn FnMut(&mut Context<'_>, Data<'_>),
    ) -> Result<Progress, Fault> {
        let (used, progress) = self.decode(cx, &bytes, Some(&bytes), take)?;
        self.rest = bytes.slice(used..);
        Ok(progress)
    }

    /// Hands the data in `input` on, and tells how much of that is of this body.
    fn decode(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        of: Option<&Bytes>,
        take: &mut dyn FnMut(&mut Context<'_>, Data<'_>),
    ) -> Result<(usize, Progress), Fault> {
        match &mut self.coming {
            Coming::Over => Ok((0, Progress::Over(None))),
            Coming::UntilClose => {
                take(cx, Data { bytes: input, of });
                Ok((input.len(), Progress::More))
            }
            Coming::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                take(cx, Data { bytes: &input[..count], of });
                *left -= count as u64;
                if *left > 0 {
                    return Ok((count, Progress::More));
                }
                self.coming = Coming::Over;
                Ok((count, Progress::Over(None)))
            }
            Coming::Chunked(chunks) => {
                let mut at = 0;
                while at < input.len() {
                    match chunks.bite(&input[at..])? {
                        Bite::Data(count) => {
                            take(cx, Data { bytes: &input[at..at + count], of });
                            at += count;
                        }
                        Bite::Around(count) => at += count,
                        Bite::Last(count) => {
                            let trailers = chunks.trailers();
                            let trailers = (!trailers.is_empty()).then(|| head::trailers(&trailers));
                            self.coming = Coming::Over;
                            return Ok((at + count, Progress::Over(trailers)));
                        }
                    }
                }
                Ok((at, Progress::More))
            }
        }
    }

    /// Waits until the peer has reset the connection. What it sends meanwhile is kept, within limits, as its end would show behind
    /// that.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut chunk = [0; 1024];
        while self.has_read_all() && self.end == End::None && self.ahead.len() < FIRST_READ {
            match self.stream.poll_recv(cx, &mut chunk) {
                Poll::Ready(Ok(received)) if received.count > 0 => {
                    self.ahead.extend_from_slice(&chunk[..received.count]);
                }
                Poll::Ready(Ok(_)) => self.end = End::Met,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.stream.poll_hangup(cx)
    }

    pub(super) fn has_just_half_closed(&mut self) -> bool {
        let is_news = self.end == End::Met;
        if is_news {
            self.end = End::Told;
        }
        is_news
    }
}
