//! The frames of a lane.
//!
//! A frame is the length of what follows its head (24 bits, big-endian), a byte that says what it is, and that. Numbers are of
//! variable length (RFC 9000, section 16).
//!
//! | kind | frame | fields |
//! |---|---|---|
//! | 0x00 to 0x0f | a block | stream, offset; the length of the bytes before coding, if they are coded; the bytes |
//! | 0x10 | an acknowledgement | stream, how much of it has come in order (one more with its end), how much may be sent in all |
//! | 0x11 | no such stream | stream |
//! | 0x12, 0x13 | ping, and its answer | any number |
//! | 0x14 | no more streams | |
//! | 0x15 | room for streams | how many may be opened in all |
//! | 0x16 | the session is over | |
//!
//! In the kind of a block the lowest two bits are its coding (0 none, 1 lz4, 2 zstd), 0x04 says that its stream ends behind it,
//! and 0x08 that it is reset there; the bytes of the last are why, in place of any of the stream.

use bytes::{Buf, Bytes, BytesMut};

use super::varint;
use super::{BLOCK_BYTES_MAX, Fault, StreamId};

/// Bytes of the head of a frame.
const HEAD_BYTES: usize = 4;

/// Longest frame without its head: a block, and three numbers.
const BYTES_MAX: usize = BLOCK_BYTES_MAX + 3 * 8;

/// Room that a [`Decoder`] has at first, and once that was filled, in bytes: then for the longest frame, of which a whole block is most,
/// and for short ones around it.
const ROOM_BYTES: usize = 16 * 1024;
const ROOM_BYTES_MAX: usize = HEAD_BYTES + BYTES_MAX + 1024;

const END: u8 = 0x04;
const RESET: u8 = 0x08;
const ACK: u8 = 0x10;
const GONE: u8 = 0x11;
const PING: u8 = 0x12;
const PONG: u8 = 0x13;
const BYE: u8 = 0x14;
const STREAMS: u8 = 0x15;
const OVER: u8 = 0x16;

/// What one end tells the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A part of a stream.
    Block(Block),
    /// How far a stream has come.
    Ack {
        /// Which.
        stream: StreamId,
        /// Bytes that have come in order; its end counts as one more.
        received: u64,
        /// Bytes that may be sent in all.
        limit: u64,
    },
    /// The sender does not know this stream any more.
    Gone(StreamId),
    /// Is to be answered with the same number.
    Ping(u64),
    /// Answers a ping.
    Pong(u64),
    /// The sender takes no more streams in this session.
    Bye,
    /// The sender takes so many streams in all, those that are over among them.
    Streams(u64),
    /// The sender ends the session, and all its streams with it.
    Over,
}

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which.
    pub stream: StreamId,
    /// Where in the stream it begins.
    pub offset: u64,
    /// How many bytes of the stream it has.
    pub length: usize,
    /// How they are coded.
    pub coding: Coding,
    /// Whether the stream goes on behind it.
    pub last: Last,
    /// The bytes, coded.
    pub payload: Bytes,
}

/// How the bytes of a block are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As they are.
    Plain,
    /// The block format of LZ4.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// What is behind a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// More of the stream.
    More,
    /// Its end.
    End,
    /// It was reset, for this reason.
    Reset(Why),
}

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was reset behind the tunnel, or its session has ended.
    Reset,
    /// Its destination is not allowed.
    Denied,
    /// Its destination refuses connections.
    Refused,
    /// Its destination does not answer.
    TimedOut,
    /// Its destination cannot be reached.
    Unreachable,
    /// Its destination has no address.
    NoName,
}

impl Why {
    const ALL: [Self; 6] =
        [Self::Reset, Self::Denied, Self::Refused, Self::TimedOut, Self::Unreachable, Self::NoName];

    fn code(self) -> u8 {
        self as u8
    }

    /// What is not known counts as a reset.
    fn of(code: u8) -> Self {
        Self::ALL.into_iter().find(|why| why.code() == code).unwrap_or(Self::Reset)
    }
}

impl Block {
    /// Where the stream goes on behind it.
    pub fn end(&self) -> u64 {
        self.offset + self.length as u64
    }
}

impl Frame {
    /// Appends the frame to `to`.
    pub fn write(&self, to: &mut Vec<u8>) {
        let at = to.len();
        to.extend_from_slice(&[0; HEAD_BYTES]);
        let kind = match self {
            Self::Block(block) => write_block(block, to),
            Self::Ack { stream, received, limit } => {
                [*stream, *received, *limit].into_iter().for_each(|number| varint::write(number, to));
                ACK
            }
            Self::Gone(stream) => {
                varint::write(*stream, to);
                GONE
            }
            Self::Ping(token) => {
                varint::write(*token, to);
                PING
            }
            Self::Pong(token) => {
                varint::write(*token, to);
                PONG
            }
            Self::Bye => BYE,
            Self::Over => OVER,
            Self::Streams(limit) => {
                varint::write(*limit, to);
                STREAMS
            }
        };
        let length = (to.len() - at - HEAD_BYTES) as u32;
        to[at..at + 3].copy_from_slice(&length.to_be_bytes()[1..]);
        to[at + 3] = kind;
    }
}

fn write_block(block: &Block, to: &mut Vec<u8>) -> u8 {
    varint::write(block.stream, to);
    varint::write(block.offset, to);
    let coding = match block.coding {
        Coding::Plain => 0,
        Coding::Lz4 => 1,
        Coding::Zstd => 2,
    };
    if coding != 0 {
        varint::write(block.length as u64, to);
    }
    let last = match block.last {
        Last::More => 0,
        Last::End => END,
        Last::Reset(why) => {
            to.push(why.code());
            RESET
        }
    };
    to.extend_from_slice(&block.payload);
    coding | last
}

