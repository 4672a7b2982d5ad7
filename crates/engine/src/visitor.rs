//! Whom the limits of one client count for.

use std::net::{IpAddr, Ipv6Addr};

/// The bits of an address of version 6 that tell one client from another: what is behind them each picks for itself
/// (RFC 4291, section 2.5.4).
const PREFIX: u32 = 64;

/// The client that an address stands for: of version 4 itself, of version 6 its network.
pub(crate) fn visitor(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - PREFIX))).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_a_network_are_one_client() {
        let visitor = |ip: &str| visitor(ip.parse().unwrap()).to_string();
        assert_eq!(visitor("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(visitor("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(visitor("2001:db8:1:2::1"), visitor("2001:db8:1:3::1"));
    }
}
