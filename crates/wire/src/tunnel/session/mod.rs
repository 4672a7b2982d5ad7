//! One session of a tunnel, at either end: its streams, its lanes, and what goes over which.
//!
//! Whoever drives it gives it what comes of lanes, and asks for what goes over them after each call; `now` is the time of the call.

mod receive;
mod send;
mod streams;
mod time;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::frame::{Frame, Why};
use super::hello::{self, Terms};
pub use super::inflow::Read;
use super::inflow::{Inflow, News};
use super::outflow::Outflow;
use super::stripe::{Lane, Path};
use super::{LaneId, StreamId};

/// An acknowledgement that is not urgent waits so long for more to acknowledge.
const ACK_DELAY: Duration = Duration::from_millis(5);

/// How often is looked for what is stuck, while something is under way.
const LOOKS: Duration = Duration::from_millis(20);

/// A lane that says nothing for so long while something is under way is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(1);

/// The first lane may take so long, however long a session lives on without one later.
const FIRST_LANE: Duration = Duration::from_secs(10);

/// A window below this is short on most long ways.
const SMALL_WINDOW: u64 = 2 * 1024 * 1024;

/// Which end of a session this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that opens lanes and streams.
    Near,
    /// The one that takes them.
    Far,
}

/// What an end keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of each stream that may come before some were read, and that are kept of what goes beside what waits to be sent; at least
    /// [`BLOCK_BYTES_MAX`](super::BLOCK_BYTES_MAX).
    pub window: u64,
    /// The same for a stream that is quick.
    pub window_max: u64,
    /// All windows together, of what comes and of what is kept until the other end has it, grow by no more than this.
    pub memory: u64,
    /// Streams at a time: what the other end is told in the terms.
    pub streams: usize,
    /// How long a session without a lane goes on.
    pub resume: Duration,
}

/// What has happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The other end has opened a stream.
    Opened(StreamId),
    /// A reader finds something.
    Readable(StreamId),
    /// A writer finds room, or that nothing more is wanted.
    Writable(StreamId),
    /// A lane does not live any more; it is still to be taken out.
    Silent(LaneId),
    /// The other end takes no more streams.
    Leaving,
    /// All of it is over: every stream is reset.
    Over,
}

#[derive(Debug)]
struct Stream {
    inflow: Inflow,
    outflow: Outflow,
    /// Whether nobody holds it any more.
    is_released: bool,
    /// When something of it was acknowledged last, or it began to wait for that, or was released.
    progress: Duration,
    /// Whether it is among those that have something to send.
    is_ready: bool,
    /// Whether it is among those of which something is to be acknowledged.
    is_untold: bool,
}

/// How long the queues of a session are.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) notes: usize,
    pub(super) gone: usize,
    pub(super) untold: usize,
    pub(super) ready: usize,
    pub(super) events: usize,
}

/// One end of a session.
#[derive(Debug)]
pub struct Session {
    role: Role,
    limits: Limits,
    /// What the other end takes.
    theirs: Terms,
    streams: BTreeMap<StreamId, Stream>,
    /// The number of the next stream that is opened, by whichever end opens them.
    next_stream: StreamId,
    /// How many may be opened in all, as far as the end that opens them was told.
    room_told: u64,
    /// Whether it is to be told that.
    owes_room: bool,
    lanes: Vec<Lane>,
    /// Streams that have something to send, in turn.
    ready: VecDeque<StreamId>,
    /// What is to be sent of the session itself, perhaps over one lane alone.
    notes: VecDeque<(Option<LaneId>, Frame)>,
    /// Streams that the other end is to be told of that they are gone.
    gone: BTreeSet<StreamId>,
    /// Streams of which something is to be acknowledged.
    untold: VecDeque<StreamId>,
    tell_at: Option<Duration>,
    looked: Duration,
    /// Until when it is looked for what is stuck.
    busy_until: Duration,
    /// When streams that lack room asked last whether there still is somebody who would give it.
    probed: Duration,
    /// When the last lane was added.
    laned: Duration,
    /// When anything was acknowledged last.
    progress: Duration,
    /// Bytes that all windows together have grown by.
    grown: u64,
    events: VecDeque<Event>,
    /// When all is over, unless there is a lane by then.
    lost_at: Option<Duration>,
    /// Whether the other end takes no more streams.
    is_leaving: bool,
    /// Whether this end takes no more.
    is_refusing: bool,
    is_over: bool,
    /// Lanes over which the other end is to be told so.
    farewells: Vec<LaneId>,
    /// Bytes of streams that the other end has acknowledged.
    delivered: u64,
    received: u64,
    /// Bytes of blocks, as they are coded, that went to lanes.
    sent: u64,
}

