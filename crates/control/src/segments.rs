//! Whether the kernel takes what listeners and pools ask of their sockets.

use std::io::ErrorKind;

use towpath_config::{Config, Segments};
use towpath_engine::{RefusedOption, try_segments};
use towpath_sys::segments::{congestion_algorithms, takes_early_data};

use crate::instance::StartError;

/// Fails where the kernel does not take it.
pub(crate) fn check(config: &Config) -> Result<(), StartError> {
    for (what, segments) in all(config) {
        if let Err(refused) = try_segments(segments) {
            return Err(StartError::Segments { what, why: why(segments, &refused) });
        }
    }
    Ok(())
}

/// Warns of what the kernel takes and does not do.
pub(crate) fn warn(config: &Config) {
    for listener in &config.listeners {
        if listener.socket.segments.as_ref().is_some_and(|segments| segments.fastopen) && !takes_early_data()
        {
            tracing::warn!(
                "listener {}: the kernel takes no data with first packets (fastopen); set net.ipv4.tcp_fastopen = 3",
                listener.name
            );
        }
    }
}

fn all(config: &Config) -> impl Iterator<Item = (String, &Segments)> {
    let of_listeners = config.listeners.iter().map(|of| (format!("listener {}", of.name), &of.socket));
    let of_pools = config.pools.iter().map(|of| (format!("pool {}", of.name), &of.socket));
    of_listeners.chain(of_pools).filter_map(|(what, socket)| Some((what, socket.segments.as_deref()?)))
}

fn why(segments: &Segments, refused: &RefusedOption) -> String {
    let name = segments.congestion.as_deref().unwrap_or_default();
    let has = || congestion_algorithms().unwrap_or_default().replace(' ', ", ");
    match (refused.option, refused.error.kind()) {
        ("TCP_CONGESTION", ErrorKind::NotFound) => {
            format!("the kernel has no congestion control `{name}`; it has {}", has())
        }
        ("TCP_CONGESTION", ErrorKind::PermissionDenied) => format!(
            "congestion control `{name}` is not for everybody; add it to net.ipv4.tcp_allowed_congestion_control, \
             or run with the capability CAP_NET_ADMIN"
        ),
        (option, _) => format!("the kernel does not take {option}: {}", refused.error),
    }
}
