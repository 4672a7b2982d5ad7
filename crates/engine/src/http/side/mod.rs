//! One end of a request: the client or a server, by HTTP/1 or HTTP/2, whose bodies are read and written alike.

mod framing;
mod h1;
mod h2;

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use towpath_wire::http1::HeadFault;

pub(crate) use self::framing::{Coming, Going};
pub(crate) use self::h1::H1Side;
pub(crate) use self::h2::{H2Side, fault};
use crate::buffers::Buffers;

/// A side with more than so many bytes that it could not send takes no more.
const BACKLOG: usize = 64 * 1024;

/// One end of a request.
#[derive(Debug)]
pub(crate) enum Side {
    /// A connection of HTTP/1.
    H1(H1Side),
    /// A stream of HTTP/2.
    H2(H2Side),
    /// Nobody: what is sent there is gone.
    Nobody,
}

/// How a side came to a bad end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It sent something that is no HTTP, or another body than it had told.
    Http(HeadFault),
    /// It ended in the middle.
    Ended,
    /// The connection broke.
    Broken(ErrorKind),
    /// It has not looked at the request, and says so.
    Refused,
    /// It cannot be asked this in its protocol.
    Unsendable,
}

impl From<HeadFault> for Fault {
    fn from(fault: HeadFault) -> Self {
        Self::Http(fault)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The request left with the first packet, and nobody was there (TCP Fast Open).
            ErrorKind::ConnectionRefused => Self::Refused,
            kind => Self::Broken(kind),
        }
    }
}

/// Some of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data<'a> {
    pub(crate) bytes: &'a [u8],
    /// What they are a part of, where they may be kept without a copy.
    pub(crate) of: Option<&'a Bytes>,
}

impl<'a> From<&'a [u8]> for Data<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, of: None }
    }
}

/// What a look at a body has brought.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Some of it, or nothing yet.
    More,
    /// It is over, with these trailers.
    Over(Option<HeaderMap>),
}

impl Side {
    /// Whether what is put there is kept, so that it should not be in a buffer that is lent.
    pub(crate) fn keeps_data(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Reads some of the body, each part of which `take` gets; those parts may be kept if that is `to_keep`.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        to_keep: bool,
        take: &mut dyn FnMut(&mut Context<'_>, Data<'_>),
    ) -> Poll<Result<Progress, Fault>> {
        match self {
            Self::H1(side) => side.poll_body(cx, buffers, to_keep, take),
            Self::H2(side) => side.poll_body(cx, take),
            Self::Nobody => Poll::Ready(Ok(Progress::Over(None))),
        }
    }

    /// Whether all of the body was read, where what is behind it would be another message.
    pub(crate) fn has_read_all(&self) -> bool {
        match self {
            Self::H1(side) => side.has_read_all(),
            Self::H2(_) | Self::Nobody => true,
        }
    }

    /// Sends a part of the body, or keeps it to be sent.
    pub(crate) fn put(&mut self, cx: &mut Context<'_>, data: Data<'_>) {
        match self {
            Self::H1(side) => side.put(cx, data.bytes),
            Self::H2(side) => side.put(data),
            Self::Nobody => {}
        }
    }

    /// The body is over.
    pub(crate) fn put_end(&mut self, trailers: Option<HeaderMap>) {
        match self {
            Self::H1(side) => side.put_end(trailers),
            Self::H2(side) => side.put_end(trailers),
            Self::Nobody => {}
        }
    }

    /// Waits until all that was put has been sent.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self {
            Self::H1(side) => side.poll_flush(cx),
            Self::H2(side) => side.poll_flush(cx),
            Self::Nobody => Poll::Ready(Ok(())),
        }
    }

    /// Whether so much waits to be sent that nothing more should be put.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::H1(side) => side.backlog() > BACKLOG || side.is_blocked(),
            Self::H2(side) => side.backlog() > 0,
            Self::Nobody => false,
        }
    }

    /// Waits until whoever is there has gone: reset the connection, or given the stream up.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(side) => side.poll_gone(cx),
            Self::H2(side) => side.poll_gone(cx),
            Self::Nobody => Poll::Pending,
        }
    }

    /// Reads what is left of the body of a stream, and drops it.
    pub(crate) fn poll_waste(
        &mut self,
        cx: &mut Context<'_>,
        wasted: &mut usize,
    ) -> Poll<Result<Progress, Fault>> {
        match self {
            Self::H2(side) => side.poll_body(cx, &mut |_, data| *wasted += data.bytes.len()),
            Self::H1(_) | Self::Nobody => Poll::Ready(Ok(Progress::Over(None))),
        }
    }

    /// Whether it was found to have ended its half of the connection since this was last asked.
    pub(crate) fn has_just_half_closed(&mut self) -> bool {
        match self {
            Self::H1(side) => side.has_just_half_closed(),
            Self::H2(_) | Self::Nobody => false,
        }
    }

    /// Takes back what was put, if none of it has left.
    pub(crate) fn take_back(&mut self) -> bool {
        match self {
            Self::H1(side) => side.take_back(),
            Self::H2(_) | Self::Nobody => false,
        }
    }

    /// Bytes that were written and that the peer has not acknowledged, where that is known.
    pub(crate) fn unacknowledged(&self) -> usize {
        match self {
            Self::H1(side) => side.stream.unacknowledged(),
            Self::H2(_) | Self::Nobody => 0,
        }
    }

    /// Gives up what is under way: the peer sees that it is not whole.
    pub(crate) fn cut(&mut self) {
        match self {
            Self::H1(side) => side.cut(),
            Self::H2(side) => side.cut(),
            Self::Nobody => {}
        }
    }
}
