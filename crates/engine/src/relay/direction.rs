//! One direction of a connection: from the socket that is read to the socket that is written.

use std::task::{Context, Poll};

use crate::buffers::{Buffers, PooledPipe};
use crate::first_flight::{FirstFlight, Kept};
use crate::stream::Stream;

/// Bytes that one direction may carry before other connections have their turn.
const TURN_BYTES: usize = 1024 * 1024;

/// Reads of at least so many bytes count towards splice: below it, splice costs more than it saves.
const LARGE_READ: usize = 64 * 1024;

/// A spliced read below this size is a thin one.
const THIN_READ: usize = 16 * 1024;

/// So many thin reads in a row and the stream is read into the hot buffer again.
const THIN_READS: u8 = 8;

/// What a poll left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits for a socket, or is over.
    Waits,
    /// It has had its turn and there may be more.
    Again,
}

/// Bytes that were read and are not yet written.
#[derive(Debug)]
enum Carry {
    Nothing,
    Spill(Box<Spill>),
    Pipe(PooledPipe),
}

#[derive(Debug)]
struct Spill {
    bytes: Vec<u8>,
    sent: usize,
}

/// Sees what is read before it is written.
pub(super) trait Tap {
    /// These bytes were read.
    fn read(&mut self, bytes: &[u8]);
    /// Some were read past the process.
    fn missed(&mut self);
}

impl Tap for () {
    fn read(&mut self, _: &[u8]) {}
    fn missed(&mut self) {}
}

impl Tap for Option<Box<Kept>> {
    fn read(&mut self, bytes: &[u8]) {
        if let Some(kept) = self
            && !kept.add(bytes)
        {
            *self = None;
        }
    }

    fn missed(&mut self) {
        *self = None;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Bytes may come.
    Open,
    /// The last byte was read; what is carried is still to be written.
    Ending,
    /// The end of the stream was passed on.
    Ended,
    /// One of the two connections broke, and all that could be delivered was.
    Cut,
}

/// How the next bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// Into the hot buffer, after so many bytes of large reads in a row.
    Copy { large: u32 },
    /// Into a pipe, after so many thin reads in a row.
    Splice { thin: u8 },
}

/// The state of one direction of a [`super::Relay`].
#[derive(Debug)]
pub(super) struct Direction {
    carry: Carry,
    phase: Phase,
    method: Method,
    /// Whether all that came was written, and the source had no more: the task that polled waits for it, and polls again.
    rests: bool,
}

impl Direction {
    /// `first` was read already.
    pub(super) fn new(first: FirstFlight) -> Self {
        let FirstFlight(bytes) = first;
        let carry =
            if bytes.is_empty() { Carry::Nothing } else { Carry::Spill(Box::new(Spill { bytes, sent: 0 })) };
        Self { carry, phase: Phase::Open, method: Method::Copy { large: 0 }, rests: false }
    }

