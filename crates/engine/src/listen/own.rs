//! The addresses that this process listens on, which a client of a proxy is not to be connected to by accident.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use arc_swap::ArcSwap;

/// Where this process listens.
#[derive(Debug, Default)]
pub(crate) struct Own(ArcSwap<Vec<SocketAddr>>);

impl Own {
    /// From now on it listens there.
    pub(crate) fn set(&self, addresses: Vec<SocketAddr>) {
        self.0.store(addresses.into());
    }

    /// Whether a connection to `address` would come in here again.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.0.load().iter().filter(|own| own.port() == address.port()).any(|own| {
            let bound = own.ip().to_canonical();
            let is_any = bound.is_unspecified() && (bound.is_ipv6() || ip.is_ipv4());
            bound == ip || ((is_any || ip.is_unspecified()) && is_local(ip))
        })
    }
}

/// Whether an address is this machine's: others cannot be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_own_address_is_known() {
        let own = Own::default();
        let has = |address: &str| own.has(address.parse().unwrap());
        own.set(vec![
            "0.0.0.0:80".parse().unwrap(),
            "127.0.0.1:81".parse().unwrap(),
            "[::]:82".parse().unwrap(),
        ]);
        for address in [
            "127.0.0.1:80",
            "127.3.3.3:80",
            "0.0.0.0:80",
            "[::ffff:127.0.0.1]:81",
            "127.0.0.1:82",
            "[::1]:82",
        ] {
            assert!(has(address), "{address}");
        }
        for address in ["127.0.0.1:83", "127.0.0.2:81", "192.0.2.1:80", "[::1]:80"] {
            assert!(!has(address), "{address}");
        }
    }
}
