//! Many streams over several connections, the lanes of a tunnel: the protocol, without input, output or clock.
//!
//! A lane begins with a [`hello`], and carries [`frame`]s from then on. Each stream is cut into blocks, which go over whichever
//! lane delivers them first; [`session::Session`] puts them in order again, and sends anew what a lane has taken along when it
//! broke. Times are what has passed since some moment that the caller chooses, the same for all calls.

pub mod frame;
pub mod growth;
pub mod hello;
pub mod session;

mod inflow;
mod outflow;
mod stripe;
mod varint;

#[cfg(test)]
mod tests;

pub use stripe::Path;

/// Longest block, in bytes of its stream.
pub const BLOCK_BYTES_MAX: usize = 64 * 1024;

/// The number of a lane in its session: counted up by the end that opens them, and never used again.
pub type LaneId = u32;

/// The number of a stream in its session: counted up by the end that opens them.
pub type StreamId = u64;

/// What a peer does that the protocol does not allow. Its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A frame is longer than any may be.
    #[error("a frame that is too long")]
    Long,
    /// A frame is not of any known form.
    #[error("a frame of no known form")]
    Form,
    /// Bytes of a stream beyond what it was allowed to send.
    #[error("more of a stream than there is room for")]
    Credit,
    /// Blocks that cover a place of a stream in two ways.
    #[error("blocks that overlap")]
    Overlap,
    /// Too many blocks of a stream before one that is missing.
    #[error("too many blocks out of order")]
    Blocks,
    /// Bytes behind the end of a stream, or a second end.
    #[error("bytes behind the end of a stream")]
    End,
    /// An acknowledgement of what was never sent.
    #[error("an acknowledgement of what was not sent")]
    Ack,
    /// A block that is not coded as it says.
    #[error("a block that is not coded as it says")]
    Coding,
    /// A stream beyond those that there is room for, one of an end that opens none, or room for some at an end that takes them.
    #[error("too many streams")]
    Streams,
}
