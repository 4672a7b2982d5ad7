//! What goes of a stream: blocks, which are kept until the other end has them.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::frame::{Block, Coding, Last, Why};
use super::inflow::WAITING_MAX;
use super::{BLOCK_BYTES_MAX, Fault, LaneId, StreamId};

/// Bytes that wait to be sent; a writer waits beyond that.
const UNSENT_BYTES: usize = 256 * 1024;

/// So many blocks are sent again at once, of so many of the oldest, when they hold up the others.
const HURRIED: usize = 16;
const HURRIED_AMONG: usize = 128;

/// How often a block is sent again for that.
const HURRIES: u32 = 4;

/// Blocks that are kept.
const BLOCKS_MAX: usize = WAITING_MAX / 2;

/// The sending half of a stream.
#[derive(Debug)]
pub(super) struct Outflow {
    stream: StreamId,
    blocks: VecDeque<Kept>,
    /// How many of them were sent, the first ones.
    sent: usize,
    /// Those among them that are to be sent again.
    again: BTreeSet<u64>,
    /// What was written behind them.
    tail: BytesMut,
    /// Where the tail begins.
    written: u64,
    acknowledged: u64,
    /// How far it was sent; its end counts as one more.
    reached: u64,
    /// Bytes that may be sent in all.
    limit: u64,
    /// Bytes that are kept beside those that wait to be sent, whatever the limit is.
    window: u64,
    unsent_bytes: usize,
    last: Last,
    is_last_cut: bool,
}

/// A block that the other end may not have.
#[derive(Debug)]
struct Kept {
    block: Block,
    lane: Option<LaneId>,
    /// When it was sent last, and when its lane is taken for stuck.
    sent: Duration,
    due: Duration,
    copies: u32,
}

impl Kept {
    /// How far the stream has come with it; its end counts as one more.
    fn reach(&self) -> u64 {
        self.block.end() + u64::from(self.block.last != Last::More)
    }
}

impl Outflow {
    pub(super) fn new(stream: StreamId, limit: u64, window: u64) -> Self {
        Self {
            stream,
            blocks: VecDeque::new(),
            sent: 0,
            again: BTreeSet::new(),
            tail: BytesMut::new(),
            written: 0,
            acknowledged: 0,
            reached: 0,
            limit,
            window,
            unsent_bytes: 0,
            last: Last::More,
            is_last_cut: false,
        }
    }

    /// Bytes that may be written now.
    pub(super) fn room(&self) -> usize {
        let first = self.blocks.front().map_or(self.written, |kept| kept.block.offset);
        let kept = (self.written - first) as usize + self.tail.len();
        match self.last == Last::More && self.blocks.len() < BLOCKS_MAX {
            true => UNSENT_BYTES
                .saturating_sub(self.unsent_bytes)
                .min((self.window as usize + UNSENT_BYTES).saturating_sub(kept)),
            false => 0,
        }
    }

    /// Whether as much is under way as is kept.
    pub(super) fn fills_window(&self) -> bool {
        let under_way = self.blocks.get(self.sent.wrapping_sub(1)).zip(self.blocks.front());
        under_way.is_some_and(|(last, first)| last.block.end() - first.block.offset >= self.window)
    }

    /// Keeps more, by what `grown` makes of the window; tells how much.
    pub(super) fn raise(&mut self, grown: impl FnOnce(u64) -> u64) -> u64 {
        let more = grown(self.window);
        self.window += more;
        more
    }

