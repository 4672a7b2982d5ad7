//! What goes wrong between the ends of a tunnel.

use towpath_wire::tunnel::Fault;
use towpath_wire::tunnel::hello::{HelloFault, Refusal};

/// What is wrong with a lane of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelFault {
    /// Whoever connected has another key, or none.
    #[error("no tunnel with this key")]
    Key,
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
