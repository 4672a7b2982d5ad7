//! Connecting to a server.

mod direct;
mod source;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use towpath_config::Pool;

use crate::error::ConnectError;
use crate::place::Address;
use crate::stream::Stream;

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
    }
}
