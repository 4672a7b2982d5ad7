//! Connecting straight to the server.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use towpath_config::Pool;
use towpath_sys::limits::is_exhausted;
use towpath_sys::options::reset_on_close;
use towpath_sys::segments::still_connects;
use towpath_sys::stream::{
    self as sys, bind_source, connect_tcp, connect_unix, local_address, tcp_socket, unix_socket,
};
use towpath_wire::addr::UnixPath;

use super::Connecting;
use super::source::Source;
use crate::error::ConnectError;
use crate::options;
use crate::stream::{Plain, Stream};

/// How long to wait before asking again at a unix socket whose backlog is full: no event tells when it has room.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// How long to wait before asking again for a descriptor when there is none: the client that was let in keeps its place.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

pub(super) fn tcp(
    to: SocketAddr,
    pool: &Arc<Pool>,
    source: Option<Source>,
    speaks: bool,
) -> Result<Connecting, ConnectError> {
    match start_tcp(to, pool, source, speaks) {
        Err(ConnectError::Io(error)) if is_exhausted(&error) => {
            let again = pool.clone();
            Ok(patiently(pool, DESCRIPTOR_PAUSE, is_exhausted, move || start_tcp(to, &again, source, speaks)))
        }
        result => result,
    }
}

pub(super) fn unix(path: &UnixPath, pool: &Arc<Pool>) -> Result<Connecting, ConnectError> {
    match start_unix(path) {
        Err(ConnectError::Io(error)) if is_exhausted(&error) || is_full(&error) => {
            let path = path.clone();
            let passes = |error: &io::Error| is_exhausted(error) || is_full(error);
            Ok(patiently(pool, BACKLOG_PAUSE, passes, move || start_unix(&path)))
        }
        result => result,
    }
}

fn start_tcp(
    to: SocketAddr,
    pool: &Pool,
    source: Option<Source>,
    speaks: bool,
) -> Result<Connecting, ConnectError> {
    let wanted = &pool.socket;
    let socket = tcp_socket(&to, options::wants_mptcp(wanted))?;
    if let Some(Source { ip, is_foreign }) = source {
        bind_source(&socket, ip, is_foreign).map_err(|error| match error.kind() {
            ErrorKind::AddrNotAvailable => ConnectError::SourceAbsent(ip),
            _ => error.into(),
        })?;
    }
    options::prepare_connecting(wanted, &socket, &to, speaks, pool.connect_timeout)?;
    reset_on_close(&socket, true)?;
    let waits =
        speaks && wanted.segments.as_ref().is_none_or(|segments| !segments.quickack && !segments.mptcp);
    let mut stream = if waits { Plain::tcp_that_speaks(socket)? } else { Plain::tcp(socket) };
    // The cork goes before.
    if wanted.nodelay && !wanted.segments.as_ref().is_some_and(|segments| segments.cork) {
        stream.dispel_delay();
    }
    let connecting = connect_tcp(stream.as_fd(), &to)?;
    if connecting == sys::Connecting::Done && is_connected_to_itself(&stream, &to) {
        return Err(io::Error::from(ErrorKind::ConnectionRefused).into());
    }
    match connecting {
        sys::Connecting::Done => {
            stream.expect_silence()?;
            let is_early = speaks && wanted.segments.as_ref().is_some_and(|segments| segments.fastopen);
            let is_early = is_early && still_connects(stream.as_fd());
            let stream = Stream::Plain(stream).cut(wanted.segments.as_deref());
            Ok(Connecting::Done(if is_early { stream.sends_early() } else { stream }))
        }
        sys::Connecting::Pending => {
            let (limit, segments) = (pool.connect_timeout, wanted.segments.clone());
            Ok(Connecting::Pending(Box::pin(async move {
                timeout(limit, stream.connected()).await.map_err(|_| ConnectError::TimedOut(limit))??;
                Ok(Stream::Plain(stream).cut(segments.as_deref()))
            })))
        }
    }
}

fn start_unix(path: &UnixPath) -> Result<Connecting, ConnectError> {
    let socket = unix_socket()?;
    connect_unix(socket.as_fd(), path.as_path())?;
    let mut stream = Plain::unix(socket);
    stream.expect_silence()?;
    Ok(Connecting::Done(Stream::Plain(stream)))
}

/// Whether a unix socket has no room in its backlog.
fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// A socket that connects to a port of this machine from which it was given its own source port meets itself, where
/// nobody listens (RFC 9293 section 3.5, simultaneous open). Ports below the lowest of the range are never given.
fn is_connected_to_itself(socket: impl AsFd, to: &SocketAddr) -> bool {
    const LOWEST: u16 = 32_768;
    to.port() >= LOWEST && local_address(socket).is_ok_and(|from| from.as_ref() == Some(to))
}

/// Starts again after each `pause` while what stands against it passes, within the connect timeout.
fn patiently(
    pool: &Pool,
    pause: Duration,
    passes: impl Fn(&io::Error) -> bool + 'static,
    start: impl Fn() -> Result<Connecting, ConnectError> + 'static,
) -> Connecting {
    let limit = pool.connect_timeout;
    let end = Instant::now() + limit;
    Connecting::Pending(Box::pin(async move {
        loop {
            sleep(pause).await;
            match start() {
                Err(ConnectError::Io(error)) if passes(&error) && Instant::now() < end => {}
                Err(ConnectError::Io(error)) if is_full(&error) => return Err(ConnectError::TimedOut(limit)),
                Ok(Connecting::Done(stream)) => return Ok(stream),
                Ok(Connecting::Pending(pending)) => return pending.await,
                Err(error) => return Err(error),
            }
        }
    }))
}
