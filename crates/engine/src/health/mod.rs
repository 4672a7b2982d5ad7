//! Asking backends how they are: one file for each kind of check.

mod checked;
mod command;
mod exchange;
mod http;
mod mysql;
mod postgres;
mod redis;
#[cfg(test)]
mod tests;
mod tls;
mod watch;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;
use towpath_config::{Check, CheckKind, Pool, ProxyVersion, SourceAddress};
use towpath_sys::limits::is_exhausted;
use towpath_wire::addr::HostName;
use towpath_wire::proxy_header::{self, Tlvs};

use crate::chain::{self, Connecting};
use crate::early::Speaks;
use crate::error::ConnectError;
use crate::place::Address;
use crate::pool::{Member, Pool as LivePool};
use crate::stream::Stream;

pub use watch::watch_health;

/// At most so many bytes of an answer are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// At most so many characters of what a server says are told.
const TOLD_CHARS_MAX: usize = 200;

/// Where a check goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door<'a> {
    Tcp(SocketAddr),
    Unix(&'a Path),
    /// A name that the last proxy on the way looks up.
    Name(&'a HostName, u16),
}

/// How a check gets there: as the clients of the pool do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way<'a> {
    /// The pool and the backend, if that lies behind proxies or speaks TLS.
    through: Option<(&'a Arc<LivePool>, &'a Member)>,
    /// The address that it comes from; `None` leaves the choice to the kernel.
    source: Option<IpAddr>,
    /// The PROXY header that it begins with, which says that it speaks for itself.
    send_proxy: Option<ProxyVersion>,
}

impl<'a> Way<'a> {
    /// The way of the checks of `pool` to `door`. Another port than that of clients gets no PROXY header.
    fn of(live: &'a Arc<LivePool>, member: &'a Member, check: &Check, door: Door<'_>) -> Self {
        let pool: &Pool = &live.config;
        // A check of TLS itself shakes hands in its own way.
        let speaks_tls = live.tls.is_some() && !matches!(check.kind, CheckKind::Tls { .. });
        let through = Some((live, member)).filter(|_| !live.hops.is_empty() || speaks_tls);
        let Door::Tcp(address) = door else {
            return Self { through, source: None, send_proxy: pool.send_proxy };
        };
        let fits = |ip: &&IpAddr| ip.is_ipv4() == address.is_ipv4();
        let source = match &pool.source {
            SourceAddress::These(ips) => ips.iter().find(fits).copied(),
            SourceAddress::Any | SourceAddress::Client => None,
        };
        let is_elsewhere = check.port.is_some_and(|port| port != address.port());
        Self { through, source, send_proxy: pool.send_proxy.filter(|_| !is_elsewhere) }
    }
}

/// Why a backend does not pass its check.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It cannot be connected to, or broke the connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It answered, but not well.
    #[error("{0}")]
    Bad(String),
}

impl CheckError {
    /// Whether this machine lacks something, which tells nothing of the backend.
    fn is_ours(&self) -> bool {
        match self {
            Self::Io(error) => is_exhausted(error) || error.kind() == ErrorKind::AddrNotAvailable,
            Self::TimedOut(_) | Self::Bad(_) => false,
        }
    }

    /// An answer that is not the right one, with what the server says.
    fn bad(what: &str, said: &[u8]) -> Self {
        let said: String = String::from_utf8_lossy(said).chars().take(TOLD_CHARS_MAX).collect();
        Self::Bad(format!("{what}: {:?}", said.trim()))
    }
}

/// A connection to a backend, TCP or unix.
trait Connection: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Connection for T {}

type Wire = Box<dyn Connection>;

