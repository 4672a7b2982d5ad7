//! What goes over lanes, and over which.

use std::time::Duration;

use super::super::frame::Frame;
use super::super::inflow::News;
use super::super::{LaneId, stripe};
use super::{ACK_DELAY, Event, LOOKS, SILENCE, Session};

/// The other end has a block after so long, and four round trips, or its lane is stuck.
const PATIENCE: Duration = Duration::from_millis(250);

impl Session {
    /// The next frame to be sent, and its lane.
    pub fn next_frame(&mut self, now: Duration) -> Option<(LaneId, Frame)> {
        if let Some(lane) = self.farewells.pop() {
            return Some((lane, Frame::Over));
        }
        if self.lanes.is_empty() || self.is_over {
            return None;
        }
        self.next_note(now).or_else(|| self.next_block(now))
    }

    /// The next that is no block. It waits for a lane as blocks do, so that nobody who reads nothing makes this end pile up answers.
    fn next_note(&mut self, now: Duration) -> Option<(LaneId, Frame)> {
        let quickest = stripe::quickest(&self.lanes, now.saturating_sub(SILENCE));
        let takes = |id| self.lanes.iter().any(|lane| lane.id == id && lane.full_since.is_none());
        let next = self.notes.iter().position(|(only, note)| match only {
            Some(lane) => matches!(note, Frame::Ping(_)) || takes(*lane),
            None => quickest.is_some(),
        });
        if let Some((only, note)) = next.and_then(|place| self.notes.remove(place)) {
            return only.or(quickest).map(|lane| (lane, note));
        }
        let is_due = self.tell_at.is_some_and(|at| at <= now);
        let Some(quickest) = quickest else {
            if is_due {
                self.tell_at = Some(now + ACK_DELAY);
            }
            return None;
        };
        if let Some(id) = self.gone.pop_first() {
            return Some((quickest, Frame::Gone(id)));
        }
        if is_due {
            while let Some(id) = self.untold.pop_front() {
                let Some(stream) = self.streams.get_mut(&id) else { continue };
                stream.is_untold = false;
                if stream.inflow.news() == News::None {
                    continue;
                }
                let (received, limit) = stream.inflow.tell();
                self.settle(id, now);
                return Some((quickest, Frame::Ack { stream: id, received, limit }));
            }
            self.tell_at = None;
        }
        // Behind those of streams that are over, by which there is more of it.
        let owes_room = std::mem::take(&mut self.owes_room);
        owes_room.then_some((quickest, Frame::Streams(self.room_told)))
    }

    fn next_block(&mut self, now: Duration) -> Option<(LaneId, Frame)> {
        let patience = PATIENCE + 4 * self.slowest();
        for _ in 0..self.ready.len() {
            let id = self.ready.front().copied()?;
            let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.outflow.has_next()) else {
                self.ready.pop_front();
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.is_ready = false;
                }
                continue;
            };
            self.busy_until = self.busy_until.max(now + 2 * LOOKS);
            let avoided = stream.outflow.avoids();
            let Some(lane) = stripe::choose(&self.lanes, now, avoided, stream.outflow.room() == 0) else {
                // Others may go where this one, which was there before, should not.
                avoided?;
                self.ready.rotate_left(1);
                continue;
            };
            if !stream.outflow.waits() {
                stream.progress = now;
            }
            let block = stream.outflow.next(lane, now, patience)?;
            self.ready.rotate_left(1);
            self.events.push_back(Event::Writable(id));
            self.sent += block.payload.len() as u64;
            return Some((lane, Frame::Block(block)));
        }
        None
    }
}
