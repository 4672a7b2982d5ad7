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
}

/// How many bytes of the kernel's `struct tcp_info` are asked for (include/uapi/linux/tcp.h).
const INFO_BYTES: usize = 152;
/// Where things are in it.
const SEND_MSS: usize = 16;
const RTT_MICROS: usize = 68;
const SEND_WINDOW_SEGMENTS: usize = 80;
const UNSENT_BYTES: usize = 144;

/// How the way of a connected TCP socket is; `None` if the kernel does not tell.
pub fn tcp_path(socket: BorrowedFd<'_>) -> Option<TcpPath> {
    let mut info = [0_u8; INFO_BYTES];
    let mut length = INFO_BYTES as libc::socklen_t;
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
    if result != 0 || (length as usize) < INFO_BYTES {
        return None;
    }
    let number = |at: usize| info[at..].first_chunk().copied().map_or(0, u32::from_ne_bytes);
    Some(TcpPath {
        unsent: u64::from(number(UNSENT_BYTES)),
        window: u64::from(number(SEND_WINDOW_SEGMENTS)) * u64::from(number(SEND_MSS)),
        rtt: Duration::from_micros(u64::from(number(RTT_MICROS))),
    })
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
        assert_eq!(path.unsent, 0);
        assert!(
            path.window >= 1000 && path.rtt > Duration::ZERO && path.rtt < Duration::from_secs(1),
            "{path:?}"
        );
    }
}