/// Asks once.
///
/// # Errors
/// Why the backend counts as down.
pub(crate) async fn ask(check: &Check, door: Door<'_>, way: Way<'_>) -> Result<(), CheckError> {
    let door = match (door, check.port) {
        (Door::Tcp(address), Some(port)) => Door::Tcp(SocketAddr::new(address.ip(), port)),
        (Door::Name(name, _), Some(port)) => Door::Name(name, port),
        (door, _) => door,
    };
    let asking = async {
        match &check.kind {
            CheckKind::Tcp => knock(door, way).await,
            CheckKind::Tls { server_name } => {
                tls::ask(connect(door, way).await?, server_name.as_deref()).await
            }
            CheckKind::Http { path, host, status, body } => {
                let wanted = http::Wanted { path, host: host.as_deref(), status, body: body.as_deref() };
                http::ask(connect(door, way).await?, door, wanted).await
            }
            CheckKind::Exchange { send, expect } => {
                exchange::ask(connect(door, way).await?, send, expect).await
            }
            CheckKind::Postgres { primary, user, database, password } => {
                let login = postgres::Login { user, database, password: password.as_ref() };
                postgres::ask(connect(door, way).await?, *primary, login).await
            }
            CheckKind::Redis { master, password } => {
                redis::ask(connect(door, way).await?, *master, password.as_ref()).await
            }
            CheckKind::Mysql => mysql::ask(connect(door, way).await?).await,
            CheckKind::Command { argv } => command::ask(argv, door).await,
        }
    };
    timeout(check.timeout, asking).await.unwrap_or(Err(CheckError::TimedOut(check.timeout)))
}

async fn connect(door: Door<'_>, way: Way<'_>) -> Result<Wire, CheckError> {
    let mut wire: Wire = match (door, way.through) {
        (door, Some((pool, member))) => Box::new(connect_through(door, pool, member).await?),
        (Door::Tcp(address), None) => Box::new(connect_tcp(address, way.source).await?),
        (Door::Unix(path), None) => Box::new(UnixStream::connect(path).await?),
        (Door::Name(..), None) => return Err(CheckError::Io(ErrorKind::AddrNotAvailable.into())),
    };
    let mut header = Vec::new();
    match way.send_proxy {
        Some(ProxyVersion::V1) => proxy_header::write_v1(None, &mut header),
        Some(ProxyVersion::V2) => proxy_header::write_v2(None, &Tlvs::default(), &mut header),
        None => {}
    }
    wire.write_all(&header).await?;
    Ok(wire)
}

/// Only connects; the reset at the end leaves no TIME_WAIT behind.
async fn knock(door: Door<'_>, way: Way<'_>) -> Result<(), CheckError> {
    if way.through.is_some() {
        return connect(door, way).await.map(drop);
    }
    match door {
        Door::Tcp(address) => {
            let stream = connect_tcp(address, way.source).await?;
            towpath_sys::options::reset_on_close(&stream, true)?;
        }
        Door::Unix(path) => drop(UnixStream::connect(path).await?),
        Door::Name(..) => return Err(CheckError::Io(ErrorKind::AddrNotAvailable.into())),
    }
    Ok(())
}

/// Connects as the clients of a pool behind proxies do.
async fn connect_through(
    door: Door<'_>,
    pool: &Arc<LivePool>,
    member: &Member,
) -> Result<Stream, CheckError> {
    let address = match door {
        Door::Tcp(address) => Address::Tcp(address),
        Door::Name(name, port) => Address::Name(name, port),
        Door::Unix(_) => member.place.at(0),
    };
    let bad = |error: ConnectError| match error {
        ConnectError::Io(error) => CheckError::Io(error),
        error => CheckError::Bad(error.to_string()),
    };
    match chain::connect(address, member, pool, None, &Speaks::AtOnce).map_err(bad)? {
        Connecting::Done(stream) => Ok(stream),
        Connecting::Pending(pending) => pending.await.map_err(bad),
    }
}

async fn connect_tcp(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = source {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    let stream = socket.connect(address).await?;
    if stream.local_addr()? == address {
        // It has met itself: nobody listens.
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Reads on until `is_enough`, the end, or the most that is read.
async fn read_until(
    wire: &mut Wire,
    mut is_enough: impl FnMut(&[u8]) -> bool,
) -> Result<Vec<u8>, CheckError> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !is_enough(&answer) && answer.len() < ANSWER_BYTES_MAX {
        match wire.read(&mut chunk).await? {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(answer)
}