    /// Whether the source ended its stream and all of it was passed on.
    pub(super) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether nothing more will be carried.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Cut)
    }

    /// What was read and not written; `None` if some of it went past the process.
    pub(super) fn take_unsent(&mut self) -> Option<Vec<u8>> {
        match (std::mem::replace(&mut self.carry, Carry::Nothing), self.method) {
            (_, Method::Splice { .. }) | (Carry::Pipe(_), _) => None,
            (Carry::Spill(mut spill), _) => Some(spill.bytes.split_off(spill.sent)),
            (Carry::Nothing, _) => Some(Vec::new()),
        }
    }

    /// Carries what can be carried now. `last` says that the other direction is over, so that closing the sockets
    /// passes the end on; at most `most` bytes are read, and with 0 none is written either; `tap` sees what is read and `carried` is told of all that was
    /// written.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of them are the relay's, which lends them for the call"
    )]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        sink: &mut Stream,
        last: bool,
        most: usize,
        buffers: &Buffers,
        tap: &mut impl Tap,
        mut carried: impl FnMut(u64),
    ) -> Step {
        // Most polls are for the other direction. A sink within another protocol may have something to flush.
        if self.rests && source.is_waited_for() && sink.is_plain() && sink.broken().is_none() {
            return Step::Waits;
        }
        self.rests = false;
        let mut turn = 0;
        while !self.is_over() {
            if sink.broken().is_some() {
                // What is in memory may still go to another server.
                if matches!(self.carry, Carry::Pipe(_)) {
                    self.drop_carry(buffers);
                }
                self.phase = Phase::Cut;
                break;
            }
            if most == 0 && !matches!(self.carry, Carry::Nothing) {
                return Step::Waits;
            }
            let written = match self.carry {
                Carry::Nothing => sink.poll_flushed(cx).map(|_| 0),
                _ => self.write(cx, sink, buffers),
            };
            match written {
                Poll::Pending => {
                    // The source is not read meanwhile, and only a look at it tells that it has broken.
                    let _ = source.poll_hangup(cx);
                    return Step::Waits;
                }
                Poll::Ready(0) => {}
                Poll::Ready(count) => {
                    carried(count as u64);
                    continue;
                }
            }
            if sink.broken().is_some() {
                continue;
            }
            if self.phase == Phase::Ending {
                self.pass_on_end(source, sink, last);
                break;
            }
            if turn >= most {
                return Step::Waits;
            }
            if turn >= TURN_BYTES {
                return Step::Again;
            }
            match self.read(cx, source, sink, most - turn, buffers, tap) {
                Poll::Pending => {
                    self.rests = true;
                    return Step::Waits;
                }
                Poll::Ready(Read { read, sent }) => {
                    turn += read;
                    if sent > 0 {
                        carried(sent as u64);
                    }
                }
            }
        }
        Step::Waits
    }

    /// Writes some of what is carried; 0 when the sink broke.
    fn write(&mut self, cx: &mut Context<'_>, sink: &mut Stream, buffers: &Buffers) -> Poll<usize> {
        let (written, empty) = match &mut self.carry {
            Carry::Nothing => return Poll::Ready(0),
            Carry::Spill(spill) => {
                let Poll::Ready(result) = sink.poll_send(cx, &spill.bytes[spill.sent..]) else {
                    return Poll::Pending;
                };
                let written = result.unwrap_or(0);
                spill.sent += written;
                (written, spill.sent == spill.bytes.len())
            }
            Carry::Pipe(pipe) => {
                let Poll::Ready(result) = sink.poll_drain(cx, pipe) else { return Poll::Pending };
                (result.unwrap_or(0), pipe.held() == 0)
            }
        };
        if empty {
            self.drop_carry(buffers);
        }
        Poll::Ready(written)
    }

    fn drop_carry(&mut self, buffers: &Buffers) {
        if let Carry::Pipe(pipe) = std::mem::replace(&mut self.carry, Carry::Nothing) {
            buffers.return_pipe(pipe);
        }
    }

    fn pass_on_end(&mut self, source: &Stream, sink: &mut Stream, last: bool) {
        if source.broken().is_some() {
            self.phase = Phase::Cut;
            return;
        }
        if !last {
            sink.end_writes();
        }
        self.phase = Phase::Ended;
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        sink: &mut Stream,
        most: usize,
        buffers: &Buffers,
        tap: &mut impl Tap,
    ) -> Poll<Read> {
        if let Method::Splice { thin } = self.method
            && most > TURN_BYTES
            && source.is_plain()
            && sink.is_plain()
            && !sink.is_cut()
            && let Some(pipe) = buffers.take_pipe()
        {
            tap.missed();
            return self.read_into_pipe(cx, source, buffers, pipe, thin);
        }
        buffers.with_hot(|hot| {
            let length = hot.len().min(most);
            self.read_and_send(cx, source, sink, buffers, tap, &mut hot[..length])
        })
    }

    /// Reads into the hot buffer and writes at once; what finds no room is spilled to the heap.
    fn read_and_send(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        sink: &mut Stream,
        buffers: &Buffers,
        tap: &mut impl Tap,
        hot: &mut [u8],
    ) -> Poll<Read> {
        let Poll::Ready(result) = source.poll_recv(cx, hot) else { return Poll::Pending };
        let (read, is_last) = result.map_or((0, true), |received| (received.count, received.is_last));
        if is_last || read == 0 {
            self.phase = Phase::Ending;
        }
        if read == 0 {
            return Poll::Ready(Read { read, sent: 0 });
        }
        self.note_read(read, hot.len(), buffers);
        tap.read(&hot[..read]);
        let sent = sink.try_send(cx, &hot[..read], is_last).unwrap_or(0);
        if sent < read {
            self.carry = Carry::Spill(Box::new(Spill { bytes: hot[sent..read].into(), sent: 0 }));
        }
        Poll::Ready(Read { read, sent })
    }

    fn read_into_pipe(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        buffers: &Buffers,
        mut pipe: PooledPipe,
        thin: u8,
    ) -> Poll<Read> {
        let Poll::Ready(result) = source.poll_fill(cx, &mut pipe) else {
            buffers.return_pipe(pipe);
            return Poll::Pending;
        };
        let read = match result {
            Ok(0) | Err(_) => {
                buffers.return_pipe(pipe);
                self.phase = Phase::Ending;
                0
            }
            Ok(read) => {
                self.carry = Carry::Pipe(pipe);
                self.method = match (read < THIN_READ, thin + 1 >= THIN_READS) {
                    (true, true) => Method::Copy { large: 0 },
                    (true, false) => Method::Splice { thin: thin + 1 },
                    (false, _) => Method::Splice { thin: 0 },
                };
                read
            }
        };
        Poll::Ready(Read { read, sent: 0 })
    }

    /// Counts large reads in a row towards splice.
    fn note_read(&mut self, read: usize, whole: usize, buffers: &Buffers) {
        let (Method::Copy { large }, Some(after)) = (self.method, buffers.splice_after()) else { return };
        let is_large = read >= LARGE_READ.min(whole);
        let large = if is_large { large.saturating_add(u32::try_from(read).unwrap_or(u32::MAX)) } else { 0 };
        let bulk = is_large && u64::from(large) >= after;
        self.method = if bulk { Method::Splice { thin: 0 } } else { Method::Copy { large } };
    }
}

/// Bytes that one read took and, of those, bytes that were written at once.
struct Read {
    read: usize,
    sent: usize,
}
