//! Why a connection could not be brought to a server, and whether another server may do better.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use towpath_wire::destination::DestinationError;
use towpath_wire::http1::HeadFault;
use towpath_wire::proxy_header::HeaderError;
use towpath_wire::socks::SocksFault;
use towpath_wire::tunnel::hello::Refusal;

use crate::resolve::ResolveError;
use crate::route::Denial;
pub use crate::tunnel_error::TunnelFault;
pub(crate) use crate::tunnel_error::far;

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
    /// A proxy on the way did not bring us on.
    #[error("{0}")]
    Hop(HopError),
    /// TLS with the server did not come about.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The server or the network refused, or this machine could not even ask.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Which proxy of a chain did not bring us on, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hop {number}: {fault}")]
pub struct HopError {
    /// Its place in the chain, from 1.
    pub number: u8,
    /// What came of it.
    pub fault: HopFault,
}

/// A status of HTTP from 300 to 555, small enough for every connection to have room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpStatus(u8);

impl HttpStatus {
    /// The lowest.
    const FIRST: u16 = 300;

    /// `None` for one outside.
    pub(crate) fn new(status: u16) -> Option<Self> {
        u8::try_from(status.checked_sub(Self::FIRST)?).ok().map(Self)
    }

    /// The number as it is sent.
    pub(crate) fn code(self) -> u16 {
        Self::FIRST + u16::from(self.0)
    }
}

impl fmt::Display for HttpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)
    }
}

/// What a proxy did in place of bringing us on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HopFault {
    /// It cannot be connected to.
    #[error("connect refused")]
    Refused,
    /// It did not answer in time.
    #[error("timed out")]
    TimedOut,
    /// There is no way to it.
    #[error("unreachable")]
    Unreachable,
    /// None of its addresses is known or has room.
    #[error("none to be had")]
    NoBackend,
    /// It closed the connection.
    #[error("closed")]
    Closed,
    /// Its answer is none of its protocol.
    #[error("bad answer")]
    BadAnswer,
    /// It wants a login, or another one.
    #[error("wants another login")]
    Login,
    /// It answered with this status of HTTP.
    #[error("status {0}")]
    Status(HttpStatus),
    /// It answered with this code of SOCKS 5.
    #[error("SOCKS code {0}")]
    Code(u8),
    /// SOCKS 4 says no, and never why.
    #[error("SOCKS 4 refused")]
    Refused4,
    /// TLS with it did not come about.
    #[error("no TLS")]
    Tls,
    /// It is the far end of a tunnel, and takes no lane.
    #[error("no lane: {0}")]
    NoLane(Refusal),
    /// Its protocol cannot name the destination.
    #[error("cannot name the destination")]
    Unnameable,
    /// The far end of a tunnel did not come to the destination, for this reason: one of the codes of [`far`].
    #[error("the far end: {}", far::words(*.0))]
    Far(u8),
}

impl HopFault {
    /// Whether the proxy works, and what is behind it does not.
    pub(crate) fn is_behind(self) -> bool {
        match self {
            Self::Status(status) => (502..=504).contains(&status.code()),
            Self::Code(code) => (3..=6).contains(&code),
            Self::Far(code) => code != far::NO_PLACE,
            other => other == Self::Refused4,
        }
    }

    /// Whether the proxy does not want to connect to what is behind it.
    pub(crate) fn is_denial(self) -> bool {
        matches!(self, Self::Code(2) | Self::Far(far::DENIED))
            || matches!(self, Self::Status(status) if status.code() == 403)
    }

    /// Whether the same attempt may do better after a while.
    fn may_pass(self) -> bool {
        match self {
            Self::Status(status) => status.code() >= 500,
            Self::Login | Self::Code(2 | 7 | 8) | Self::Far(far::DENIED) | Self::Unnameable | Self::Tls => {
                false
            }
            Self::NoLane(why) => why != Refusal::Version,
            _ => true,
        }
    }
}

