//! Connecting to a server.

mod direct;

use std::net::SocketAddr;

use towpath_config::Pool;
use towpath_wire::addr::{Target, UnixPath};

use crate::error::ConnectError;
use crate::stream::Stream;

/// One place that a target means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Tcp(SocketAddr),
    Unix(&'a UnixPath),
}

impl Place<'_> {
    /// The address, if it has one.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(address),
            Self::Unix(_) => None,
        }
    }
}

/// The places to try for `target`, whose addresses are `addresses`.
pub(crate) fn places<'a>(target: &'a Target, addresses: &'a [SocketAddr]) -> impl Iterator<Item = Place<'a>> {
    let unix = if let Target::Unix(path) = target { Some(Place::Unix(path)) } else { None };
    unix.into_iter().chain(addresses.iter().copied().map(Place::Tcp))
}

/// Connects to `place` as `pool` wants it. `speaks` says that the first bytes are ready to be sent at once.
///
/// # Errors
/// Why it did not come about, within the pool's connect timeout.
pub(crate) async fn connect(place: Place<'_>, pool: &Pool, speaks: bool) -> Result<Stream, ConnectError> {
    match place {
        Place::Tcp(address) => direct::tcp(&address, pool, speaks).await,
        Place::Unix(path) => direct::unix(path, pool).await,
    }
}
