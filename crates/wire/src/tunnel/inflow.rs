//! What comes of a stream: blocks in any order, which are read in theirs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use super::frame::{Block, Coding, Last, Why};
use super::{BLOCK_BYTES_MAX, Fault};

/// Blocks that may wait for one before them. The other end has no more than half as many under way.
pub(super) const WAITING_MAX: usize = 4096;

/// Blocks that may wait to be read beside those, for each of so many bytes of the window.
const BYTES_PER_BLOCK: u64 = 256;

/// Short blocks are joined up to this length, so that what waits to be read costs little more than its bytes.
const JOINED_BYTES: usize = 4 * 1024;

/// So much of what has come is acknowledged at once.
const URGENT_BYTES: u64 = 256 * 1024;

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next part of the stream.
    Block(Block),
    /// Its end, or its reset.
    Over(Last),
    /// Nothing yet.
    Nothing,
}

/// How soon the other end should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    None,
    Soon,
    Now,
}

/// The receiving half of a stream.
#[derive(Debug)]
pub(super) struct Inflow {
    /// Bytes that have come in order.
    received: u64,
    /// Bytes that were read.
    consumed: u64,
    /// Bytes that may come in all.
    limit: u64,
    window: u64,
    /// When the limit was raised last.
    raised: Duration,
    ready: VecDeque<Block>,
    waiting: BTreeMap<u64, Block>,
    /// Where it is over, and how, as far as that is known.
    end: Option<(u64, Last)>,
    /// Whether it was ended here: what is still under way is of no interest.
    is_aborted: bool,
    /// What the other end was told.
    told: (u64, u64),
    is_untold: bool,
}

impl Inflow {
    pub(super) fn new(window: u64) -> Self {
        Self {
            received: 0,
            consumed: 0,
            limit: window,
            window,
            raised: Duration::ZERO,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            end: None,
            is_aborted: false,
            told: (0, window),
            is_untold: false,
        }
    }

    /// Takes a block, and tells whether there is more to read by it.
    pub(super) fn take(&mut self, block: Block) -> Result<bool, Fault> {
        let (offset, end, last) = (block.offset, block.end(), block.last);
        if end > self.limit {
            return Err(Fault::Credit);
        }
        if self.is_aborted {
            return Ok(false);
        }
        // What has come already is told again: the other end may not know.
        self.is_untold = true;
        match self.end {
            Some((at, known)) if end > at || (last != Last::More && (end, last) != (at, known)) => {
                return Err(Fault::End);
            }
            None if end < self.received && last != Last::More => return Err(Fault::End),
            _ => {}
        }
        if self.is_over_in_order() || end < self.received || (end == self.received && last == Last::More) {
            return Ok(false);
        }
        if offset < self.received {
            // The end alone is new of a block that has come without it: no end sends such.
            return Err(Fault::Overlap);
        }
        if let Some(same) = self.waiting.get(&offset)
            && (same.end(), same.last) == (end, last)
        {
            return Ok(false);
        }
        let before = self.waiting.range(..=offset).next_back();
        let behind = self.waiting.range(offset..).next();
        if before.is_some_and(|(_, before)| before.end() > offset || before.offset == offset)
            || behind.is_some_and(|(at, _)| *at < end)
        {
            return Err(Fault::Overlap);
        }
        if last != Last::More {
            if behind.is_some() || self.received > end {
                return Err(Fault::End);
            }
            self.end = Some((end, last));
        }
        if offset > self.received {
            if self.waiting.len() >= WAITING_MAX {
                return Err(Fault::Blocks);
            }
            self.waiting.insert(offset, block);
            return Ok(false);
        }
        if self.ready.len() as u64 >= WAITING_MAX as u64 + self.window / BYTES_PER_BLOCK {
            return Err(Fault::Blocks);
        }
        self.append(block);
        while let Some(next) = self.waiting.remove(&self.received) {
            self.append(next);
        }
        Ok(true)
    }

