//! What comes over lanes.

use std::time::Duration;

use super::super::frame::{Block, Frame, Why};
use super::super::{Fault, LaneId, StreamId};
use super::{Event, Role, SILENCE, Session, growth};

/// Streams that the other end can be told of at a time that they are gone.
const GONE_MAX: usize = 4096;

impl Session {
    /// Takes a frame that has come over a lane.
    ///
    /// # Errors
    /// What the other end does that it may not: the session should end.
    pub fn receive(&mut self, lane: LaneId, frame: Frame, now: Duration) -> Result<(), Fault> {
        if self.is_over {
            return Ok(());
        }
        // What still comes of a lane that was taken out is as good, but for pings.
        let known = self.lanes.iter_mut().find(|known| known.id == lane);
        let is_known = known.is_some();
        if let Some(lane) = known {
            (lane.heard, lane.pinged) = (now, None);
        }
        match frame {
            Frame::Block(block) => self.take_block(block, now),
            Frame::Ack { stream, received, limit } => self.take_ack(stream, received, limit, now),
            Frame::Gone(id) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.outflow.discard(Why::Reset);
                    stream.inflow.abort(Why::Reset);
                    self.events.extend([Event::Readable(id), Event::Writable(id)]);
                    self.settle(id, now);
                }
                Ok(())
            }
            Frame::Ping(token) => {
                // One answer is enough for all that wait.
                let is_answered =
                    self.notes.iter().any(|(to, note)| *to == Some(lane) && matches!(note, Frame::Pong(_)));
                if is_known && !is_answered {
                    self.notes.push_back((Some(lane), Frame::Pong(token)));
                }
                Ok(())
            }
            Frame::Pong(_) => Ok(()),
            Frame::Bye => {
                if !self.is_leaving {
                    self.is_leaving = true;
                    self.events.push_back(Event::Leaving);
                }
                Ok(())
            }
            Frame::Over => {
                self.end();
                Ok(())
            }
            Frame::Streams(_) if self.role == Role::Far => Err(Fault::Streams),
            Frame::Streams(room) => {
                self.room_told = self.room_told.max(room);
                Ok(())
            }
        }
    }

    fn take_block(&mut self, block: Block, now: Duration) -> Result<(), Fault> {
        let id = block.stream;
        // Acknowledgements are lost if lanes die that are not asked.
        self.busy_until = self.busy_until.max(now + 2 * SILENCE);
        if id >= self.next_stream {
            self.open_up_to(id)?;
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            self.note_gone(id);
            return Ok(());
        };
        let before = stream.inflow.received();
        let is_more = stream.inflow.take(block)?;
        self.received += stream.inflow.received() - before;
        if stream.is_released {
            stream.inflow.discard();
        }
        if stream.inflow.is_reset() {
            stream.outflow.discard(Why::Reset);
            self.events.push_back(Event::Writable(id));
        }
        if is_more {
            self.events.push_back(Event::Readable(id));
        }
        self.note_news(id, now);
        self.settle(id, now);
        Ok(())
    }

    /// The other end has opened streams up to this one: blocks of those before it may be late.
    fn open_up_to(&mut self, id: StreamId) -> Result<(), Fault> {
        if self.role == Role::Near || id >= self.room_told {
            return Err(Fault::Streams);
        }
        for opened in self.next_stream..=id {
            self.add_stream(opened);
            self.events.push_back(Event::Opened(opened));
        }
        self.next_stream = id + 1;
        self.note_room();
        Ok(())
    }

    /// Tells the other end that it may open more streams, as others are over, before it runs out of them.
    pub(super) fn note_room(&mut self) {
        let (most, open) = (self.limits.streams as u64, self.streams.len() as u64);
        let room = self.next_stream + most.saturating_sub(open);
        if self.role == Role::Far && room > self.room_told && self.room_told - self.next_stream <= most / 2 {
            (self.room_told, self.owes_room) = (room, true);
        }
    }

    /// Tells the other end that a stream is over here. What does not fit now is told when it asks again.
    pub(super) fn note_gone(&mut self, id: StreamId) {
        if self.gone.len() < GONE_MAX {
            self.gone.insert(id);
        }
    }

    fn take_ack(&mut self, id: StreamId, received: u64, limit: u64, now: Duration) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(&id) else {
            if id >= self.next_stream {
                return Err(Fault::Ack);
            }
            // It may wait for room in the stream.
            self.note_gone(id);
            return Ok(());
        };
        let before = stream.outflow.acknowledged();
        let (max, free) = (self.limits.window_max, self.limits.memory - self.grown);
        let is_full = stream.outflow.fills_window();
        if stream.outflow.acknowledge(received, limit)? {
            (stream.progress, self.progress) = (now, now);
            if is_full {
                self.grown += stream.outflow.raise(|window| growth(window, max, free));
            }
            self.delivered += stream.outflow.acknowledged() - before;
            self.events.push_back(Event::Writable(id));
            self.touch(id);
            self.settle(id, now);
        }
        Ok(())
    }
}
