//! Why a connection could not be brought to a server, and whether another server may do better.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use towpath_wire::proxy_header::HeaderError;

use crate::resolve::ResolveError;

/// One attempt to reach a server that failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The pool wants a source address, and there is none of the server's family.
    #[error("no source address of the family of {0}")]
    NoSource(SocketAddr),
    /// The pool wants a source address that this machine has not.
    #[error("this machine has no source address {0}")]
    SourceAbsent(IpAddr),
    /// The server or the network refused, or this machine could not even ask.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ConnectError {
    /// Whether the same attempt may do better after a while: the server comes up, or this machine has what it lacks.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NoSource(_) => false,
            Self::Io(error) => error.kind() != ErrorKind::PermissionDenied,
            Self::TimedOut(_) | Self::SourceAbsent(_) => true,
        }
    }
}

/// Why the client's PROXY header is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The client is not in `trusted`.
    #[error("not trusted to send a PROXY header")]
    NotTrusted,
    /// The client ended before its header did.
    #[error("no whole PROXY header before its end")]
    Ended,
    /// It took too long.
    #[error("no whole PROXY header in time")]
    Late,
    /// What came is none.
    #[error(transparent)]
    Bad(#[from] HeaderError),
}

impl HeaderFault {
    /// The words for it in a record.
    fn as_str(self) -> &'static str {
        match self {
            Self::NotTrusted => "PROXY header: not trusted",
            Self::Ended => "PROXY header: not whole",
            Self::Late => "PROXY header: late",
            Self::Bad(HeaderError::Signature) => "PROXY header: none",
            Self::Bad(HeaderError::Line) => "PROXY header: bad line",
            Self::Bad(HeaderError::Words) => "PROXY header: bad words",
            Self::Bad(HeaderError::Address) => "PROXY header: bad address",
            Self::Bad(HeaderError::Port) => "PROXY header: bad port",
            Self::Bad(HeaderError::Command) => "PROXY header: bad command",
            Self::Bad(HeaderError::Family) => "PROXY header: bad family",
            Self::Bad(HeaderError::Length) => "PROXY header: bad length",
            Self::Bad(HeaderError::Tlv) => "PROXY header: bad TLV",
            Self::Bad(HeaderError::Checksum) => "PROXY header: bad checksum",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Both ended their streams, the client first.
    ClientClosed,
    /// Both ended their streams, the server first.
    ServerClosed,
    /// The client reset the connection.
    ClientReset,
    /// The server reset the connection.
    ServerReset,
    /// The client stopped answering.
    ClientLost,
    /// The server stopped answering.
    ServerLost,
    /// Nothing was carried for the idle time.
    Idle,
    /// The server, or all of them, refused.
    ConnectRefused,
    /// No server answered in time.
    ConnectTimedOut,
    /// No way to the server.
    Unreachable,
    /// The server's name does not exist.
    NoSuchHost,
    /// The name servers did not answer.
    ResolveFailed,
    /// Descriptors or socket memory ran out.
    NoDescriptors,
    /// The pool wants a source address that is not of the server's family, or not this machine's.
    NoSourceAddress,
    /// All source ports to the server are taken.
    NoSourcePort,
    /// This user may not connect to the server.
    NotPermitted,
    /// The backend was found down, and its connections are not to go on.
    BackendDown,
    /// The pool has no backend.
    NoBackend,
    /// Too many clients wait for a place at a backend.
    QueueFull,
    /// No backend had a place in time.
    QueueTimedOut,
    /// The client may not come in.
    Refused,
    /// The client's PROXY header is none, or has mistakes, or is late, or the client is not trusted to send one.
    BadProxyHeader(HeaderFault),
    /// towpath ended before the connection did.
    Shutdown,
}

impl Reason {
    /// The words for it in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client closed",
            Self::ServerClosed => "server closed",
            Self::ClientReset => "client reset",
            Self::ServerReset => "server reset",
            Self::ClientLost => "client lost",
            Self::ServerLost => "server lost",
            Self::Idle => "idle",
            Self::ConnectRefused => "connect refused",
            Self::ConnectTimedOut => "connect timed out",
            Self::Unreachable => "unreachable",
            Self::NoSuchHost => "no such host",
            Self::ResolveFailed => "name servers failed",
            Self::NoDescriptors => "no descriptors",
            Self::NoSourceAddress => "no source address",
            Self::NoSourcePort => "no source port",
            Self::NotPermitted => "not permitted",
            Self::BackendDown => "backend down",
            Self::NoBackend => "no backend",
            Self::QueueFull => "queue full",
            Self::QueueTimedOut => "queue timed out",
            Self::Refused => "refused",
            Self::BadProxyHeader(why) => why.as_str(),
            Self::Shutdown => "shutdown",
        }
    }
}

impl Reason {
    /// Whether a server that fails for this reason seems to be down, rather than this machine to lack something.
    pub(crate) fn is_servers(self) -> bool {
        !matches!(self, Self::NoDescriptors | Self::NoSourceAddress | Self::NoSourcePort | Self::NotPermitted)
    }
}

impl From<&ConnectError> for Reason {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::TimedOut(_) => Self::ConnectTimedOut,
            ConnectError::NoSource(_) | ConnectError::SourceAbsent(_) => Self::NoSourceAddress,
            ConnectError::Io(error) if towpath_sys::limits::is_exhausted(error) => Self::NoDescriptors,
            ConnectError::Io(error) => match error.kind() {
                // A unix socket that is not there is a server that is not up.
                ErrorKind::ConnectionRefused | ErrorKind::NotFound => Self::ConnectRefused,
                ErrorKind::TimedOut => Self::ConnectTimedOut,
                ErrorKind::ConnectionReset => Self::ServerReset,
                ErrorKind::AddrNotAvailable => Self::NoSourcePort,
                ErrorKind::PermissionDenied => Self::NotPermitted,
                _ => Self::Unreachable,
            },
        }
    }
}

impl From<&ResolveError> for Reason {
    fn from(error: &ResolveError) -> Self {
        match error {
            ResolveError::NoSuchHost(_) | ResolveError::NoAddress(_) => Self::NoSuchHost,
            ResolveError::Failed { .. } => Self::ResolveFailed,
        }
    }
}
