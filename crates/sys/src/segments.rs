//! How a TCP socket cuts, queues and paces its stream: what is asked of the kernel, and what it made of that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::ipproto::MPTCP;
use rustix::net::{AddressFamily, sockopt};

/// Connections whose SYN brought data and that may wait to be accepted.
const FASTOPEN_QUEUE: libc::c_int = 1024;

/// The bit of `tcpi_options` that tells that data of a SYN was acknowledged (TCPI_OPT_SYN_DATA in linux/tcp.h).
const SYN_DATA: u8 = 32;

/// What is asked of a TCP socket beyond the usual; what is `None` or false is left to the kernel (tcp(7), socket(7), ip(7)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Segments<'a> {
    /// TCP_MAXSEG, in bytes.
    pub mss: Option<u16>,
    /// TCP_CORK.
    pub cork: bool,
    /// SO_SNDBUF, in bytes, which the kernel doubles.
    pub send_buffer: Option<usize>,
    /// SO_RCVBUF, in bytes, which the kernel doubles.
    pub receive_buffer: Option<usize>,
    /// TCP_NOTSENT_LOWAT, in bytes.
    pub notsent_lowat: Option<u32>,
    /// TCP_CONGESTION.
    pub congestion: Option<&'a str>,
    /// SO_MAX_PACING_RATE, in bytes a second.
    pub pacing_rate: Option<u64>,
    /// The upper six bits of IP_TOS and IPV6_TCLASS.
    pub dscp: Option<u8>,
}

/// An option that the kernel did not take.
#[derive(Debug)]
pub struct Refused {
    /// Its name in tcp(7), socket(7) or ip(7).
    pub option: &'static str,
    /// What setsockopt(2) said.
    pub error: io::Error,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(refused.error.kind(), format!("{}: {}", refused.option, refused.error))
    }
}

impl Segments<'_> {
    /// Sets all of it on a socket that is about to connect or to listen; connections that are accepted inherit it.
    ///
    /// # Errors
    /// The first option that the kernel does not take. A socket of MPTCP may go without those that MPTCP does not know.
    pub fn apply(&self, socket: impl AsFd) -> Result<(), Refused> {
        let fd = socket.as_fd();
        let is_mptcp = is_mptcp(fd);
        let noted = |option, result: io::Result<()>| match result {
            Err(error) if is_mptcp && is_unknown(&error) => Ok(()),
            result => result.map_err(|error| Refused { option, error }),
        };
        if let Some(mss) = self.mss {
            noted("TCP_MAXSEG", set(fd, libc::IPPROTO_TCP, libc::TCP_MAXSEG, &libc::c_int::from(mss)))?;
        }
        if self.cork {
            noted("TCP_CORK", sockopt::set_tcp_cork(fd, true).map_err(io::Error::from))?;
        }
        if let Some(bytes) = self.send_buffer {
            noted("SO_SNDBUF", sockopt::set_socket_send_buffer_size(fd, bytes).map_err(io::Error::from))?;
        }
        if let Some(bytes) = self.receive_buffer {
            noted("SO_RCVBUF", sockopt::set_socket_recv_buffer_size(fd, bytes).map_err(io::Error::from))?;
        }
        if let Some(bytes) = self.notsent_lowat {
            noted("TCP_NOTSENT_LOWAT", set(fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &bytes))?;
        }
        if let Some(name) = self.congestion {
            noted("TCP_CONGESTION", sockopt::set_tcp_congestion(fd, name).map_err(io::Error::from))?;
        }
        if let Some(rate) = self.pacing_rate {
            noted("SO_MAX_PACING_RATE", set(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &rate))?;
        }
        if let Some(dscp) = self.dscp {
            noted("IP_TOS", mark(fd, dscp))?;
        }
        Ok(())
    }
    /// Puts what these have set on a listening socket back to what a new socket has.
    ///
    /// # Errors
    /// What socket(2) says, or the first option that the kernel does not take.
    pub fn take_off(&self, socket: impl AsFd) -> io::Result<()> {
        let fd = socket.as_fd();
        let new = rustix::net::socket(sockopt::socket_domain(fd)?, rustix::net::SocketType::STREAM, None)?;
        let congestion = sockopt::tcp_congestion(&new)?;
        let before = Segments {
            mss: self.mss.map(|_| 0),
            cork: false,
            send_buffer: self
                .send_buffer
                .and(sockopt::socket_send_buffer_size(&new).ok())
                .map(|both| both / 2),
            receive_buffer: self
                .receive_buffer
                .and(sockopt::socket_recv_buffer_size(&new).ok())
                .map(|both| both / 2),
            notsent_lowat: self.notsent_lowat.map(|_| 0),
            congestion: self.congestion.and(Some(&congestion)),
            pacing_rate: self.pacing_rate.map(|_| u64::MAX),
            dscp: self.dscp.map(|_| 0),
        };
        before.apply(fd)?;
        if self.cork {
            sockopt::set_tcp_cork(fd, false)?;
        }
        if self.send_buffer.is_some() || self.receive_buffer.is_some() {
            // The kernel may tune them again; before Linux 5.16 it may not.
            let _ = set(fd, libc::SOL_SOCKET, libc::SO_BUF_LOCK, &0);
        }
        Ok(())
    }
}

