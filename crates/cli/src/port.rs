//! A port of 127.0.0.1 that stays ours while nobody listens on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A port that is bound by a socket that does not listen: connections are refused, and none of this machine gets it as
/// its own port, which would end in a connection to itself.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    _reserved: Socket,
}

impl Port {
    /// Takes any free port.
    pub(crate) fn reserve() -> io::Result<Self> {
        let socket = socket()?;
        // The workers of a forwarder share their port.
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _reserved: socket })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A listening socket on it, non-blocking.
    pub(crate) fn listen(&self) -> io::Result<Socket> {
        let socket = socket()?;
        socket.set_nonblocking(true)?;
        socket.bind(&self.address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    }
}

/// SO_REUSEADDR on all of them lets one listen beside those that only hold the port.
fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}
