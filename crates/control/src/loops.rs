//! Listeners that forward to themselves, which only shows once names are looked up and sockets bound.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Whether a connection to `target` would arrive at the socket bound to `bound`.
pub(crate) fn leads_back(bound: &SocketAddr, target: &SocketAddr) -> bool {
    if bound.port() != target.port() {
        return false;
    }
    let (bound, target) = (bound.ip().to_canonical(), target.ip().to_canonical());
    let family = bound.is_ipv6() || target.is_ipv4();
    bound == target || (bound.is_unspecified() && family && is_of_this_machine(target))
}

/// Only an address of this machine can be bound to; a connection to the unspecified one stays here as well.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_port_of_this_machine_leads_back() {
        let leads = |bound: &str, target: &str| leads_back(&bound.parse().unwrap(), &target.parse().unwrap());
        assert!(leads("127.0.0.1:80", "127.0.0.1:80"));
        assert!(leads("[::]:80", "127.0.0.1:80"));
        assert!(leads("0.0.0.0:80", "127.0.0.9:80"));
        assert!(leads("[::]:80", "[::1]:80"));
        assert!(!leads("0.0.0.0:80", "[::1]:80"));
        assert!(!leads("[::]:80", "127.0.0.1:81"));
        assert!(!leads("[::]:80", "192.0.2.1:80"));
        assert!(!leads("127.0.0.1:80", "127.0.0.2:80"));
    }
}
