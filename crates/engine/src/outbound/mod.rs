//! Connecting to a server, and asking proxies to.

mod direct;
mod http;
mod socks;
mod source;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use towpath_config::{HopProtocol, Login, Pool};
use towpath_wire::destination::Destination;

use crate::error::{ConnectError, HopFault};
use crate::place::Address;
use crate::stream::Stream;

/// Asks the proxy at the other end of `stream` to connect on to `wanted`. What it sends behind its answer is left to be read.
///
/// # Errors
/// What it does instead.
pub(crate) async fn ask(
    protocol: HopProtocol,
    login: Option<&Login>,
    wanted: &Destination,
    stream: Stream,
) -> Result<Stream, HopFault> {
    match protocol {
        HopProtocol::Http | HopProtocol::H2 => http::ask(login, wanted, stream).await,
        HopProtocol::Socks5 | HopProtocol::Socks5Names => socks::ask_v5(login, wanted, stream).await,
        HopProtocol::Socks4a => socks::ask_v4(login, wanted, stream).await,
        // Its streams are opened elsewhere.
        HopProtocol::Tunnel => Err(HopFault::Unnameable),
    }
}

/// What a connection has come to by the time that starting it returns.
pub(crate) enum Connecting {
    /// It is made: over loopback and on unix sockets that is the rule.
    Done(Stream),
    /// It takes a while; within the pool's connect timeout.
    Pending(Pending),
}

/// A connection that is being made.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>>>>;

/// Starts to connect to `address` as `pool` wants it, for `client`. `speaks` says that the first bytes are ready to be sent at once.
///
/// # Errors
/// Why it cannot come about.
pub(crate) fn connect(
    address: Address<'_>,
    pool: &Arc<Pool>,
    client: Option<SocketAddr>,
    speaks: bool,
) -> Result<Connecting, ConnectError> {
    match address {
        Address::Tcp(address) => {
            direct::tcp(address, pool, source::choose(&pool.source, client, address)?, speaks)
        }
        Address::Unix(path) => direct::unix(path, pool),
        // Only pools whose connections go through a proxy have such.
        Address::Name(..) => Err(ConnectError::Io(ErrorKind::AddrNotAvailable.into())),
    }
}
