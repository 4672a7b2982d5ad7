//! Connected stream sockets, TCP and unix, none of whose calls block.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt,
};

use crate::segments;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// What became of a connect(2) that did not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connecting {
    /// The connection is made.
    Done,
    /// The answer is still out; the socket becomes writable when it is in.
    Pending,
}

/// A new TCP socket of the family of `to`; with `mptcp` one of MPTCP (RFC 8684) where the kernel has them.
///
/// # Errors
/// What socket(2) says; [`crate::limits::is_exhausted`] tells whether descriptors ran out.
pub fn tcp_socket(to: &SocketAddr, mptcp: bool) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    if mptcp {
        match rustix::net::socket_with(family, SocketType::STREAM, FLAGS, Some(ipproto::MPTCP)) {
            Err(error) if segments::has_no_mptcp(error) => {}
            result => return Ok(result?),
        }
    }
    Ok(rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?)
}

/// A new unix stream socket.
///
/// # Errors
/// What socket(2) says.
pub fn unix_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?)
}

/// Has a socket connect from `ip`, with a port that is chosen only then (IP_BIND_ADDRESS_NO_PORT, ip(7)), so that all
/// ports can be had for each server. A `foreign` address is not this machine's (IP_TRANSPARENT; needs CAP_NET_ADMIN).
///
/// # Errors
/// What setsockopt(2) or bind(2) says.
pub fn bind_source(socket: &OwnedFd, ip: IpAddr, foreign: bool) -> io::Result<()> {
    let set = |level: libc::c_int, option: libc::c_int| -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: both options take an int, whose size goes with it.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    match (foreign, ip) {
        (false, _) => {}
        (true, IpAddr::V4(_)) => set(libc::SOL_IP, libc::IP_TRANSPARENT)?,
        (true, IpAddr::V6(_)) => set(libc::SOL_IPV6, libc::IPV6_TRANSPARENT)?,
    }
    set(libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
    Ok(rustix::net::bind(socket, &SocketAddr::new(ip, 0))?)
}

/// Starts to connect. Over loopback the handshake is often over by the time the first call returns, so that a
/// second call learns of it at once and no wait for an event is needed.
///
/// # Errors
/// What connect(2) says.
pub fn connect_tcp(socket: BorrowedFd<'_>, to: &SocketAddr) -> io::Result<Connecting> {
    match rustix::net::connect(socket, to) {
        Ok(()) => Ok(Connecting::Done),
        Err(Errno::INPROGRESS) => match rustix::net::connect(socket, to) {
            Ok(()) | Err(Errno::ISCONN) => Ok(Connecting::Done),
            Err(Errno::ALREADY | Errno::INPROGRESS) => Ok(Connecting::Pending),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Connects to the unix socket at `path`; a full backlog there is an error (EAGAIN), not a wait.
///
/// # Errors
/// What connect(2) says.
pub fn connect_unix(socket: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    Ok(rustix::net::connect(socket, &SocketAddrUnix::new(path)?)?)
}

/// The error that the socket has met since it was last asked (SO_ERROR).
///
/// # Errors
/// That error.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::socket_error(socket)??)
}

/// Reads what is there, at most `buffer.len()` bytes; 0 is the end of the stream.
///
/// # Errors
/// What recv(2) says; `WouldBlock` when nothing is there.
#[inline]
pub fn recv(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::net::recv(socket, buffer, RecvFlags::empty())?.0)
}

/// Whether nothing is there to read: no byte, no end and no error.
pub fn is_silent(socket: BorrowedFd<'_>) -> bool {
    let peeked = rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Err(rustix::io::Errno::AGAIN))
}

/// Writes as much as there is room for and returns how much that was.
///
/// # Errors
/// What send(2) says; `WouldBlock` when there is no room.
#[inline]
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

/// The same for the last bytes of a stream: they leave together with its end, which must follow at once (MSG_MORE).
///
/// # Errors
/// What send(2) says; `WouldBlock` when there is no room.
#[inline]
pub fn send_last(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::MORE)?)
}

/// The same for a piece that is to leave by itself: it is pushed, and the kernel puts nothing behind it into its segments
/// (MSG_EOR, `tcp_skb_can_collapse_to` in include/net/tcp.h).
///
/// # Errors
/// What send(2) says; `WouldBlock` when there is no room.
pub fn send_piece(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::EOR)?)
}

/// Ends the stream that we write; the other direction goes on.
///
/// # Errors
/// What shutdown(2) says; `NotConnected` after a reset.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, Shutdown::Write)?)
}

/// Bytes that we wrote and the peer has not acknowledged (SIOCOUTQ, tcp(7)); for a unix socket, not yet read.
///
/// # Errors
/// What ioctl(2) says.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed, so open; SIOCOUTQ (the same number as TIOCOUTQ) writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// The address that a socket is bound to; `None` for a unix socket.
///
/// # Errors
/// What getsockname(2) says.
pub fn local_address(socket: impl AsFd) -> io::Result<Option<SocketAddr>> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket.as_fd())?).ok())
}

/// The path that a unix socket is bound to; `None` for other sockets and for a unix socket without one.
///
/// # Errors
/// What getsockname(2) says.
pub fn local_path(socket: impl AsFd) -> io::Result<Option<PathBuf>> {
    let address = SocketAddrUnix::try_from(rustix::net::getsockname(socket.as_fd())?).ok();
    Ok(address.and_then(|unix| unix.path().map(|path| PathBuf::from(OsStr::from_bytes(path.to_bytes())))))
}
