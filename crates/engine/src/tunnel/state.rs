//! A session, the lanes that carry it, and those that wait for something of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::task::{Context, Waker};
use std::time::Duration;

use towpath_wire::tunnel::session::{Event, Session};
use towpath_wire::tunnel::{Fault, LaneId, Path, StreamId};

use crate::error::HopFault;
use crate::spare;

/// What waits to be written to a lane: so many bytes at least, and at most, and in between what it carries in a moment.
const BACKLOG_MIN: u64 = 64 * 1024;
const BACKLOG_MAX: u64 = 256 * 1024;
const MOMENT: Duration = Duration::from_millis(10);

/// What a lane has told of its way is old after so long.
const STALE: Duration = Duration::from_millis(15);

/// Lanes that had too much to carry are taken for narrow so much longer.
const NARROW: Duration = Duration::from_secs(3);

/// What the mutex of a hub holds.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) session: Session,
    pub(super) lanes: BTreeMap<LaneId, Lane>,
    pub(super) waiting: HashMap<StreamId, Waiting>,
    /// Streams that the other end has opened, and that nobody has taken yet.
    pub(super) opened: VecDeque<StreamId>,
    /// Whether the time is kept closely.
    pub(super) is_awake: bool,
    /// Whether frames have gone out, or are about to.
    pub(super) has_moved: bool,
    pub(super) is_leaving: bool,
    /// Since when there is no lane, where there is none.
    pub(super) alone_since: Duration,
    pub(super) failure: Option<HopFault>,
    /// What the other end did that it may not, until a lane has told of it.
    pub(super) fault: Option<Fault>,
    /// When more waited than the lanes took, last.
    pub(super) hungry: Option<Duration>,
    /// When the rate was measured last, what was sent by then, and what it was.
    pub(super) measured: (Duration, u64, f64),
}

/// A lane, as those see it that have something for it.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) out: Vec<u8>,
    pub(super) path: Path,
    /// When that was.
    pub(super) heard: Duration,
    /// Bytes that it has taken and not written yet.
    pub(super) taken: u64,
    pub(super) waker: Option<Waker>,
    /// Whether it takes no more blocks, and is to close.
    pub(super) is_retired: bool,
    pub(super) is_dead: bool,
}

impl Lane {
    pub(super) fn is_full(&self) -> bool {
        let moment = (self.path.rate as f64 * MOMENT.as_secs_f64()) as u64;
        self.is_retired || self.out.len() as u64 + self.taken >= moment.clamp(BACKLOG_MIN, BACKLOG_MAX)
    }
}

/// Who waits for a stream.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

impl State {
    /// Hands what may be sent to the lanes, and tells those who wait; true when lanes or all has changed.
    pub(super) fn settle(&mut self, now: Duration, wakers: &mut Vec<Waker>) -> bool {
        self.pump(now);
        let is_changed = self.settle_events(wakers);
        // What has happened may have made room.
        self.pump(now);
        if self.session.is_hungry() {
            self.hungry = Some(now);
        }
        self.has_moved |= self.session.is_telling();
        // One that still writes asks for more by itself.
        let has_work =
            |lane: &&mut Lane| lane.is_dead || (lane.taken == 0 && (lane.is_retired || !lane.out.is_empty()));
        wakers.extend(self.lanes.values_mut().filter(has_work).filter_map(|lane| lane.waker.take()));
        is_changed
    }

    pub(super) fn pump(&mut self, now: Duration) {
        while let Some((id, frame)) = self.session.next_frame(now) {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            if lane.out.capacity() == 0 {
                lane.out = spare::take();
            }
            frame.write(&mut lane.out);
            self.has_moved = true;
            let is_full = lane.is_full();
            let path = Path { unsent: lane.path.unsent + lane.taken + lane.out.len() as u64, ..lane.path };
            self.session.set_lane(id, !is_full, path, now);
        }
    }

    /// Has lanes tell how their ways are, of which that was heard long ago: one that seemed bad may be good by now.
    pub(super) fn refresh(&mut self, now: Duration) {
        let is_old = |lane: &&mut Lane| lane.heard + STALE <= now && lane.taken == 0;
        for lane in self.lanes.values_mut().filter(is_old) {
            if let Some(waker) = lane.waker.take() {
                waker.wake();
            }
        }
    }

    fn settle_events(&mut self, wakers: &mut Vec<Waker>) -> bool {
        let mut is_changed = false;
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Opened(id) => self.opened.push_back(id),
                Event::Readable(id) => {
                    if let Some(waiting) = self.waiting.get_mut(&id) {
                        wakers.extend(waiting.reader.take());
                        wakers.extend(waiting.watcher.take());
                    }
                }
                Event::Writable(id) => {
                    let waiting = self.waiting.get_mut(&id);
                    wakers.extend(waiting.and_then(|waiting| waiting.writer.take()));
                }
                Event::Silent(id) => {
                    if let Some(lane) = self.lanes.get_mut(&id) {
                        lane.is_dead = true;
                    }
                }
                Event::Leaving => {
                    self.is_leaving = true;
                    is_changed = true;
                }
                Event::Over => {
                    // Those that are to tell of it close by themselves.
                    self.lanes.values_mut().for_each(|lane| lane.is_dead |= !lane.is_retired);
                    is_changed = true;
                }
            }
        }
        is_changed
    }

    /// Whether the lanes are narrow: more waited than they took, not long ago. What is compressed well may fit for a moment.
    pub(super) fn is_narrow(&self, now: Duration) -> bool {
        self.hungry.is_some_and(|at| now < at + NARROW)
    }

    /// Has the reader of a stream told when there is something.
    pub(crate) fn wait_to_read(&mut self, id: StreamId, cx: &Context<'_>) {
        self.waiting.entry(id).or_default().reader = Some(cx.waker().clone());
    }

    /// Has the writer of a stream told when there is room.
    pub(crate) fn wait_to_write(&mut self, id: StreamId, cx: &Context<'_>) {
        self.waiting.entry(id).or_default().writer = Some(cx.waker().clone());
    }

    /// Has somebody told when there is something of a stream, beside its reader.
    pub(crate) fn watch(&mut self, id: StreamId, cx: &Context<'_>) {
        self.waiting.entry(id).or_default().watcher = Some(cx.waker().clone());
    }

    /// Nobody waits for a stream any more.
    pub(crate) fn forget(&mut self, id: StreamId) {
        self.waiting.remove(&id);
    }
}