impl Session {
    /// `theirs` are the terms of the other end, or what it certainly takes until it has told.
    pub fn new(role: Role, limits: Limits, theirs: Terms, now: Duration) -> Self {
        Self {
            role,
            limits,
            theirs,
            streams: BTreeMap::new(),
            next_stream: 0,
            room_told: match role {
                Role::Near => 0,
                Role::Far => limits.streams as u64,
            },
            owes_room: false,
            lanes: Vec::new(),
            ready: VecDeque::new(),
            notes: VecDeque::new(),
            gone: BTreeSet::new(),
            untold: VecDeque::new(),
            tell_at: None,
            looked: now,
            busy_until: now,
            probed: now,
            laned: now,
            progress: now,
            grown: 0,
            events: VecDeque::new(),
            lost_at: Some(now + limits.resume.max(FIRST_LANE)),
            is_leaving: false,
            is_refusing: false,
            is_over: false,
            farewells: Vec::new(),
            delivered: 0,
            received: 0,
            sent: 0,
        }
    }

    /// The terms of the other end, as it has told them now.
    pub fn set_terms(&mut self, theirs: Terms) {
        self.theirs = theirs;
    }

    /// What the other end takes.
    pub fn terms(&self) -> Terms {
        self.theirs
    }

    /// What has happened since this was last asked, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes a lane in, over which frames may go from now on.
    pub fn add_lane(&mut self, id: LaneId, now: Duration) {
        self.lanes.push(Lane::new(id, now));
        self.laned = now;
        self.lost_at = None;
        self.busy_until = self.busy_until.max(now + 2 * LOOKS);
    }

    /// Takes a lane out: what went over it may not have arrived.
    pub fn remove_lane(&mut self, id: LaneId, now: Duration) {
        let before = self.lanes.len();
        self.lanes.retain(|lane| lane.id != id);
        if self.lanes.len() == before {
            return;
        }
        if self.lanes.is_empty() {
            self.lost_at = Some(now + self.limits.resume);
        }
        self.notes.retain(|(only, _)| *only != Some(id));
        self.tell_session_again();
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id_of in ids {
            if let Some(stream) = self.streams.get_mut(&id_of) {
                stream.outflow.lane_lost(id);
                stream.inflow.tell_again();
            }
            self.touch(id_of);
            self.note_news(id_of, now);
        }
    }

