//! The address that a server sees.

use std::net::{IpAddr, SocketAddr};

use towpath_config::SourceAddress;

use crate::error::ConnectError;

/// An address to bind before connecting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) ip: IpAddr,
    /// Whether it is another machine's: the client's.
    pub(super) is_foreign: bool,
}

/// One of the addresses that the pool wants, of the family of `server`; `None` leaves the choice to the kernel.
///
/// # Errors
/// When there is none: a server that trusts addresses is not to be told a wrong one.
pub(super) fn choose(
    wanted: &SourceAddress,
    client: Option<SocketAddr>,
    server: SocketAddr,
) -> Result<Option<Source>, ConnectError> {
    let fits = |ip: &IpAddr| ip.is_ipv4() == server.is_ipv4();
    let source = match wanted {
        SourceAddress::Any => return Ok(None),
        SourceAddress::These(ips) => {
            let count = ips.iter().filter(|ip| fits(ip)).count();
            let chosen = ips.iter().filter(|ip| fits(ip)).nth(fastrand::usize(..count.max(1)));
            chosen.map(|ip| Source { ip: *ip, is_foreign: false })
        }
        SourceAddress::Client => {
            let ip = client.map(|client| client.ip().to_canonical()).filter(fits);
            ip.map(|ip| Source { ip, is_foreign: true })
        }
    };
    source.map(Some).ok_or(ConnectError::NoSource(server))
}
