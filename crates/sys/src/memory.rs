//! The allocator, and when it gives memory back.
//!
//! A connection's three allocations are aligned to 128 bytes (tokio keeps them on cache lines of their own). glibc takes
//! 1,550 bytes for what is 1,030 with mimalloc, and longer.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mi;

/// mimalloc. Asked for aligned memory it takes a longer way, even for what all of its blocks are, so that is asked for only where it is
/// more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

/// `MI_MAX_ALIGN_SIZE` of mimalloc/types.h: what each block of at least that size is aligned to; a smaller one is to the power of two
/// that it holds.
const NATURAL: usize = 16;

fn is_natural(layout: Layout) -> bool {
    layout.align() <= NATURAL && layout.align() <= layout.size()
}

// SAFETY: mimalloc's functions are those of malloc(3) and aligned_alloc(3), for which its blocks fit their layout; all its blocks go
// back through the same `mi_free`.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: neither has conditions; an alignment is a power of two.
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

/// Gives back to the kernel what is free. mimalloc does so by itself, about a second after it became free, but only with another
/// allocation.
pub fn give_back() {
    // Not by force it passes over what became free within that second, and one lost race over whose turn it is makes it pass over all.
    // SAFETY: it has no conditions.
    unsafe { mi::mi_collect(true) };
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
                    let less = size.div_ceil(2);
                    let shrunk =
                        Allocator.realloc(grown, Layout::from_size_align(3 * size, align).unwrap(), less);
                    assert!(is_aligned(shrunk), "{layout:?}, shrunk");
                    assert!((0..less).all(|at| shrunk.add(at).read() == size as u8), "{layout:?}");
                    Allocator.dealloc(shrunk, Layout::from_size_align(less, align).unwrap());
                }
                let zeroed = Allocator.alloc_zeroed(layout);
                assert!(is_aligned(zeroed) && (0..size).all(|at| zeroed.add(at).read() == 0), "{layout:?}");
                Allocator.dealloc(zeroed, layout);
            }
        }
    }
}