    /// What was told of the session itself may not have arrived.
    fn tell_session_again(&mut self) {
        self.notes.retain(|(_, note)| *note != Frame::Bye);
        if self.is_refusing {
            self.notes.push_back((None, Frame::Bye));
        }
        self.owes_room = self.role == Role::Far && self.room_told > self.limits.streams as u64;
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Whether a lane takes blocks now, and how its way is.
    pub fn set_lane(&mut self, id: LaneId, takes_blocks: bool, path: Path, now: Duration) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == id) {
            lane.path = path;
            lane.full_since = if takes_blocks { None } else { lane.full_since.or(Some(now)) };
        }
    }

    /// Ends the session: every stream is reset.
    pub fn end(&mut self) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        for (id, stream) in &mut self.streams {
            stream.outflow.discard(Why::Reset);
            stream.inflow.abort(Why::Reset);
            self.events.extend([Event::Readable(*id), Event::Writable(*id)]);
        }
        self.streams.retain(|_, stream| !stream.is_released);
        // Nothing of it is sent any more.
        self.ready.clear();
        self.notes.clear();
        self.gone.clear();
        self.untold.clear();
        self.events.push_back(Event::Over);
    }

    /// Ends the session, and tells the other end over all lanes, if it understands that: it need not wait for this one to come back.
    pub fn part(&mut self) {
        if !self.is_over && self.theirs.features & hello::OVER != 0 {
            self.farewells = self.lanes.iter().map(|lane| lane.id).collect();
        }
        self.end();
    }

    /// Tells the other end to open no more streams.
    pub fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_refusing, true) {
            self.notes.push_back((None, Frame::Bye));
        }
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Streams that are not over, or of which the other end is still to be told that they are.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of streams that the other end has acknowledged, in all.
    pub fn delivered_bytes(&self) -> u64 {
        self.delivered
    }

    /// Bytes of blocks that went over lanes, as they are coded, those that went twice counted twice.
    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Bytes of all streams that have come in order.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Whether blocks wait for a lane to take them.
    pub fn is_hungry(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether something is to be acknowledged soon.
    pub fn is_telling(&self) -> bool {
        self.tell_at.is_some() && !self.lanes.is_empty()
    }

    /// Bytes of streams that are kept here, sent or received.
    pub fn held_bytes(&self) -> usize {
        self.streams.values().map(|stream| stream.inflow.held_bytes() + stream.outflow.held_bytes()).sum()
    }

    /// How much waits to be sent, told or asked for.
    #[cfg(test)]
    pub(super) fn queued(&self) -> Queued {
        Queued {
            notes: self.notes.len(),
            gone: self.gone.len(),
            untold: self.untold.len(),
            ready: self.ready.len(),
            events: self.events.len(),
        }
    }

    /// What all windows have grown by, as it is counted, and as it is.
    #[cfg(test)]
    pub(super) fn grown(&self) -> (u64, u64) {
        let windows = self.streams.values().map(|stream| stream.inflow.window() + stream.outflow.window());
        (self.grown, windows.map(|windows| windows - 2 * self.limits.window).sum())
    }

    /// Whether a reader of a stream finds something.
    pub fn is_readable(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_none_or(|stream| stream.inflow.is_readable())
    }

    /// Whether the other end has all that was written to a stream.
    pub fn is_delivered(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_none_or(|stream| stream.outflow.is_empty())
    }

    /// Whether a stream was reset by the other end, and all before that has come.
    pub fn is_reset(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_none_or(|stream| stream.inflow.is_reset())
    }

    fn slowest(&self) -> Duration {
        self.lanes.iter().map(|lane| lane.path.rtt).max().unwrap_or_default()
    }

    /// A stream may have something to send.
    fn touch(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.is_ready
            && stream.outflow.has_next()
        {
            stream.is_ready = true;
            self.ready.push_back(id);
        }
    }

    fn note_news(&mut self, id: StreamId, now: Duration) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let at = match stream.inflow.news() {
            News::None => return,
            News::Soon => now + ACK_DELAY,
            News::Now => now,
        };
        self.tell_at = Some(self.tell_at.map_or(at, |before| before.min(at)));
        if !stream.is_untold {
            stream.is_untold = true;
            self.untold.push_back(id);
        }
    }

    /// Forgets a stream that is over, once the other end was told so. Until then it takes room, so that whoever reads nothing can open
    /// no more of them.
    fn settle(&mut self, id: StreamId, now: Duration) {
        let Some(stream) = self.streams.get(&id) else { return };
        if !stream.is_released || !stream.outflow.is_over() {
            return;
        }
        let is_awaited = !stream.inflow.is_over_in_order();
        if !is_awaited && !self.is_over && stream.inflow.news() != News::None {
            self.note_news(id, now);
            return;
        }
        if stream.is_ready {
            self.ready.retain(|ready| *ready != id);
        }
        if stream.is_untold {
            self.untold.retain(|untold| *untold != id);
        }
        let windows = stream.inflow.window() + stream.outflow.window();
        self.grown -= windows - 2 * self.limits.window;
        self.streams.remove(&id);
        if is_awaited {
            self.note_gone(id);
        }
        self.note_room();
    }
}

/// How much a window grows that is too small, if it may become so large at most, and there is so much free.
fn growth(window: u64, max: u64, free: u64) -> u64 {
    // Each step costs a round trip, so the first is a long one, as far as others need the rest less.
    let more = if window < SMALL_WINDOW { (15 * window).min(free / 8) } else { window };
    more.min(max.saturating_sub(window)).min(free)
}
