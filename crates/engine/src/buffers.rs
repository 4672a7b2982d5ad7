//! What the connections of one worker share for moving bytes: the hot buffer and the spare pipes.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::{Duration, Instant};

use towpath_config::Relay as Settings;
use towpath_sys::pipe::Pipe;

/// Spare pipes that are kept for the next bulk stream.
const SPARE_PIPES: usize = 16;

/// So long no pipe is asked for after the kernel has refused one.
const REFUSAL: Duration = Duration::from_secs(1);

/// A pipe that takes one of its worker's slots, until it is dropped.
#[derive(Debug)]
pub(crate) struct PooledPipe {
    pipe: Pipe,
    slots: Rc<Cell<usize>>,
}

impl Deref for PooledPipe {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        &self.pipe
    }
}

impl DerefMut for PooledPipe {
    fn deref_mut(&mut self) -> &mut Pipe {
        &mut self.pipe
    }
}

impl Drop for PooledPipe {
    fn drop(&mut self) {
        self.slots.set(self.slots.get() + 1);
    }
}

/// One worker's buffers. An idle connection owns none of them.
#[derive(Debug)]
pub(crate) struct Buffers {
    hot: RefCell<Box<[u8]>>,
    spare: RefCell<Vec<PooledPipe>>,
    slots: Rc<Cell<usize>>,
    refused: Cell<Option<Instant>>,
    pipe_bytes: usize,
    splice_after: Option<u64>,
}

impl Buffers {
    /// Buffers as `settings` wants them, with at most `pipe_limit` pipes at a time.
    pub(crate) fn new(settings: &Settings, pipe_limit: usize) -> Self {
        Self {
            hot: RefCell::new(vec![0; settings.buffer_bytes].into_boxed_slice()),
            spare: RefCell::default(),
            slots: Rc::new(Cell::new(pipe_limit)),
            refused: Cell::default(),
            pipe_bytes: settings.pipe_bytes,
            splice_after: settings.splice_after_bytes,
        }
    }

    /// Lends the hot buffer, whose content means nothing before or after.
    pub(crate) fn with_hot<T>(&self, job: impl FnOnce(&mut [u8]) -> T) -> T {
        job(&mut self.hot.borrow_mut())
    }

    /// How many bytes of large reads make a stream move to splice; `None` for never.
    pub(crate) fn splice_after(&self) -> Option<u64> {
        self.splice_after
    }

    /// An empty pipe, if the limits of this worker and of the kernel have one.
    pub(crate) fn take_pipe(&self) -> Option<PooledPipe> {
        let spare = self.spare.borrow_mut().pop();
        if spare.is_some() || self.slots.get() == 0 {
            return spare;
        }
        if self.refused.get().is_some_and(|when| when.elapsed() < REFUSAL) {
            return None;
        }
        let Ok(pipe) = Pipe::new(self.pipe_bytes) else {
            self.refused.set(Some(Instant::now()));
            return None;
        };
        self.slots.set(self.slots.get() - 1);
        Some(PooledPipe { pipe, slots: self.slots.clone() })
    }

    /// Takes a pipe back. One that still holds bytes, of a connection that broke, is not used again.
    pub(crate) fn return_pipe(&self, pipe: PooledPipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held() == 0 && spare.len() < SPARE_PIPES {
            spare.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_is_dropped_gives_its_slot_back() {
        let settings = Settings { buffer_bytes: 4096, splice_after_bytes: Some(0), pipe_bytes: 65_536 };
        let buffers = Buffers::new(&settings, 1);
        let pipe = buffers.take_pipe().unwrap();
        assert!(buffers.take_pipe().is_none());
        drop(pipe);
        buffers.return_pipe(buffers.take_pipe().unwrap());
        assert!(buffers.take_pipe().is_some());
    }
}
