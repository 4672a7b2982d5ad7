//! How the way of a TCP connection is, as the kernel has found out.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

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
}
