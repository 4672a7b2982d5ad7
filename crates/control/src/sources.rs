//! Whether the source addresses that pools want are to be had.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use towpath_config::{Config, SourceAddress};
use towpath_sys::stream::{bind_source, tcp_socket};

use crate::instance::StartError;

/// An address of nobody (TEST-NET-1, RFC 5737), to see whether a foreign one may be bound.
const NOBODYS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Fails where a pool may not connect from its clients' addresses, and warns of addresses that this machine has not: they
/// may come later.
pub(crate) fn check(config: &Config) -> Result<(), StartError> {
    for pool in &config.pools {
        match &pool.source {
            SourceAddress::Any => {}
            SourceAddress::Client => {
                if try_bind(NOBODYS, true).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
                    return Err(StartError::Foreign { pool: pool.name.clone() });
                }
            }
            SourceAddress::These(ips) => {
                for ip in ips {
                    if try_bind(*ip, false).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable) {
                        tracing::warn!("pool {}: source {ip} is no address of this machine", pool.name);
                    }
                }
            }
        }
    }
    Ok(())
}

fn try_bind(ip: IpAddr, is_foreign: bool) -> io::Result<()> {
    bind_source(&tcp_socket(&SocketAddr::new(ip, 0), false)?, ip, is_foreign)
}