impl ConnectError {
    /// Whether the same attempt may do better after a while: the server comes up, or this machine has what it lacks.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NoSource(_) => false,
            Self::Hop(error) => error.fault.may_pass(),
            Self::Tls(error) => error.kind() != ErrorKind::InvalidData,
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
    /// The request of a client of a proxy was answered.
    Served,
    /// Nothing was carried for the idle time.
    Idle,
    /// The server, or all of them, refused.
    ConnectRefused,
    /// No server answered in time.
    ConnectTimedOut,
    /// The server was reached, and did not answer in time.
    AnswerTimedOut,
    /// What the server answered is no HTTP, or has two meanings.
    BadAnswer,
    /// No way to the server.
    Unreachable,
    /// The server's name does not exist.
    NoSuchHost,
    /// The name servers did not answer.
    ResolveFailed,
    /// Descriptors or socket memory ran out.
    NoDescriptors,
    /// There are as many connections as there may be.
    NoPlace,
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
    /// The body of the request is longer than it may be.
    TooLarge,
    /// The client asks too often.
    TooOften,
    /// The client may not come in.
    Refused,
    /// The client did not say where it wants to go in a way that is understood.
    BadRequest(Misasked),
    /// The client may not go where it wants to.
    Denied(Denial),
    /// The client is no lane of a tunnel, or one that is not taken.
    Tunnel(TunnelFault),
    /// TLS with the client did not come about.
    ClientTls,
    /// TLS with the server did not come about.
    ServerTls,
    /// A proxy on the way did not bring the connection on.
    Hop(HopError),
    /// No route is for this client.
    NoRoute,
    /// The client's PROXY header is none, or has mistakes, or is late, or the client is not trusted to send one.
    BadProxyHeader(HeaderFault),
    /// towpath ended before the connection did.
    Shutdown,
}

/// What is wrong with what a client of a proxy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misasked {
    /// It ended before it had said what it wants.
    #[error("ended early")]
    Ended,
    /// It took too long to say what it wants.
    #[error("late")]
    Late,
    /// Its HTTP has mistakes.
    #[error("bad request: {0}")]
    Http(HeadFault),
    /// Its HTTP names no destination.
    #[error("bad destination: {0}")]
    Destination(DestinationError),
    /// Its HTTP asks for something else than a proxy has: write the whole URL, which begins with http://.
    #[error("this is a proxy: it takes CONNECT, and requests with a whole URL that begins with http://")]
    NotForProxy,
    /// Its SOCKS has mistakes.
    #[error("bad SOCKS: {0}")]
    Socks(SocksFault),
    /// It has no name and password, and needs them.
    #[error("no login")]
    NoLogin,
    /// Its name or password is wrong.
    #[error("wrong login")]
    WrongLogin,
    /// Too many logins are being looked at.
    #[error("logins too busy")]
    BusyLogin,
    /// It speaks TLS, and this listener does not.
    #[error("TLS without a certificate here")]
    Tls,
    /// It speaks a protocol that is not spoken here.
    #[error("unknown protocol")]
    Protocol,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(why) => why.fmt(f),
            Self::Hop(error) => error.fmt(f),
            Self::Tunnel(fault) => fault.fmt(f),
            reason => f.write_str(reason.as_str()),
        }
    }
}

impl Reason {
    /// The words for it in a record, without particulars that [`fmt::Display`] has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client closed",
            Self::ServerClosed => "server closed",
            Self::ClientReset => "client reset",
            Self::ServerReset => "server reset",
            Self::ClientLost => "client lost",
            Self::ServerLost => "server lost",
            Self::Served => "served",
            Self::Idle => "idle",
            Self::ConnectRefused => "connect refused",
            Self::ConnectTimedOut => "connect timed out",
            Self::AnswerTimedOut => "answer timed out",
            Self::BadAnswer => "bad answer",
            Self::Unreachable => "unreachable",
            Self::NoSuchHost => "no such host",
            Self::ResolveFailed => "name servers failed",
            Self::NoDescriptors => "no descriptors",
            Self::NoPlace => "no place",
            Self::NoSourceAddress => "no source address",
            Self::NoSourcePort => "no source port",
            Self::NotPermitted => "not permitted",
            Self::BackendDown => "backend down",
            Self::NoBackend => "no backend",
            Self::QueueFull => "queue full",
            Self::QueueTimedOut => "queue timed out",
            Self::TooLarge => "body too large",
            Self::TooOften => "too often",
            Self::Refused => "refused",
            Self::BadProxyHeader(why) => why.as_str(),
            Self::BadRequest(_) => "bad request",
            Self::Denied(why) => why.as_str(),
            Self::Hop(_) => "failed at a proxy",
            Self::Tunnel(fault) => fault.as_str(),
            Self::NoRoute => "no route",
            Self::ClientTls => "no TLS with client",
            Self::ServerTls => "no TLS with server",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Reason {
    /// Whether a server that fails for this reason seems to be down, rather than this machine to lack something.
    pub(crate) fn is_servers(self) -> bool {
        let is_hops = matches!(self, Self::Hop(error) if !error.fault.is_behind());
        !is_hops
            && !matches!(
                self,
                Self::NoDescriptors | Self::NoSourceAddress | Self::NoSourcePort | Self::NotPermitted
            )
    }
}

impl From<&ConnectError> for Reason {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::TimedOut(_) => Self::ConnectTimedOut,
            ConnectError::Hop(error) => Self::Hop(*error),
            ConnectError::Tls(_) => Self::ServerTls,
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
