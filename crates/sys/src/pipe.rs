//! Pipes for splice(2), which moves bytes between sockets without copying them through this process.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Asked for where the capacity wanted is refused: users without rights get few large pipes (pipe(7), pipe-user-pages-soft).
const MODEST_BYTES: usize = 256 * 1024;

/// A smaller pipe costs more calls than it saves copies; it is what users get who have used their share up.
const USEFUL_BYTES: usize = 64 * 1024;

/// A pipe, and how many bytes wait in it.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    capacity: u32,
    held: u32,
}

impl Pipe {
    /// An empty pipe of at least `bytes` if the kernel grants it, else of what it grants if that is of use.
    ///
    /// # Errors
    /// What pipe2(2) says; [`crate::limits::is_exhausted`] tells whether descriptors ran out.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let capacity = fcntl_setpipe_size(&into, bytes)
            .or_else(|_| fcntl_setpipe_size(&into, bytes.min(MODEST_BYTES)))
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&into))?;
        if capacity < USEFUL_BYTES.min(bytes) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(Self { out, into, capacity: u32::try_from(capacity).unwrap_or(u32::MAX), held: 0 })
    }

    /// Bytes that wait in the pipe.
    pub fn held(&self) -> usize {
        self.held as usize
    }

    /// Moves what the socket has into the empty pipe; 0 is the end of the stream. With an empty pipe `WouldBlock`
    /// can only mean that the socket has nothing.
    ///
    /// # Errors
    /// What splice(2) says.
    pub fn fill(&mut self, from: BorrowedFd<'_>) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0);
        let moved = splice(from, None, &self.into, None, self.capacity as usize, FLAGS)?;
        self.held = u32::try_from(moved).unwrap_or(u32::MAX);
        Ok(moved)
    }

    /// Moves what waits in the pipe to the socket, as far as there is room.
    ///
    /// # Errors
    /// What splice(2) says; `WouldBlock` when the socket has no room.
    pub fn drain(&mut self, to: BorrowedFd<'_>) -> io::Result<usize> {
        let moved = splice(&self.out, None, to, None, self.held as usize, FLAGS)?;
        self.held = self.held.saturating_sub(u32::try_from(moved).unwrap_or(u32::MAX));
        Ok(moved)
    }
}
