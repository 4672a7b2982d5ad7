//! Connecting straight to the server.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use towpath_config::Pool;
use towpath_sys::limits::is_exhausted;
use towpath_sys::options::{acknowledge_with_data, reset_on_close};
use towpath_sys::stream::{Connecting, connect_tcp, connect_unix, local_address, tcp_socket, unix_socket};
use towpath_wire::addr::UnixPath;

use crate::error::ConnectError;
use crate::options;
use crate::stream::Stream;

/// How long to wait before asking again at a unix socket whose backlog is full: no event tells when it has room.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// How long to wait before asking again for a descriptor when there is none: the client that was let in keeps its place.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn tcp(address: &SocketAddr, pool: &Pool, speaks: bool) -> Result<Stream, ConnectError> {
    let socket = with_descriptor(pool.connect_timeout, || tcp_socket(address)).await?;
    options::tcp(&pool.socket).apply_first(&socket)?;
    reset_on_close(&socket, true)?;
    if speaks {
        acknowledge_with_data(&socket)?;
    }
    let connecting = connect_tcp(socket.as_fd(), address)?;
    if connecting == Connecting::Done && is_connected_to_itself(&socket, address) {
        return Err(io::Error::from(ErrorKind::ConnectionRefused).into());
    }
    let mut stream = Stream::tcp(socket);
    match connecting {
        Connecting::Done => stream.expect_silence()?,
        // Boxed: only those that wait need its room.
        Connecting::Pending => Box::pin(timeout(pool.connect_timeout, stream.connected()))
            .await
            .map_err(|_| ConnectError::TimedOut(pool.connect_timeout))??,
    }
    Ok(stream)
}

pub(super) async fn unix(path: &UnixPath, pool: &Pool) -> Result<Stream, ConnectError> {
    let deadline = Instant::now() + pool.connect_timeout;
    let socket = with_descriptor(pool.connect_timeout, unix_socket).await?;
    loop {
        match connect_unix(socket.as_fd(), path.as_path()) {
            Ok(()) => break,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            Err(_) if Instant::now() >= deadline => return Err(ConnectError::TimedOut(pool.connect_timeout)),
            Err(_) => Box::pin(sleep(BACKLOG_PAUSE)).await,
        }
    }
    let mut stream = Stream::unix(socket);
    stream.expect_silence()?;
    Ok(stream)
}

/// A socket that connects to a port of this machine from which it was given its own source port meets itself, where
/// nobody listens (RFC 9293 section 3.5, simultaneous open). Ports below the lowest of the range are never given.
fn is_connected_to_itself(socket: &OwnedFd, to: &SocketAddr) -> bool {
    const LOWEST: u16 = 32_768;
    to.port() >= LOWEST && local_address(socket).is_ok_and(|from| from.as_ref() == Some(to))
}

/// Makes a socket as soon as there is a descriptor for it.
async fn with_descriptor(limit: Duration, make: impl Fn() -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    let error = match make() {
        Err(error) if is_exhausted(&error) => error,
        result => return result,
    };
    let retry = async {
        loop {
            sleep(DESCRIPTOR_PAUSE).await;
            match make() {
                Err(error) if is_exhausted(&error) => {}
                result => return result,
            }
        }
    };
    Box::pin(timeout(limit, retry)).await.unwrap_or(Err(error))
}
