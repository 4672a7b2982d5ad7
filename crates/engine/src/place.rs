//! Where a server is, once names have been looked up.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use towpath_wire::addr::{HostName, PortRange, UnixPath};

/// One place that connections can be made to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// An address.
    Tcp {
        /// The address.
        ip: IpAddr,
        /// The port, or one for each port of the listener.
        ports: PortRange,
    },
    /// A unix stream socket.
    Unix(UnixPath),
    /// A name that the last proxy on the way looks up.
    Name {
        /// The name.
        host: HostName,
        /// The port, or one for each port of the listener.
        ports: PortRange,
    },
}

/// A place as one connection sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Address<'a> {
    Tcp(SocketAddr),
    Unix(&'a UnixPath),
    Name(&'a HostName, u16),
}

impl Place {
    /// The address for a client that came in at the port of this place in the listener's range.
    pub(crate) fn at(&self, offset: u16) -> Address<'_> {
        match self {
            Self::Tcp { ip, ports } => Address::Tcp(SocketAddr::new(*ip, ports.at(offset))),
            Self::Unix(path) => Address::Unix(path),
            Self::Name { host, ports } => Address::Name(host, ports.at(offset)),
        }
    }

    /// The same, for a record; a unix socket and a name have none.
    pub fn socket_address(&self, offset: u16) -> Option<SocketAddr> {
        match self.at(offset) {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) | Address::Name(..) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { ip, ports } if ip.is_ipv4() => write!(f, "{ip}:{ports}"),
            Self::Tcp { ip, ports } => write!(f, "[{ip}]:{ports}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Name { host, ports } => write!(f, "{host}:{ports}"),
        }
    }
}
