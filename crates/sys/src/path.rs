//! How the way of a TCP connection is, as the kernel has found out.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{SocketAddrAny, sockopt};

/// How the way of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPath {
    /// Bytes that have not left yet.
    pub unsent: u64,
    /// Bytes that may be under way at a time.
    pub window: u64,
    /// The time there and back, smoothed.
    pub rtt: Duration,
    /// Whether something that was lost is being sent again.
    pub is_recovering: bool,
    /// Bytes that were sent in all.
    pub sent: u64,
    /// Those among them that had been sent before.
    pub sent_again: u64,
    /// Bytes that the peer has, in order or not, to a segment. It begins anew behind 2^32 segments.
    pub arrived: u64,
}

/// How many bytes of the kernel's `struct tcp_info` are asked for (include/uapi/linux/tcp.h).
const INFO_BYTES: usize = 216;
/// Where things are in it.
const CONGESTION_STATE: usize = 1;
const SEND_MSS: usize = 16;
const RTT_MICROS: usize = 68;
const SEND_WINDOW_SEGMENTS: usize = 80;
const UNSENT_BYTES: usize = 144;
const ARRIVED_SEGMENTS: usize = 192;
const SENT_BYTES: usize = 200;
const SENT_AGAIN_BYTES: usize = 208;

/// The first of the states in which something that was lost is sent again (`enum tcp_ca_state`, the same file).
const RECOVERY: u8 = 3;

/// How the way of a connected TCP socket is; `None` if the kernel does not tell.
pub fn tcp_path(socket: BorrowedFd<'_>) -> Option<TcpPath> {
    let info = tcp_info::<INFO_BYTES>(socket)?;
    let number = |at: usize| info[at..].first_chunk().copied().map_or(0, u32::from_ne_bytes);
    let large = |at: usize| info[at..].first_chunk().copied().map_or(0, u64::from_ne_bytes);
    Some(TcpPath {
        unsent: u64::from(number(UNSENT_BYTES)),
        window: u64::from(number(SEND_WINDOW_SEGMENTS)) * u64::from(number(SEND_MSS)),
        rtt: Duration::from_micros(u64::from(number(RTT_MICROS))),
        is_recovering: info[CONGESTION_STATE] >= RECOVERY,
        sent: large(SENT_BYTES),
        sent_again: large(SENT_AGAIN_BYTES),
        arrived: u64::from(number(ARRIVED_SEGMENTS)) * u64::from(number(SEND_MSS)),
    })
}

/// The first bytes of what the kernel knows of a TCP socket (TCP_INFO, tcp(7)); `None` if it does not tell as many.
pub(crate) fn tcp_info<const BYTES: usize>(socket: BorrowedFd<'_>) -> Option<[u8; BYTES]> {
    let mut info = [0_u8; BYTES];
    let mut length = BYTES as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (result == 0 && length as usize == BYTES).then_some(info)
}