/// Lets clients of a listening socket send with their first packet (TCP_FASTOPEN, RFC 7413), or no more.
///
/// # Errors
/// What setsockopt(2) says.
pub fn accept_early_data(socket: impl AsFd, wanted: bool) -> io::Result<()> {
    let length = if wanted { FASTOPEN_QUEUE } else { 0 };
    set(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &length)
}

/// Has connect(2) succeed at once where the server is known to take data with the first packet, which then leaves with the
/// first write (TCP_FASTOPEN_CONNECT, RFC 7413). Nothing is sent before, so something must be written at once. A server that is
/// not there is found out after `tries` more first packets (TCP_SYNCNT).
///
/// # Errors
/// What setsockopt(2) says.
pub fn send_early_data(socket: impl AsFd, tries: u8) -> io::Result<()> {
    let fd = socket.as_fd();
    set(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &1)?;
    // A socket of MPTCP has no such count.
    let _ = set(fd, libc::IPPROTO_TCP, libc::TCP_SYNCNT, &libc::c_int::from(tries.max(1)));
    Ok(())
}

/// Whether a socket waits for its first write, or the answer to that, though connect(2) has succeeded.
pub fn still_connects(socket: BorrowedFd<'_>) -> bool {
    /// TCP_SYN_SENT in net/tcp_states.h.
    const SYN_SENT: u8 = 2;
    info(socket).is_ok_and(|info| info.state == SYN_SENT)
}

/// Whether a kernel has no sockets of MPTCP, or lets nobody have them.
pub(crate) fn has_no_mptcp(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(
        error,
        Errno::PROTONOSUPPORT | Errno::NOPROTOOPT | Errno::INVAL | Errno::PROTOTYPE | Errno::ACCESS
    )
}

/// Whether a socket is one of MPTCP, be its connection one or not.
fn is_mptcp(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_protocol(fd).is_ok_and(|protocol| protocol == Some(MPTCP))
}

/// Whether a connection is one of MPTCP: a socket that has fallen back to TCP has no MPTCP_INFO (linux/mptcp.h).
fn speaks_mptcp(fd: BorrowedFd<'_>) -> bool {
    const SOL_MPTCP: libc::c_int = 284;
    const MPTCP_INFO: libc::c_int = 1;
    get(fd, SOL_MPTCP, MPTCP_INFO, &mut [0_u8; 4]).is_ok()
}

/// Whether MPTCP does not know an option.
pub(crate) fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOPROTOOPT))
}

/// The algorithms of congestion control that the kernel has loaded.
///
/// # Errors
/// What reading the file of the kernel says.
pub fn congestion_algorithms() -> io::Result<String> {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .map(|names| names.trim().to_owned())
}

/// Whether the kernel lets clients of listening sockets send with their first packet (net.ipv4.tcp_fastopen).
pub fn takes_early_data() -> bool {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").unwrap_or_default();
    text.trim().parse::<u32>().is_ok_and(|bits| bits & 2 != 0)
}

/// Which of the rarer facts of a socket are of interest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interest {
    /// TCP_CORK.
    pub cork: bool,
    /// TCP_NOTSENT_LOWAT.
    pub notsent_lowat: bool,
    /// SO_MAX_PACING_RATE.
    pub pacing_rate: bool,
    /// The upper six bits of IP_TOS or IPV6_TCLASS.
    pub dscp: bool,
    /// Whether data came or went with the first packet.
    pub fastopen: bool,
    /// Whether it is one of MPTCP.
    pub mptcp: bool,
}

/// What the kernel has made of a TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFacts {
    /// Bytes of payload in a full segment.
    pub mss: u32,
    /// The algorithm of congestion control.
    pub congestion: String,
    /// SO_SNDBUF, in bytes: twice what was asked for.
    pub send_buffer: usize,
    /// SO_RCVBUF, in bytes: twice what was asked for.
    pub receive_buffer: usize,
    /// TCP_CORK.
    pub cork: Option<bool>,
    /// TCP_NOTSENT_LOWAT, in bytes.
    pub notsent_lowat: Option<u32>,
    /// SO_MAX_PACING_RATE, in bytes a second.
    pub pacing_rate: Option<u64>,
    /// The upper six bits of IP_TOS or IPV6_TCLASS.
    pub dscp: Option<u8>,
    /// Whether data came or went with the first packet.
    pub fastopen: Option<bool>,
    /// Whether it is one of MPTCP.
    pub mptcp: Option<bool>,
}

