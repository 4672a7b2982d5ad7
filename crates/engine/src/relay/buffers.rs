//! What the connections of one worker share for moving bytes: the hot buffer and the spare pipes.

use std::cell::{Cell, RefCell};

use towpath_config::Relay as Settings;
use towpath_sys::pipe::Pipe;

/// Spare pipes that are kept for the next bulk stream.
const SPARE_PIPES: usize = 16;

/// One worker's buffers. An idle connection owns none of them.
#[derive(Debug)]
pub(crate) struct Buffers {
    hot: RefCell<Box<[u8]>>,
    spare: RefCell<Vec<Pipe>>,
    pipes: Cell<usize>,
    pipe_limit: usize,
    pipe_bytes: usize,
    splice_after: Option<u64>,
}

impl Buffers {
    /// Buffers as `settings` wants them, with at most `pipe_limit` pipes at a time.
    pub(crate) fn new(settings: &Settings, pipe_limit: usize) -> Self {
        Self {
            hot: RefCell::new(vec![0; settings.buffer_bytes].into_boxed_slice()),
            spare: RefCell::default(),
            pipes: Cell::new(0),
            pipe_limit,
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
    pub(crate) fn take_pipe(&self) -> Option<Pipe> {
        let spare = self.spare.borrow_mut().pop();
        if spare.is_some() || self.pipes.get() >= self.pipe_limit {
            return spare;
        }
        let pipe = Pipe::new(self.pipe_bytes).ok()?;
        self.pipes.set(self.pipes.get() + 1);
        Some(pipe)
    }

    /// Takes a pipe back. One that still holds bytes, of a connection that broke, is not used again.
    pub(crate) fn return_pipe(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held() == 0 && spare.len() < SPARE_PIPES {
            spare.push(pipe);
        } else {
            self.pipes.set(self.pipes.get() - 1);
        }
    }
}