/// Has a socket count as writable only while less than so many bytes wait to be sent (TCP_NOTSENT_LOWAT, tcp(7)).
///
/// # Errors
/// What setsockopt(2) says.
pub fn keep_short(socket: BorrowedFd<'_>, bytes: u32) -> std::io::Result<()> {
    // SAFETY: the option takes an unsigned int, whose size goes with it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Has a socket send at most so many bytes a second (SO_MAX_PACING_RATE, socket(7)); 0 is no limit.
///
/// # Errors
/// What setsockopt(2) says.
pub fn limit_pace(socket: BorrowedFd<'_>, rate: u64) -> std::io::Result<()> {
    let rate = if rate == 0 { u64::MAX } else { rate };
    // SAFETY: the option takes an unsigned number of 64 bits since Linux 5.0, whose size goes with it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const rate).cast(),
            size_of::<u64>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

// BBR, where it is the system's choice of congestion control, finds out the rate of a way and spreads packets over time accordingly.
// Over loopback there is no such rate, and a timer for each packet costs more than all the rest. So bulk that stays on this machine
// goes without. A connection that was made under BBR keeps some of its timers whatever comes, so the choice is to be made before; but
// for a short one the call costs more than it saves. Other congestion controls are left alone.

/// Whether some connection had to be spared, so that this process carries bulk on this machine.
static CARRIES_BULK: AtomicBool = AtomicBool::new(false);

/// Lets a connection that has much to send do so as it can, if it does not leave this machine.
pub fn spare_pacing(socket: BorrowedFd<'_>) {
    if is_paced(socket) && stays_here(socket) {
        stop_pacing(socket);
        CARRIES_BULK.store(true, Ordering::Relaxed);
    }
}

/// The same for a socket that is about to connect to `to`, once another had to be spared.
pub fn spare_pacing_to(socket: BorrowedFd<'_>, to: &SocketAddr) {
    if CARRIES_BULK.load(Ordering::Relaxed) && is_loopback(to) {
        stop_pacing(socket);
    }
}

/// The same for the clients of a socket that is about to listen, for which it costs nothing.
pub fn spare_pacing_of_clients(socket: BorrowedFd<'_>) {
    let address = rustix::net::getsockname(socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
    if address.is_some_and(|address| is_loopback(&address)) && is_paced(socket) {
        stop_pacing(socket);
    }
}

fn is_paced(socket: BorrowedFd<'_>) -> bool {
    sockopt::tcp_congestion(socket).is_ok_and(|name| name.starts_with("bbr"))
}

fn stop_pacing(socket: BorrowedFd<'_>) {
    // Whoever has no rights may choose `reno` anywhere.
    if sockopt::set_tcp_congestion(socket, "cubic").is_err() {
        let _ = sockopt::set_tcp_congestion(socket, "reno");
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether the other end is on this machine too: at its loopback address, or at the address of this end.
fn stays_here(socket: BorrowedFd<'_>) -> bool {
    let address = |name: Option<SocketAddrAny>| name.and_then(|name| SocketAddr::try_from(name).ok());
    let peer = address(rustix::net::getpeername(socket).ok().flatten());
    let own = address(rustix::net::getsockname(socket).ok());
    let (Some(peer), Some(own)) = (peer, own) else { return false };
    is_loopback(&peer) || peer.ip() == own.ip()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_kernel_tells_of_a_way() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let _server = server.accept().unwrap();
        keep_short(client.as_fd(), 64 * 1024).unwrap();
        client.write_all(b"x").unwrap();
        let path = tcp_path(client.as_fd()).unwrap();
        assert_eq!((path.unsent, path.sent, path.sent_again), (0, 1, 0));
        assert!(path.arrived > 0, "at least the handshake");
        assert!(
            path.window >= 1000 && path.rtt > Duration::ZERO && path.rtt < Duration::from_secs(1),
            "{path:?}"
        );
    }

    /// The congestion control of a socket behind a call, if the kernel has the one before.
    fn behind(socket: impl AsFd, before: &str, call: impl Fn(BorrowedFd<'_>)) -> Option<String> {
        sockopt::set_tcp_congestion(&socket, before).ok()?;
        call(socket.as_fd());
        Some(sockopt::tcp_congestion(&socket).unwrap())
    }

    #[test]
    fn only_what_bbr_paces_on_this_machine_is_spared() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = server.local_addr().unwrap();
        let connect = || TcpStream::connect(here).unwrap();
        let new = || crate::stream::tcp_socket(&here, false).unwrap();
        assert_eq!(behind(connect(), "reno", spare_pacing).unwrap(), "reno");
        let Some(name) = behind(new(), "bbr", spare_pacing) else { return }; // not every kernel has it
        assert_eq!(name, "bbr", "there is no other end");
        assert_eq!(behind(new(), "bbr", |new| spare_pacing_to(new, &here)).unwrap(), "bbr", "no bulk yet");
        assert_eq!(behind(connect(), "bbr", spare_pacing).unwrap(), "cubic");
        assert_eq!(behind(new(), "bbr", |new| spare_pacing_to(new, &here)).unwrap(), "cubic");
        let there = SocketAddr::from(([192, 0, 2, 1], 80));
        assert_eq!(behind(new(), "bbr", |new| spare_pacing_to(new, &there)).unwrap(), "bbr");
        let anywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        assert_eq!(behind(anywhere, "bbr", spare_pacing_of_clients).unwrap(), "bbr");
        let mapped = TcpListener::bind("[::ffff:127.0.0.1]:0").unwrap();
        assert_eq!(behind(mapped, "bbr", spare_pacing_of_clients).unwrap(), "cubic");
        assert_eq!(behind(server, "bbr", spare_pacing_of_clients).unwrap(), "cubic");
    }
}