impl SocketFacts {
    /// Those of `socket`.
    ///
    /// # Errors
    /// What getsockopt(2) says: it is no TCP socket.
    pub fn read(socket: impl AsFd, interest: Interest) -> io::Result<Self> {
        let fd = socket.as_fd();
        let info = info(fd)?;
        let mut lowat = 0_u32;
        if interest.notsent_lowat {
            get(fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &mut lowat)?;
        }
        let mut rate = 0_u64;
        // MPTCP has none.
        let has_rate =
            interest.pacing_rate && get(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &mut rate).is_ok();
        let dscp = if interest.dscp { Some(marked(fd)? >> 2) } else { None };
        Ok(Self {
            mss: info.mss,
            congestion: sockopt::tcp_congestion(fd)?,
            send_buffer: sockopt::socket_send_buffer_size(fd)?,
            receive_buffer: sockopt::socket_recv_buffer_size(fd)?,
            cork: if interest.cork { Some(sockopt::tcp_cork(fd)?) } else { None },
            notsent_lowat: interest.notsent_lowat.then_some(lowat),
            pacing_rate: has_rate.then_some(rate),
            dscp,
            fastopen: interest.fastopen.then_some(info.options & SYN_DATA != 0),
            mptcp: interest.mptcp.then(|| speaks_mptcp(fd)),
        })
    }
}

/// Marks packets with a code point; a socket of version 6 may carry those of version 4 too.
fn mark(fd: BorrowedFd<'_>, dscp: u8) -> io::Result<()> {
    let tos = dscp << 2;
    if sockopt::socket_domain(fd)? == AddressFamily::INET6 {
        sockopt::set_ipv6_tclass(fd, tos.into())?;
    }
    Ok(sockopt::set_ip_tos(fd, tos)?)
}

fn marked(fd: BorrowedFd<'_>) -> io::Result<u8> {
    if sockopt::socket_domain(fd)? == AddressFamily::INET6 {
        return Ok(u8::try_from(sockopt::ipv6_tclass(fd)?).unwrap_or(0));
    }
    Ok(sockopt::ip_tos(fd)?)
}

/// The parts of TCP_INFO that are of interest.
struct Info {
    state: u8,
    options: u8,
    mss: u32,
}

/// TCP_MAXSEG would tell what was asked for once a connection is over; this tells what was used.
fn info(fd: BorrowedFd<'_>) -> io::Result<Info> {
    const OPTIONS: usize = std::mem::offset_of!(libc::tcp_info, tcpi_options);
    const MSS: usize = std::mem::offset_of!(libc::tcp_info, tcpi_snd_mss);
    let mut info = [0_u8; MSS + size_of::<u32>()];
    get(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    let mss = info.last_chunk().copied().map_or(0, u32::from_ne_bytes);
    Ok(Info { state: info[std::mem::offset_of!(libc::tcp_info, tcpi_state)], options: info[OPTIONS], mss })
}

/// A value that the kernel may read or write as it is: any bytes of its size are one.
trait Value: Copy {}
impl Value for libc::c_int {}
impl Value for u32 {}
impl Value for u64 {}
impl<const N: usize> Value for [u8; N] {}

fn set<T: Value>(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads at most the size of the value, which goes with it.
    let result = unsafe {
        let value: *const T = value;
        libc::setsockopt(fd.as_raw_fd(), level, option, value.cast(), size_of::<T>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get<T: Value>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut T,
) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the value, and any bytes are one.
    let result = unsafe {
        let value: *mut T = value;
        libc::getsockopt(fd.as_raw_fd(), level, option, value.cast(), &raw mut length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const ALL: Interest = Interest {
        cork: true,
        notsent_lowat: true,
        pacing_rate: true,
        dscp: true,
        fastopen: true,
        mptcp: true,
    };

    fn accepted(listener: &TcpListener) -> SocketFacts {
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        SocketFacts::read(listener.accept().unwrap().0, ALL).unwrap()
    }

    #[test]
    fn accepted_connections_inherit_all_of_it_and_no_more_once_it_is_taken_off() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let before = accepted(&listener);
            let wanted = Segments {
                mss: Some(536),
                cork: true,
                send_buffer: Some(100_000),
                receive_buffer: Some(50_000),
                notsent_lowat: Some(16_384),
                congestion: Some("reno"),
                pacing_rate: Some(1_000_000),
                dscp: Some(46),
            };
            wanted.apply(&listener).unwrap();
            let told = accepted(&listener);
            assert!((500..=536).contains(&told.mss), "{told:?}");
            let expected = SocketFacts {
                mss: told.mss,
                congestion: "reno".to_owned(),
                send_buffer: 200_000,
                receive_buffer: 100_000,
                cork: Some(true),
                notsent_lowat: Some(16_384),
                pacing_rate: Some(1_000_000),
                dscp: Some(46),
                fastopen: Some(false),
                mptcp: Some(false),
            };
            assert_eq!(told, expected, "{address}");
            wanted.take_off(&listener).unwrap();
            let after = accepted(&listener);
            // The buffers of a connection are tuned to it from its first packet on.
            assert_eq!(
                SocketFacts { send_buffer: 0, receive_buffer: 0, ..after.clone() },
                SocketFacts { send_buffer: 0, receive_buffer: 0, ..before }
            );
            assert!(after.send_buffer != 200_000 && after.receive_buffer != 100_000, "{after:?}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_take_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let odd = Segments { congestion: Some("nonesuch"), ..Segments::default() };
        assert_eq!(odd.apply(&listener).unwrap_err().option, "TCP_CONGESTION");
        assert!(congestion_algorithms().unwrap().contains("reno"));
    }
}
