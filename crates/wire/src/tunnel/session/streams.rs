//! What those do with a session who hold its streams.

use std::time::Duration;

use bytes::Bytes;

use super::super::StreamId;
use super::super::frame::{Coding, Last, Why};
use super::super::inflow::{Inflow, Read};
use super::super::outflow::Outflow;
use super::{LOOKS, Role, Session, Stream, growth};

/// A reader that takes more than half a window in so long, or in two round trips, gets a larger one.
const QUICK: Duration = Duration::from_millis(20);

impl Session {
    /// Whether it can have another stream.
    pub fn has_room(&self) -> bool {
        let told = self.room_told.max(u64::from(self.theirs.streams));
        let has_room = self.streams.len() < self.limits.streams && self.next_stream < told;
        has_room && !self.is_over && !self.is_leaving
    }

    /// Opens a stream; `None` if there is no room for one.
    pub fn open(&mut self) -> Option<StreamId> {
        if self.role != Role::Near || !self.has_room() {
            return None;
        }
        let id = self.next_stream;
        self.next_stream += 1;
        self.add_stream(id);
        Some(id)
    }

    pub(super) fn add_stream(&mut self, id: StreamId) {
        let window = self.limits.window;
        let stream = Stream {
            inflow: Inflow::new(window),
            outflow: Outflow::new(id, u64::from(self.theirs.window), window),
            is_released: false,
            progress: Duration::ZERO,
            is_ready: false,
            is_untold: false,
        };
        self.streams.insert(id, stream);
    }

    /// How many bytes of a stream may be written now; `None` if the other end wants no more.
    pub fn room(&self, id: StreamId) -> Option<usize> {
        let stream = self.streams.get(&id)?;
        (!stream.inflow.is_reset() && !stream.outflow.is_over()).then(|| stream.outflow.room())
    }

    /// Writes to a stream as much as there is room for, and tells how much that was.
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> usize {
        let count = self.streams.get_mut(&id).map_or(0, |stream| stream.outflow.write(data));
        self.touch(id);
        count
    }

    /// Writes `length` bytes to a stream, at most a block of them, as they were coded; there was room. Short ones are better written
    /// as they are: of what is coded, the other end keeps a block for each 256 bytes of its window, and no more.
    pub fn write_coded(&mut self, id: StreamId, payload: Bytes, length: usize, coding: Coding) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.outflow.write_coded(payload, length, coding);
        }
        self.touch(id);
    }

    /// Ends a stream, or resets it, behind what was written.
    pub fn finish(&mut self, id: StreamId, last: Last) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.outflow.finish(last);
        }
        self.touch(id);
    }

    /// Reads the next of a stream.
    pub fn read(&mut self, id: StreamId, now: Duration) -> Read {
        let quick = QUICK.max(2 * self.slowest());
        let (base, free) = (self.limits.window, self.limits.memory - self.grown);
        let Some(stream) = self.streams.get_mut(&id) else { return Read::Over(Last::Reset(Why::Reset)) };
        let read = stream.inflow.read();
        // At least as much as it has grown by is left for others: what the other end was told is not taken back.
        let share = (stream.inflow.window() - base + free) / 2;
        let max = self.limits.window_max.min(base + share);
        self.grown += stream.inflow.raise(now, quick, |window| growth(window, max, free));
        self.note_news(id, now);
        read
    }

    /// Nobody holds a stream any more. What was written is still delivered, and reset behind that if it was not ended; what is not
    /// read is dropped.
    pub fn release(&mut self, id: StreamId, now: Duration) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.is_released = true;
        stream.progress = now;
        self.busy_until = self.busy_until.max(now + 2 * LOOKS);
        stream.inflow.discard();
        stream.outflow.finish(Last::Reset(Why::Reset));
        self.touch(id);
        self.settle(id, now);
    }
}
