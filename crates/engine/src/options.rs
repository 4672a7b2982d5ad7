//! From socket options of the configuration to those of the kernel.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use towpath_config::{Segments, SocketOptions};
use towpath_sys::options::TcpOptions;
use towpath_sys::pacing::{spare_connecting, spare_listening};
use towpath_sys::segments as sys;

/// What is set on a socket to keep `options`.
pub(crate) fn tcp(options: &SocketOptions) -> TcpOptions {
    TcpOptions {
        nodelay: options.nodelay,
        keepalive: options.keepalive.map(|keepalive| (keepalive.idle, keepalive.interval, keepalive.count)),
        user_timeout: options.user_timeout,
    }
}

/// Whether its sockets are to be those of MPTCP.
pub(crate) fn wants_mptcp(options: &SocketOptions) -> bool {
    options.segments.as_ref().is_some_and(|segments| segments.mptcp)
}

/// Sets on a socket that is about to listen all that its clients are to inherit.
///
/// # Errors
/// What setsockopt(2) says.
pub(crate) fn prepare_listening(options: &SocketOptions, socket: impl AsFd) -> io::Result<()> {
    tcp(options).apply(&socket)?;
    let segments = options.segments.as_deref();
    if segments.is_none_or(|segments| segments.congestion.is_none()) {
        spare_listening(socket.as_fd());
    }
    let Some(segments) = segments else { return Ok(()) };
    of(segments).apply(&socket)?;
    if segments.fastopen {
        sys::accept_early_data(&socket, true)?;
    }
    Ok(())
}

/// The same on one that listens already, where `before` was set.
///
/// # Errors
/// What setsockopt(2) says.
pub(crate) fn change_listening(
    before: &SocketOptions,
    options: &SocketOptions,
    socket: impl AsFd,
) -> io::Result<()> {
    if before.segments != options.segments
        && let Some(segments) = &before.segments
    {
        of(segments).take_off(&socket)?;
        if segments.fastopen {
            sys::accept_early_data(&socket, false)?;
        }
    }
    prepare_listening(options, socket)
}

/// Sets on a socket that is about to connect to `to` what its first packets have a use for. With `speaks` something is sent at once, which
/// may be with the first packet; a server that is not there is found out within about `limit` all the same.
///
/// # Errors
/// What setsockopt(2) says.
pub(crate) fn prepare_connecting(
    options: &SocketOptions,
    socket: impl AsFd,
    to: &SocketAddr,
    speaks: bool,
    limit: Duration,
) -> io::Result<()> {
    let segments = options.segments.as_deref();
    if segments.is_none_or(|segments| segments.congestion.is_none()) {
        spare_connecting(socket.as_fd(), to);
    }
    let Some(segments) = segments else { return Ok(()) };
    of(segments).apply(&socket)?;
    if segments.fastopen && speaks {
        // The first packet is sent again after 1, 2, 4, … seconds.
        let tries = (limit.as_secs() + 1).ilog2();
        sys::send_early_data(&socket, u8::try_from(tries).unwrap_or(u8::MAX))?;
    }
    Ok(())
}

pub use sys::Refused as RefusedOption;

/// Tries on a new socket whether the kernel takes all of it.
///
/// # Errors
/// The first option that it does not take.
pub fn try_segments(segments: &Segments) -> Result<(), sys::Refused> {
    let option = "socket";
    let of_kernel = |error| sys::Refused { option, error };
    let anywhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    let socket = towpath_sys::stream::tcp_socket(&anywhere, segments.mptcp).map_err(of_kernel)?;
    of(segments).apply(&socket)
}

/// What is of interest of a socket with these.
pub(crate) fn interest(segments: &Segments) -> sys::Interest {
    sys::Interest {
        cork: segments.cork,
        notsent_lowat: segments.notsent_lowat.is_some(),
        pacing_rate: segments.pacing_rate.is_some(),
        dscp: segments.dscp.is_some(),
        fastopen: segments.fastopen,
        mptcp: segments.mptcp,
    }
}

fn of(segments: &Segments) -> sys::Segments<'_> {
    sys::Segments {
        mss: segments.mss,
        cork: segments.cork,
        send_buffer: segments.send_buffer,
        receive_buffer: segments.receive_buffer,
        notsent_lowat: segments.notsent_lowat,
        congestion: segments.congestion.as_deref(),
        pacing_rate: segments.pacing_rate,
        dscp: segments.dscp,
    }
}
