//! The allocator, and when it gives memory back.
//!
//! A connection's three allocations are aligned to 128 bytes (tokio keeps them on cache lines of their own). glibc takes
//! 1,550 bytes for what is 1,030 with mimalloc, and longer.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_long};
use std::time::Duration;

use libmimalloc_sys as mi;

/// mimalloc. Asked for aligned memory it takes a longer way, even for what all of its blocks are, so that is asked for only where it is
/// more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

/// `MI_MAX_ALIGN_SIZE` of mimalloc/types.h: what each block of at least that size is aligned to.
const NATURAL: usize = 16;

fn is_natural(layout: Layout) -> bool {
    layout.align() <= NATURAL && layout.align() <= layout.size()
}

// SAFETY: mimalloc's functions are those of malloc(3) and aligned_alloc(3), for which its blocks fit their layout; all its blocks go
// back through the same `mi_free`.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: none of both has conditions; an alignment is a power of two.
        let block = unsafe {
            if is_natural(layout) {
                mi::mi_malloc(layout.size())
            } else {
                mi::mi_malloc_aligned(layout.size(), layout.align())
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let block = unsafe {
            if is_natural(layout) {
                mi::mi_zalloc(layout.size())
            } else {
                mi::mi_zalloc_aligned(layout.size(), layout.align())
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller has it from here.
        unsafe { mi::mi_free(block.cast()) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has the block from here, and its alignment is a power of two.
        let block = unsafe {
            if is_natural(layout) && layout.align() <= size {
                mi::mi_realloc(block.cast(), size)
            } else {
                mi::mi_realloc_aligned(block.cast(), size, layout.align())
            }
        };
        block.cast()
    }
}

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
    unsafe { mi::mi_option_set(PURGE_DELAY, KEPT_MILLIS) };
}

/// Gives back what has been free for [`KEPT`]. mimalloc does so with the next allocation, which in a forwarder that fell silent
/// never comes.
pub fn give_back() {
    // SAFETY: it has no conditions.
    unsafe { mi::mi_collect(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_keep_what_is_in_them() {
        for (size, align) in
            (1..70).map(|size| size * 37).flat_map(|size| (0..10).map(move |power| (size, 1 << power)))
        {
            let layout = Layout::from_size_align(size, align).unwrap();
            let is_aligned = |block: *mut u8| !block.is_null() && block.addr().is_multiple_of(align);
            // SAFETY: each block is written and read within its size, and is given back once.
            unsafe {
                let blocks = [(); 3].map(|()| Allocator.alloc(layout));
                for block in blocks {
                    assert!(is_aligned(block), "{layout:?}");
                    block.write_bytes(size as u8, size);
                    let grown = Allocator.realloc(block, layout, 3 * size);
                    assert!(is_aligned(grown), "{layout:?}, grown");
                    assert!((0..size).all(|at| grown.add(at).read() == size as u8), "{layout:?}");
                    Allocator.dealloc(grown, Layout::from_size_align(3 * size, align).unwrap());
                }
                let zeroed = Allocator.alloc_zeroed(layout);
                assert!(is_aligned(zeroed) && (0..size).all(|at| zeroed.add(at).read() == 0), "{layout:?}");
                Allocator.dealloc(zeroed, layout);
            }
        }
    }

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reading an option by a number in range.
        let default = unsafe { mi::mi_option_get(PURGE_DELAY) };
        assert!(
            default == 10 || default == 1000,
            "mimalloc's purge delay is not option {PURGE_DELAY}: {default}"
        );
    }
}
