//! The checked configuration of tunnels: being the far end of some, and going out through them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// What either end of a tunnel has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelEnd {
    /// What only both ends know, 64 hexadecimal digits; `None` for one that neither encrypts nor asks who is there.
    pub key: Option<Secret>,
    /// The file that it was read from.
    pub key_file: Option<PathBuf>,
    /// Whether blocks are compressed.
    pub compress: Compression,
    /// How long a session lives on without a lane; zero ends it with the last.
    pub resume: Duration,
    /// Most bytes of one stream that wait here to be read.
    pub window_bytes: u64,
    /// All such windows together grow no further than this many bytes.
    pub memory_bytes: u64,
}

/// What makes a listener the far end of tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelIn {
    /// What both ends have.
    pub end: TunnelEnd,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// Lanes of one session.
    pub lanes_max: usize,
    /// Streams of one session.
    pub streams_max: usize,
}

/// A tunnel to go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelOut {
    /// What both ends have.
    pub end: TunnelEnd,
    /// How many lanes.
    pub lanes: Lanes,
    /// The local addresses that its lanes begin at, in turn; empty leaves that to the system.
    pub bind: Vec<IpAddr>,
}

/// How many lanes a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// So many.
    Fixed(usize),
    /// As many as are of use, at most so many.
    Auto(usize),
}

/// Whether blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Off,
    /// Where it pays: as well as there is time for.
    Auto,
    /// With LZ4, what shrinks.
    Lz4,
    /// With Zstandard, what shrinks.
    Zstd,
}
