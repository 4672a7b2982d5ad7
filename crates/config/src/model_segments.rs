//! How the stream of a TCP socket is cut, queued and paced.

use std::time::Duration;

/// What is asked of a TCP socket beyond the usual; what is `None` or false is left to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// TCP_MAXSEG: bytes of payload in a segment.
    pub mss: Option<u16>,
    /// The stream is written in pieces, each a segment of its own.
    pub pieces: Option<Pieces>,
    /// TCP_CORK: only full segments leave, others after 200 ms.
    pub cork: bool,
    /// SO_SNDBUF, in bytes.
    pub send_buffer: Option<usize>,
    /// SO_RCVBUF, in bytes.
    pub receive_buffer: Option<usize>,
    /// TCP_NOTSENT_LOWAT, in bytes.
    pub notsent_lowat: Option<u32>,
    /// TCP_CONGESTION.
    pub congestion: Option<String>,
    /// SO_MAX_PACING_RATE, in bytes a second.
    pub pacing_rate: Option<u64>,
    /// Data may come or go with the first packet (RFC 7413).
    pub fastopen: bool,
    /// MPTCP where kernel and peer speak it (RFC 8684).
    pub mptcp: bool,
    /// The code point of packets, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// TCP_QUICKACK, once, when the connection is made.
    pub quickack: bool,
}

/// How a stream is written in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// At most so many bytes each.
    pub bytes: usize,
    /// Time between two of them; `None` is none.
    pub gap: Option<Duration>,
}