/// Finds the frames in the bytes of a lane, in their order. It keeps at most a frame and what it has room for.
#[derive(Debug, Default)]
pub struct Decoder {
    unread: BytesMut,
    /// How large the room is that this is in.
    room_bytes: usize,
    /// Whether all of the room was used last time.
    is_busy: bool,
}

impl Decoder {
    /// Takes bytes that have come, with `read`, which writes into the room that it is given and says how much it wrote.
    pub fn fill<T>(&mut self, read: impl FnOnce(&mut [u8]) -> (usize, T)) -> T {
        self.make_room();
        let filled = self.unread.len();
        let most = if self.is_busy { ROOM_BYTES_MAX } else { ROOM_BYTES };
        let room = most.min(self.unread.capacity() - filled);
        self.unread.resize(filled + room, 0);
        let (count, result) = read(&mut self.unread[filled..]);
        self.unread.truncate(filled + count);
        self.is_busy = count == room;
        result
    }

    /// Has room for as much as is worth a read, or for the rest of a frame that is there for the most part.
    fn make_room(&mut self) {
        let filled = self.unread.len();
        let whole = self.frame_bytes().unwrap_or(0);
        let wanted = if self.is_busy || whole > ROOM_BYTES { ROOM_BYTES_MAX } else { ROOM_BYTES };
        let fits = filled < whole && whole <= self.unread.capacity();
        if self.unread.capacity() - filled >= wanted / 2 || fits && filled >= wanted / 2 {
            return;
        }
        // Whoever has left whole frames there has room for some more all the same.
        let wanted = wanted.max(filled + 1);
        if self.room_bytes < wanted || !self.unread.try_reclaim(wanted - filled) {
            let before = std::mem::replace(&mut self.unread, BytesMut::with_capacity(wanted));
            self.unread.extend_from_slice(&before);
            self.room_bytes = self.unread.capacity();
        }
    }

    /// How long the next frame is with its head, if that is known.
    fn frame_bytes(&self) -> Option<usize> {
        let (head, _) = self.unread.split_first_chunk::<HEAD_BYTES>()?;
        Some(HEAD_BYTES + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize)
    }

    /// Whether part of a frame waits for the rest.
    pub fn is_within_frame(&self) -> bool {
        !self.unread.is_empty()
    }

    /// The next frame, if it is whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Fault> {
        let Some(whole) = self.frame_bytes() else { return Ok(None) };
        if whole > HEAD_BYTES + BYTES_MAX {
            return Err(Fault::Long);
        }
        if self.unread.len() < whole {
            return Ok(None);
        }
        let kind = self.unread[HEAD_BYTES - 1];
        self.unread.advance(HEAD_BYTES);
        let body = self.unread.split_to(whole - HEAD_BYTES);
        if self.unread.is_empty() {
            // An idle lane keeps no room.
            self.unread = BytesMut::new();
        }
        read(kind, body, self.room_bytes).map(Some)
    }
}

/// `room_bytes` is the size of all that `body` is a part of.
fn read(kind: u8, body: BytesMut, room_bytes: usize) -> Result<Frame, Fault> {
    let mut rest = &body[..];
    let number = varint::read;
    let frame = match kind {
        0x00..0x10 => return read_block(kind, body, room_bytes).map(Frame::Block),
        ACK => {
            Frame::Ack { stream: number(&mut rest)?, received: number(&mut rest)?, limit: number(&mut rest)? }
        }
        GONE => Frame::Gone(number(&mut rest)?),
        PING => Frame::Ping(number(&mut rest)?),
        PONG => Frame::Pong(number(&mut rest)?),
        BYE => Frame::Bye,
        OVER => Frame::Over,
        STREAMS => Frame::Streams(number(&mut rest)?),
        _ => return Err(Fault::Form),
    };
    if rest.is_empty() { Ok(frame) } else { Err(Fault::Form) }
}

fn read_block(kind: u8, mut body: BytesMut, room_bytes: usize) -> Result<Block, Fault> {
    let mut rest = &body[..];
    let (stream, offset) = (varint::read(&mut rest)?, varint::read(&mut rest)?);
    let coding = match kind & 0x03 {
        0 => Coding::Plain,
        1 => Coding::Lz4,
        2 => Coding::Zstd,
        _ => return Err(Fault::Form),
    };
    let told = match coding {
        Coding::Plain => None,
        Coding::Lz4 | Coding::Zstd => Some(varint::read(&mut rest)?),
    };
    let last = match kind & (END | RESET) {
        0 => Last::More,
        END => Last::End,
        RESET => {
            let ([why], Coding::Plain) = (rest, coding) else { return Err(Fault::Form) };
            let last = Last::Reset(Why::of(*why));
            return Ok(Block { stream, offset, length: 0, coding, last, payload: Bytes::new() });
        }
        _ => return Err(Fault::Form),
    };
    let payload_bytes = rest.len();
    let length = told.map_or(payload_bytes, |told| usize::try_from(told).unwrap_or(usize::MAX));
    let is_empty = length == 0 && last == Last::More;
    if length > BLOCK_BYTES_MAX || payload_bytes > length || is_empty || offset > varint::MAX - length as u64
    {
        return Err(Fault::Form);
    }
    body.advance(body.len() - payload_bytes);
    // A part of the room keeps all of it, so it has to be most of that.
    let payload = match 2 * payload_bytes < room_bytes {
        true => Bytes::copy_from_slice(&body),
        false => body.freeze(),
    };
    Ok(Block { stream, offset, length, coding, last, payload })
}