    /// Keeps no more than `window` again, now that nothing is kept; tells how much less that is.
    pub(super) fn lower(&mut self, window: u64) -> u64 {
        let less = self.window.saturating_sub(window);
        self.window -= less;
        less
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// Takes as much as there is room for.
    pub(super) fn write(&mut self, data: &[u8]) -> usize {
        let count = data.len().min(self.room());
        let mut left = &data[..count];
        while !left.is_empty() {
            let (part, rest) = left.split_at(left.len().min(BLOCK_BYTES_MAX - self.tail.len()));
            self.tail.extend_from_slice(part);
            left = rest;
            if self.tail.len() == BLOCK_BYTES_MAX {
                self.cut(Last::More);
            }
        }
        self.unsent_bytes += count;
        count
    }

    /// Takes a part of the stream that is coded, of `length` bytes, whatever room there is.
    pub(super) fn write_coded(&mut self, payload: Bytes, length: usize, coding: Coding) {
        if self.last != Last::More {
            return;
        }
        if !self.tail.is_empty() {
            self.cut(Last::More);
        }
        self.unsent_bytes += length;
        self.push(payload, length, coding, Last::More);
    }

    /// Nothing is written behind this.
    pub(super) fn finish(&mut self, last: Last) {
        if self.last == Last::More {
            self.last = last;
        }
    }

    /// Forgets what the other end does not have, and wants no more.
    pub(super) fn discard(&mut self, why: Why) {
        self.blocks.clear();
        self.again.clear();
        self.tail.clear();
        (self.sent, self.unsent_bytes) = (0, 0);
        (self.last, self.is_last_cut) = (Last::Reset(why), true);
    }

    /// Forgets what was not sent, and resets the stream there.
    pub(super) fn truncate(&mut self) {
        if self.is_over() || self.blocks.len() == self.sent && self.tail.is_empty() {
            return;
        }
        self.blocks.truncate(self.sent);
        self.tail.clear();
        self.unsent_bytes = 0;
        self.written = self.blocks.back().map_or(self.acknowledged, |kept| kept.block.end());
        (self.last, self.is_last_cut) = (Last::Reset(Why::Reset), false);
    }

    fn cut(&mut self, last: Last) {
        let payload = self.tail.split().freeze();
        let length = payload.len();
        self.push(payload, length, Coding::Plain, last);
    }

    fn push(&mut self, payload: Bytes, length: usize, coding: Coding, last: Last) {
        let block = Block { stream: self.stream, offset: self.written, length, coding, last, payload };
        self.written = block.end();
        self.blocks.push_back(Kept {
            block,
            lane: None,
            sent: Duration::ZERO,
            due: Duration::ZERO,
            copies: 0,
        });
    }

    /// Whether there is something to be sent now.
    pub(super) fn has_next(&self) -> bool {
        !self.again.is_empty()
            || match self.blocks.get(self.sent) {
                Some(kept) => kept.block.end() <= self.limit,
                None if self.tail.is_empty() => self.last != Last::More && !self.is_last_cut,
                None => self.written < self.limit,
            }
    }

    /// Whether the next to be sent goes out for the second time, and then not over this lane.
    pub(super) fn avoids(&self) -> Option<LaneId> {
        self.again.first().and_then(|offset| self.place(*offset)).and_then(|place| self.blocks[place].lane)
    }

    /// The next to be sent, over `lane`, which is stuck if the other end does not have it after `patience`, or after a multiple of it
    /// if it is not the first time.
    pub(super) fn next(&mut self, lane: LaneId, now: Duration, patience: Duration) -> Option<Block> {
        let place = match self.again.pop_first() {
            Some(offset) => self.place(offset)?,
            None => {
                self.cut_next();
                let kept = self.blocks.get(self.sent).filter(|kept| kept.block.end() <= self.limit)?;
                self.unsent_bytes = self.unsent_bytes.saturating_sub(kept.block.length);
                self.sent += 1;
                self.sent - 1
            }
        };
        let kept = &mut self.blocks[place];
        kept.lane = Some(lane);
        kept.copies += 1;
        kept.sent = now;
        kept.due = now + patience * kept.copies.min(16);
        self.reached = self.reached.max(kept.reach());
        Some(kept.block.clone())
    }

    /// Makes a block of what was written last, as far as it may be sent, or of the end.
    fn cut_next(&mut self) {
        if self.sent < self.blocks.len() {
            return;
        }
        let allowed = usize::try_from(self.limit.saturating_sub(self.written)).unwrap_or(usize::MAX);
        if !self.tail.is_empty() && allowed < self.tail.len() {
            let payload = self.tail.split_to(allowed).freeze();
            if !payload.is_empty() {
                self.push(payload, allowed, Coding::Plain, Last::More);
            }
        } else if self.last == Last::End && !self.is_last_cut {
            self.is_last_cut = true;
            self.cut(Last::End);
        } else if !self.tail.is_empty() {
            self.cut(Last::More);
        } else if self.last != Last::More && !self.is_last_cut {
            self.is_last_cut = true;
            self.push(Bytes::new(), 0, Coding::Plain, self.last);
        }
    }

    fn place(&self, offset: u64) -> Option<usize> {
        let place = self.blocks.partition_point(|kept| kept.block.offset < offset);
        (place < self.sent).then_some(place)
    }

    /// The other end has so much, and takes so much in all; tells whether that is news.
    pub(super) fn acknowledge(&mut self, received: u64, limit: u64) -> Result<bool, Fault> {
        if received > self.reached {
            return Err(Fault::Ack);
        }
        let is_news = received > self.acknowledged || limit > self.limit;
        self.acknowledged = self.acknowledged.max(received);
        self.limit = self.limit.max(limit);
        let known = self.acknowledged;
        let has = |kept: &Kept| kept.reach() <= known;
        while self.sent > 0 && self.blocks.front().is_some_and(has) {
            if let Some(kept) = self.blocks.pop_front() {
                self.again.remove(&kept.block.offset);
                self.sent -= 1;
            }
        }
        Ok(is_news)
    }

    /// Bytes that the other end has; the end counts as one more.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// What went over a lane that has broken is sent again.
    pub(super) fn lane_lost(&mut self, lane: LaneId) {
        let sent = self.blocks.iter().take(self.sent);
        self.again.extend(sent.filter(|kept| kept.lane == Some(lane)).map(|kept| kept.block.offset));
    }

    /// Sends the first block again, if the other end should have it by now.
    pub(super) fn retry(&mut self, now: Duration) {
        let head = self.blocks.front().filter(|_| self.sent > 0);
        if let Some(head) = head.filter(|head| head.due <= now) {
            self.again.insert(head.block.offset);
        }
    }

    /// While more waits than the other end takes, or than is kept here, a block that is late holds all of it up: it is sent again, and
    /// so are those behind it on the same lane, if they were sent before `late`.
    pub(super) fn hurry(&mut self, late: Duration) {
        let is_held_up =
            !self.has_next() && (self.sent < self.blocks.len() || !self.tail.is_empty() || self.room() == 0);
        let Some(head) = self.blocks.front().filter(|_| self.sent > 0 && is_held_up) else { return };
        let lane = head.lane;
        let stuck = self.blocks.iter().take(self.sent.min(HURRIED_AMONG));
        let stuck = stuck.filter(|kept| kept.lane == lane && kept.copies <= HURRIES && kept.sent < late);
        self.again.extend(stuck.take(HURRIED).map(|kept| kept.block.offset));
    }

    /// Whether it goes on only when there is room for more.
    pub(super) fn lacks_room(&self) -> bool {
        !self.waits() && !self.is_empty() && !self.has_next()
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.tail.is_empty()
    }

    /// Whether the other end has all of it, with its end.
    pub(super) fn is_over(&self) -> bool {
        self.is_last_cut && self.blocks.is_empty()
    }

    /// Whether something is under way.
    pub(super) fn waits(&self) -> bool {
        self.sent > 0
    }

    /// Bytes that are kept.
    pub(super) fn held_bytes(&self) -> usize {
        self.tail.len() + self.blocks.iter().map(|kept| kept.block.payload.len()).sum::<usize>()
    }
}
