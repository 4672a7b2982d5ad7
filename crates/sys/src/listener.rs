//! Listening sockets, TCP and unix, and taking connections from them.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::path::tcp_info;
use crate::stream::tcp_socket;

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

/// A bound TCP socket that does not listen yet. A `[::]` address takes v4 connections as well if `dual` says so. With `mptcp`
/// it is one of MPTCP where the kernel has them.
///
/// # Errors
/// What socket(2) or bind(2) says.
pub fn bind_tcp(address: &SocketAddr, dual: bool, sharing: Sharing, mptcp: bool) -> io::Result<OwnedFd> {
    let fd = tcp_socket(address, mptcp)?;
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

/// Lets others join the address of a socket that listens on it alone (SO_REUSEPORT).
///
/// # Errors
/// What setsockopt(2) says.
pub fn share(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(socket, true)?)
}

/// Has the kernel pick a socket of a group of `count` by the client's address alone, so that all connections of one
/// client arrive at one socket, in the order in which it made them (SO_ATTACH_REUSEPORT_CBPF, socket(7)).
///
/// # Errors
/// What setsockopt(2) says.
pub fn spread_by_client(socket: BorrowedFd<'_>, count: usize) -> io::Result<()> {
    use libc::{
        BPF_ABS, BPF_ALU, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MOD, BPF_MUL, BPF_RET, BPF_RSH, BPF_W,
    };
    /// Offsets from here on are into the network header (linux/filter.h, SKF_NET_OFF).
    const NETWORK: u32 = -0x10_0000_i32 as u32;
    const BPF_A: u32 = 0x10;
    /// Spreads neighbouring addresses (Knuth, The Art of Computer Programming 6.4: the golden ratio).
    const GOLDEN: u32 = 0x9E37_79B1;
    let step = |code: u32, yes: u8, no: u8, value: u32| libc::sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k: value,
    };
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let mut program = [
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, NETWORK),
        step(BPF_ALU | BPF_RSH | BPF_K, 0, 0, 4),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 4),
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, NETWORK + 12), // v4: the source address
        step(BPF_JMP, 0, 0, 1),
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, NETWORK + 20), // v6: the last word of it
        step(BPF_ALU | BPF_MUL | BPF_K, 0, 0, GOLDEN),
        step(BPF_ALU | BPF_RSH | BPF_K, 0, 0, 16),
        step(BPF_ALU | BPF_MOD | BPF_K, 0, 0, count),
        step(BPF_RET | BPF_A, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, whose length goes with it, before the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

/// The same, for its owner alone: a unix socket gets its mode from the descriptor that is bound (unix(7)).
///
/// # Errors
/// What socket(2), fchmod(2) or bind(2) says.
pub fn bind_unix_private(path: &Path) -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
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

/// How many connections wait to be accepted, at least: of a unix socket only whether any does. Asking costs a tenth of an
/// accept(2) in vain, which makes a file and a socket before it looks.
pub fn waiting(socket: BorrowedFd<'_>) -> usize {
    tcp_waiting(socket).unwrap_or_else(|| {
        let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        // What cannot be asked is tried.
        poll(&mut asked, Some(&Timespec::default())).unwrap_or(1)
    })
}

/// The length of the queue of a TCP socket that listens, which TCP_INFO tells in place of unacknowledged segments.
fn tcp_waiting(socket: BorrowedFd<'_>) -> Option<usize> {
    const LENGTH: usize = mem::offset_of!(libc::tcp_info, tcpi_unacked) + size_of::<u32>();
    let info = tcp_info::<LENGTH>(socket)?;
    info.last_chunk().copied().map(|waiting| u32::from_ne_bytes(waiting) as usize)
}

/// Has the kernel refuse new clients of a TCP socket, by tying it to an interface that does not exist
/// (SO_BINDTOIFINDEX, socket(7)).
///
/// # Errors
/// What setsockopt(2) says.
pub fn refuse_new(socket: BorrowedFd<'_>) -> io::Result<()> {
    let nowhere = libc::c_int::MAX;
    // SAFETY: the option takes an int, whose size goes with it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            (&raw const nowhere).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether an error says that the machine has no such family of addresses: v6 is switched off.
pub fn is_unknown_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
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
