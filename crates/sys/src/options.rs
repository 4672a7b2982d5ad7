//! Options of TCP sockets.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;

/// What is set on each TCP socket; see socket(7) and tcp(7).
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions {
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT; `None` leaves keepalive off.
    pub keepalive: Option<(Duration, Duration, u32)>,
    /// TCP_USER_TIMEOUT; `None` leaves the kernel's.
    pub user_timeout: Option<Duration>,
}

impl TcpOptions {
    /// Sets all of them, and takes off what was set before and is not among them. On a listening socket, the connections
    /// that it accepts from then on inherit them.
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn apply(&self, socket: impl AsFd) -> io::Result<()> {
        let fd = socket.as_fd();
        sockopt::set_tcp_nodelay(fd, self.nodelay)?;
        sockopt::set_socket_keepalive(fd, self.keepalive.is_some())?;
        match sockopt::set_tcp_user_timeout(fd, 0).map(|()| self.apply_lasting(fd)) {
            Ok(result) => result,
            // MPTCP has no such time, and takes all else.
            Err(Errno::NOPROTOOPT | Errno::OPNOTSUPP) => {
                Self { user_timeout: None, ..*self }.apply_lasting(fd)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sets those that only a connection of some seconds has a use for.
    ///
    /// # Errors
    /// What setsockopt(2) says.
    pub fn apply_lasting(&self, socket: impl AsFd) -> io::Result<()> {
        let fd = socket.as_fd();
        if let Some((idle, interval, count)) = self.keepalive {
            sockopt::set_socket_keepalive(fd, true)?;
            sockopt::set_tcp_keepidle(fd, idle)?;
            sockopt::set_tcp_keepintvl(fd, interval)?;
            sockopt::set_tcp_keepcnt(fd, count)?;
        }
        if let Some(timeout) = self.user_timeout {
            let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(fd, millis)?;
        }
        Ok(())
    }
}

/// Has small writes leave at once, whatever has not been acknowledged yet (TCP_NODELAY, tcp(7)).
///
/// # Errors
/// What setsockopt(2) says.
pub fn send_without_delay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket.as_fd(), true)?)
}

/// Whether small writes leave at once.
///
/// # Errors
/// What getsockopt(2) says.
pub fn sends_without_delay(socket: impl AsFd) -> io::Result<bool> {
    Ok(sockopt::tcp_nodelay(socket.as_fd())?)
}

/// Makes close(2) reset the connection instead of ending it in order, or puts that back (SO_LINGER of 0 seconds).
///
/// # Errors
/// What setsockopt(2) says.
pub fn reset_on_close(socket: impl AsFd, reset: bool) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket.as_fd(), reset.then_some(Duration::ZERO))?)
}

/// Lets the last packet of the handshake wait for the first bytes and leave together with them (TCP_QUICKACK off, tcp(7)):
/// for a socket that is about to connect and to send at once.
///
/// # Errors
/// What setsockopt(2) says.
pub fn acknowledge_with_data(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_quickack(socket.as_fd(), false)?)
}

/// Acknowledges what has come and what comes next without waiting for something to send (TCP_QUICKACK, tcp(7)).
///
/// # Errors
/// What setsockopt(2) says.
pub fn acknowledge_at_once(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_quickack(socket.as_fd(), true)?)
}

/// Chooses how a socket finds out how much it may send (TCP_CONGESTION, tcp(7)).
///
/// # Errors
/// What setsockopt(2) says: that there is no such way, or that not everybody may use it.
pub fn choose_congestion(socket: impl AsFd, name: &str) -> io::Result<()> {
    Ok(sockopt::set_tcp_congestion(socket.as_fd(), name)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_not_wanted_any_more_is_taken_off() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let second = Duration::from_secs(1);
        let all =
            TcpOptions { nodelay: true, keepalive: Some((second, second, 3)), user_timeout: Some(second) };
        all.apply(&socket).unwrap();
        let told = || {
            let (nodelay, keepalive) = (sockopt::tcp_nodelay(&socket), sockopt::socket_keepalive(&socket));
            (nodelay.unwrap(), keepalive.unwrap(), sockopt::tcp_user_timeout(&socket).unwrap())
        };
        assert_eq!(told(), (true, true, 1000));
        TcpOptions { nodelay: false, keepalive: None, user_timeout: None }.apply(&socket).unwrap();
        assert_eq!(told(), (false, false, 0));
    }
}
