//! How many connections the descriptors of this process allow.

use std::io;

use towpath_engine::Limits;
use towpath_sys::limits::{open_descriptors, raise_descriptor_limit};

/// Descriptors that a worker needs for itself: its event loop, what wakes it, and look-ups under way.
const PER_WORKER: usize = 6;

/// The least and the most that are kept from connections, for the pipes of bulk streams.
const PIPE_DESCRIPTORS: std::ops::RangeInclusive<usize> = 4..=2048;

/// Shares the descriptors out that are not open yet, so that a client that was accepted has one for its server.
///
/// # Errors
/// When /proc cannot be read, or nothing is left to forward with.
pub(crate) fn limits(workers: usize, wanted: Option<usize>) -> io::Result<Limits> {
    let allowed = raise_descriptor_limit();
    let limits = share(allowed, open_descriptors()?, workers)
        .ok_or_else(|| io::Error::other(format!("{allowed} open files are too few; raise ulimit -n")))?;
    let max_connections = match wanted {
        Some(wanted) if wanted > limits.max_connections => {
            let possible = limits.max_connections;
            tracing::warn!("max_connections is {possible}, not {wanted}: {allowed} open files allow no more");
            possible
        }
        Some(wanted) => wanted,
        None => limits.max_connections,
    };
    Ok(Limits { max_connections, ..limits })
}

fn share(allowed: usize, open: usize, workers: usize) -> Option<Limits> {
    let free = allowed.checked_sub(open + workers * PER_WORKER)?;
    let pipes = (free / 16).clamp(*PIPE_DESCRIPTORS.start(), *PIPE_DESCRIPTORS.end());
    let max_connections = free.checked_sub(pipes)? / 2;
    (max_connections > 0).then_some(Limits { max_connections, max_pipes: pipes / 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limit_carries_nine_thousand() {
        let limits = share(20_000, 20, 2).unwrap();
        assert!(limits.max_connections >= 9_300, "{limits:?}");
        assert!(limits.max_pipes >= 500, "{limits:?}");
    }

    #[test]
    fn a_tiny_limit_carries_some_and_too_tiny_a_one_is_refused() {
        assert!(share(64, 14, 2).unwrap().max_connections >= 10);
        assert_eq!(share(20, 14, 2), None);
        assert_eq!(share(10, 14, 2), None);
    }
}
