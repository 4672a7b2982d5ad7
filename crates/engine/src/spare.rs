//! Buffers that are kept for the next message: the allocator gives back to the kernel what is freed, and to have it anew costs a
//! page fault for every four kilobytes.

use std::cell::RefCell;

use bytes::Bytes;

/// Buffers that a worker keeps.
const KEPT: usize = 32;

/// Smaller ones are as cheap from the allocator, and what is smaller is copied rather than kept in a large one; larger ones are
/// not kept.
pub(crate) const LEAST: usize = 8 * 1024;
const MOST: usize = 256 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room, which is worth keeping.
pub(crate) fn take() -> Vec<u8> {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(LEAST))
}

/// Keeps a buffer for the next.
pub(crate) fn give(mut buffer: Vec<u8>) {
    if !(LEAST..=MOST).contains(&buffer.capacity()) {
        return;
    }
    buffer.clear();
    // When a thread ends, its list may be gone before what it has lent.
    let _ = BUFFERS.try_with(|buffers| {
        let mut buffers = buffers.borrow_mut();
        if buffers.len() < KEPT {
            buffers.push(buffer);
        }
    });
}

/// A buffer that comes back when the last of its bytes is dropped.
struct Lent(Vec<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.0));
    }
}

/// Length of a buffer to read into, which has room for the head of an answer and 64 KiB behind it.
pub(crate) const READ: usize = 80 * 1024;

thread_local! {
    static READS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Such buffers that a worker keeps, for as many answers that wait to leave.
const KEPT_READS: usize = 96;

/// A buffer to read into, which becomes bytes that may be kept.
pub(crate) struct ReadBuffer {
    buffer: Box<[u8]>,
    used: usize,
}

impl ReadBuffer {
    pub(crate) fn take() -> Self {
        let buffer = READS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ].into_boxed_slice());
        Self { buffer, used: 0 }
    }

    /// All of it, to be read into.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// The first `used` bytes, which were read.
    pub(crate) fn into_bytes(mut self, used: usize) -> Bytes {
        self.used = used;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.used]
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let _ = READS.try_with(|reads| {
            let mut reads = reads.borrow_mut();
            if reads.len() < KEPT_READS {
                reads.push(buffer);
            }
        });
    }
}

/// A copy of `data`.
pub(crate) fn copy(data: &[u8]) -> Bytes {
    if data.len() < LEAST {
        return Bytes::copy_from_slice(data);
    }
    let mut buffer = take();
    buffer.extend_from_slice(data);
    Bytes::from_owner(Lent(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_its_last_byte() {
        let mut copy = copy(&[7; LEAST]);
        let part = copy.split_to(10);
        drop(copy);
        assert_eq!(BUFFERS.with_borrow(Vec::len), 0);
        drop(part);
        assert_eq!(BUFFERS.with_borrow(Vec::len), 1);
        assert!(take().is_empty());
        give(Vec::with_capacity(MOST + 1));
        assert_eq!(BUFFERS.with_borrow(Vec::len), 0);
    }
}
