//! What a session keeps at most, whatever befalls it.

use super::world::World;
use crate::tunnel::BLOCK_BYTES_MAX;
use crate::tunnel::session::Queued;

/// What a writer may be ahead of what is sent, and a coded block beyond that.
const UNSENT_BYTES: usize = 256 * 1024 + BLOCK_BYTES_MAX;

/// Streams that the other end is to be told of at a time that they are gone.
const GONE_MAX: usize = 4096;

impl World {
    /// A session keeps what it has room for: of what comes, a window for each stream and what its limits let those grow to; and as
    /// much again of what goes, beside what waits to be sent. What it has to tell is no more than it has streams and lanes.
    pub(super) fn check_memory(&self) {
        for end in self.ends.iter().flatten() {
            let streams = end.session.streams();
            assert!(streams <= end.limits.streams);
            let each = 2 * end.limits.window as usize + UNSENT_BYTES;
            let most = end.limits.memory as usize + streams * each;
            let held = end.session.held_bytes();
            assert!(held <= most, "{held} bytes of {most}");
            let (counted, grown) = end.session.grown();
            assert!(end.session.is_over() || counted == grown && grown <= end.limits.memory);
            // Notes are an answer and a ping for each lane, and a word that no more streams are taken.
            let Queued { notes, gone, untold, ready, events } = end.session.queued();
            let most = [2 * end.session.lanes() + 1, GONE_MAX, streams, streams, 0];
            let queued = [notes, gone, untold, ready, events];
            assert!(queued.iter().zip(most).all(|(queued, most)| *queued <= most), "{queued:?} of {most:?}");
        }
    }
}
