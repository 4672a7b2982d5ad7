//! The allocator, and when it gives memory back.
//!
//! A connection's three allocations are aligned to 128 bytes (tokio keeps them on cache lines of their own). glibc takes
//! 1,550 bytes for what is 1,030 with mimalloc, and longer.

use std::ffi::{c_int, c_long};
use std::time::Duration;

pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of mimalloc.h.
const PURGE_DELAY: c_int = 15;

/// How long memory that is free stays with the process for whoever wants some next, in milliseconds: what comes and goes all the
/// time would cost a fault of its pages each time.
const KEPT_MILLIS: c_long = 400;

/// The same as a time.
pub const KEPT: Duration = Duration::from_millis(KEPT_MILLIS as u64);

/// Has memory that is free kept for [`KEPT`].
///
/// Only for the start of `main`, before there are threads: mimalloc's options are not made for more.
pub fn keep_for_a_while() {
    // SAFETY: the number is that of an option that takes any value, and nothing else runs yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT_MILLIS) };
}

/// Gives back what has been free for [`KEPT`]. mimalloc does so with the next allocation, which in a forwarder that fell silent
/// never comes.
pub fn give_back() {
    // SAFETY: it has no conditions.
    unsafe { libmimalloc_sys::mi_collect(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reading an option by a number in range.
        let default = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!(
            default == 10 || default == 1000,
            "mimalloc's purge delay is not option {PURGE_DELAY}: {default}"
        );
    }
}
