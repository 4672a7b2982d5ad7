//! What goes wrong between the ends of a tunnel.

use towpath_wire::tunnel::Fault;
use towpath_wire::tunnel::hello::{HelloFault, Refusal};

/// What is wrong with a lane of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelFault {
    /// Whoever connected has another key, or none.
    #[error("no tunnel with this key")]
    Key,
    /// Whoever connected speaks no TLS.
    #[error("a lane without TLS: it is plain, or of no tunnel, and this end has a key")]
    NoTls,
    /// Whoever connected speaks TLS.
    #[error("a lane with TLS: the other end has a key, and this one is plain")]
    Encrypted,
    /// It took too long to say what it is.
    #[error("a lane that is late")]
    Late,
    /// It ended before it had said what it is.
    #[error("a lane that ended early")]
    Ended,
    /// What it said is none of the protocol's.
    #[error("{0}")]
    Hello(HelloFault),
    /// It was refused.
    #[error("a lane was refused: {0}")]
    Refused(Refusal),
    /// It did later what it may not.
    #[error("the session was ended: {0}")]
    Frames(Fault),
}

impl TunnelFault {
    /// The words for it in a record.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Key => "no tunnel with this key",
            Self::NoTls => "lane without TLS",
            Self::Encrypted => "lane with TLS",
            Self::Late => "late lane",
            Self::Ended => "lane ended early",
            Self::Hello(HelloFault::Stranger) => "no tunnel",
            Self::Hello(HelloFault::Version(_)) => "tunnel of another version",
            Self::Refused(Refusal::Version) => "tunnel of another version",
            Self::Refused(Refusal::UnknownSession) => "lane of no session",
            Self::Refused(Refusal::Repeated) => "repeated lane",
            Self::Refused(Refusal::Full) => "too many lanes",
            Self::Refused(Refusal::Leaving) => "shutdown",
            Self::Frames(_) => "bad frames",
        }
    }
}

/// What a far end tells of a connection that did not come about: codes of SOCKS 5 (RFC 1928, section 6), and those that it lacks.
pub(crate) mod far {
    pub(crate) const DENIED: u8 = 2;
    pub(crate) const NO_NETWORK: u8 = 3;
    pub(crate) const UNREACHABLE: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    pub(crate) const TIMED_OUT: u8 = 6;
    pub(crate) const NO_SUCH_HOST: u8 = 16;
    /// The far end has no room for it.
    pub(crate) const NO_PLACE: u8 = 17;

    /// A code in words.
    pub(crate) fn words(code: u8) -> &'static str {
        match code {
            DENIED => "denied",
            NO_NETWORK | UNREACHABLE => "unreachable",
            REFUSED => "connect refused",
            TIMED_OUT => "timed out",
            NO_SUCH_HOST => "no such host",
            NO_PLACE => "no place",
            _ => "failed",
        }
    }
}
