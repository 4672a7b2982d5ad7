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
            ip.filter(|ip| is_of_a_host(*ip, server.ip())).map(|ip| Source { ip, is_foreign: true })
        }
    };
    source.map(Some).ok_or(ConnectError::NoSource(server))
}

/// Whether a server at `server` can have a client at `ip`: not at an address that is nobody's or everybody's, nor at one
/// that is every machine's own.
fn is_of_a_host(ip: IpAddr, server: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let is_nobodys = ip.is_unspecified() || ip.is_multicast() || is_broadcast;
    !is_nobodys && (!ip.is_loopback() || server.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_hosts_are_borrowed() {
        let server: SocketAddr = "10.0.0.5:80".parse().unwrap();
        let choose = |client: &str| {
            let client = Some(client.parse().unwrap());
            super::choose(&SourceAddress::Client, client, server).ok().flatten().map(|source| source.ip)
        };
        assert_eq!(choose("[::ffff:10.1.2.3]:9"), Some("10.1.2.3".parse().unwrap()));
        for nobody in ["127.0.0.1:9", "0.0.0.0:9", "224.0.0.1:9", "255.255.255.255:9", "[2001:db8::1]:9"] {
            assert_eq!(choose(nobody), None, "{nobody}");
        }
    }
}