    fn append(&mut self, block: Block) {
        self.received = block.end();
        match self.ready.back_mut() {
            _ if block.length == 0 => {}
            Some(before) if is_short(before, &block) => join(before, &block),
            _ => self.ready.push_back(block),
        }
    }

    /// Whether all of it has come.
    pub(super) fn is_over_in_order(&self) -> bool {
        self.end.is_some_and(|(at, _)| at == self.received)
    }

    /// Whether the other end has reset it, and all before that has come.
    pub(super) fn is_reset(&self) -> bool {
        self.is_over_in_order() && matches!(self.end, Some((_, Last::Reset(_))))
    }

    /// Whether a reader finds something.
    pub(super) fn is_readable(&self) -> bool {
        !self.ready.is_empty() || self.is_over_in_order()
    }

    pub(super) fn read(&mut self) -> Read {
        match (self.ready.pop_front(), self.end) {
            (Some(block), _) => {
                self.consumed += block.length as u64;
                Read::Block(block)
            }
            (None, Some((at, last))) if at == self.received => Read::Over(last),
            _ => Read::Nothing,
        }
    }

    /// Lets more come, as some was read. A reader that would take more than a window in `quick` gets a larger one, by what `grown`
    /// makes of it; tells how much that is.
    pub(super) fn raise(&mut self, now: Duration, quick: Duration, grown: impl FnOnce(u64) -> u64) -> u64 {
        let left = self.limit - self.consumed;
        // There has to be room for a block, which may not be cut any more.
        if self.end.is_some() || left > self.window / 2 && left >= BLOCK_BYTES_MAX as u64 {
            return 0;
        }
        let is_quick = now.saturating_sub(self.raised) < quick;
        let more = if is_quick { grown(self.window) } else { 0 };
        self.window += more;
        self.raised = now;
        self.limit = self.consumed + self.window;
        more
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// How soon the other end should know how far this is.
    pub(super) fn news(&self) -> News {
        let (received, limit) = self.told;
        let is_urgent = self.received_with_end() - received >= URGENT_BYTES
            || self.limit - limit >= self.window / 4
            || self.is_over_in_order();
        match (self.is_untold || (received, limit) != (self.received_with_end(), self.limit), is_urgent) {
            (false, _) => News::None,
            (true, false) => News::Soon,
            (true, true) => News::Now,
        }
    }

    /// What the other end is to know: how far this is, and how far it may go.
    pub(super) fn tell(&mut self) -> (u64, u64) {
        self.is_untold = false;
        self.told = (self.received_with_end(), self.limit);
        self.told
    }

    /// What was told may not have arrived. There is nothing to tell of a stream that the other end may not know yet.
    pub(super) fn tell_again(&mut self) {
        self.is_untold |= self.received_with_end() > 0;
    }

    /// Bytes that have come in order.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    fn received_with_end(&self) -> u64 {
        self.received + u64::from(self.is_over_in_order())
    }

    /// Bytes that wait here.
    pub(super) fn held_bytes(&self) -> usize {
        self.ready.iter().chain(self.waiting.values()).map(|block| block.payload.len()).sum()
    }

    /// Drops what nobody will read.
    pub(super) fn discard(&mut self) {
        self.ready.clear();
    }

    /// Ends it here, as the rest will never come.
    pub(super) fn abort(&mut self, why: Why) {
        if !self.is_over_in_order() {
            self.waiting.clear();
            self.end = Some((self.received, Last::Reset(why)));
            self.is_aborted = true;
        }
    }
}

/// Whether two blocks are better one.
fn is_short(before: &Block, block: &Block) -> bool {
    let are_plain = before.coding == Coding::Plain && block.coding == Coding::Plain;
    are_plain && before.length + block.length <= JOINED_BYTES
}

fn join(before: &mut Block, block: &Block) {
    let payload = std::mem::take(&mut before.payload).try_into_mut();
    let mut payload = payload.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    payload.extend_from_slice(&block.payload);
    (before.payload, before.length, before.last) =
        (payload.freeze(), before.length + block.length, block.last);
}
