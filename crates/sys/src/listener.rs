//! Listening sockets, TCP and unix, and taking connections from them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 65_535;

/// Whether other sockets may listen on the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// None may: an address that is in use is an error.
    Alone,
    /// Those of the same user that also ask for it (SO_REUSEPORT); the kernel spreads connections over them.
    Group,
}

/// A bound TCP socket that does not listen yet. A `[::]` address takes v4 connections as well if `dual` says so.
///
/// # Errors
/// What socket(2) or bind(2) says.
pub fn bind_tcp(address: &SocketAddr, dual: bool, sharing: Sharing) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, !dual)?;
    }
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if sharing == Sharing::Group {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    rustix::net::bind(&fd, address)?;
    Ok(fd)
}

/// A bound unix stream socket that does not listen yet.
///
/// # Errors
/// What socket(2) or bind(2) says; `AddrInUse` when something is at `path`.
pub fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    rustix::net::bind(&fd, &SocketAddrUnix::new(path)?)?;
    Ok(fd)
}

/// Lets connections in.
///
/// # Errors
/// What listen(2) says.
pub fn listen(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::listen(socket, BACKLOG)?)
}

/// Whether a descriptor is a listening stream socket.
pub fn is_listening(socket: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
        && sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM)
}

/// Makes accept(2) on a socket that came from elsewhere return at once when nobody waits.
///
/// # Errors
/// What ioctl(2) says.
pub fn set_nonblocking(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(socket, true)?)
}

/// Takes the next connection and its client's address, which a unix client has not.
///
/// # Errors
/// What accept4(2) says; `WouldBlock` when nobody waits.
pub fn accept(socket: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    loop {
        match rustix::net::acceptfrom_with(socket, FLAGS) {
            Ok((fd, address)) => return Ok((fd, address.and_then(|a| SocketAddr::try_from(a).ok()))),
            // The client was gone before we came, or a signal: the next one, please (accept(2), ERRORS).
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
