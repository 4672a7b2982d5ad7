//! The allocator, and when it gives memory back.
//!
//! A connection's three allocations are aligned to 128 bytes (tokio keeps them on cache lines of their own). glibc takes
//! 1,550 bytes for what is 1,030 with mimalloc, and longer.

use std::ffi::c_int;

pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of mimalloc.h.
const PURGE_DELAY: c_int = 15;

/// Has memory given back to the kernel as soon as a page of it is free. mimalloc would wait for the next allocation
/// after 10 ms, which in a forwarder that fell silent never comes.
///
/// Only for the start of `main`, before there are threads: mimalloc's options are not made for more.
pub fn give_back_at_once() {
    // SAFETY: the number is that of an option that takes any value, and nothing else runs yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
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
