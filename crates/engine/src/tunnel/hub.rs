//! The session of a tunnel, and all who wait for something of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use towpath_config::TunnelEnd;
use towpath_wire::tunnel::frame::Frame;
use towpath_wire::tunnel::hello::Terms;
use towpath_wire::tunnel::session::{Limits, Role, Session};
use towpath_wire::tunnel::{Fault, LaneId, Path, StreamId};

use super::parting;
use super::state::{Lane, State};
use crate::error::HopFault;

/// The time is looked at so often at least, and at most; and closely if within so much something is due.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(1);
const AWAKE: Duration = Duration::from_millis(50);

/// How long the rate is measured.
const MEASURE: Duration = Duration::from_millis(250);

/// Bytes of each stream that come before any were read.
pub(crate) const FIRST_WINDOW: u32 = 256 * 1024;

/// A session and those that wait for it. Lanes and streams may be on several workers.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// When its time began.
    begun: Instant,
    /// Told when something is under way again.
    awake: Notify,
    /// Told when lanes come and go, or all is over.
    pub(crate) changed: Notify,
    pub(crate) end: TunnelEnd,
}

/// What a lane gets to write.
pub(crate) enum Out {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing more: it is to close.
    Close,
    /// Nothing more: it does not live, or its session is over.
    Drop,
}

/// How much a session has to do, and has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measures {
    pub(crate) streams: usize,
    /// Bytes of all streams that the other end has, and that this one has had of it.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Whether more waits than the lanes take.
    pub(crate) is_hungry: bool,
    /// The time there and back, of the slowest lane.
    pub(crate) rtt: Duration,
}

/// What a session keeps to.
pub(crate) fn limits(end: &TunnelEnd, streams: usize) -> Limits {
    Limits {
        window: u64::from(FIRST_WINDOW),
        window_max: end.window_bytes,
        memory: end.memory_bytes,
        streams,
        resume: end.resume,
    }
}

impl Hub {
    /// A session without lanes.
    pub(crate) fn new(role: Role, end: &TunnelEnd, streams: usize, theirs: Terms) -> Arc<Self> {
        let session = Session::new(role, limits(end, streams), theirs, Duration::ZERO);
        let state = State {
            session,
            lanes: BTreeMap::new(),
            waiting: HashMap::new(),
            opened: VecDeque::new(),
            is_awake: false,
            has_moved: false,
            is_leaving: false,
            alone_since: Duration::ZERO,
            failure: None,
            hungry: None,
            fault: None,
            measured: (Duration::ZERO, 0, 0.0),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            begun: Instant::now(),
            awake: Notify::new(),
            changed: Notify::new(),
            end: end.clone(),
        })
    }

    /// The time of the session.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Does something with the session, and what follows of that.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State, Duration) -> T) -> T {
        let now = self.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state, now);
        let mut wakers = Vec::new();
        let is_changed = state.settle(now, &mut wakers);
        let wakes = std::mem::take(&mut state.has_moved) && !state.is_awake;
        state.is_awake |= wakes;
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if wakes {
            self.awake.notify_one();
        }
        if is_changed {
            self.changed.notify_waiters();
        }
        result
    }

    /// Does what is due, for as long as anybody has the session and it is not over.
    pub(crate) async fn keep_time(this: Weak<Self>) {
        parting::note(&this);
        loop {
            let Some(hub) = this.upgrade() else { return };
            let pause = hub.with(|state, now| {
                state.session.tick(now);
                let at = state.session.deadline()?;
                state.refresh(now);
                let pause = at.saturating_sub(now).clamp(PAUSE_MIN, PAUSE_MAX);
                // Whoever begins something that may be due sooner tells.
                state.is_awake = pause <= AWAKE;
                Some(pause)
            });
            let Some(pause) = pause else { return };
            drop(hub);
            let Some(hub) = this.upgrade() else { return };
            tokio::select! {
                () = sleep(pause) => {}
                () = hub.awake.notified() => {}
            }
        }
    }

    /// Takes a lane in.
    pub(crate) fn add_lane(&self, id: LaneId) {
        self.with(|state, now| {
            state.lanes.insert(id, Lane::default());
            state.session.add_lane(id, now);
        });
        self.changed.notify_waiters();
    }

    /// Takes a lane out.
    pub(crate) fn remove_lane(&self, id: LaneId) {
        self.with(|state, now| {
            state.lanes.remove(&id);
            state.alone_since = now;
            state.session.remove_lane(id, now);
        });
        self.changed.notify_waiters();
    }

    /// Has a lane close, once what it has is written: the one that is picked of those that are open.
    pub(crate) fn retire_lane(&self, pick: impl FnOnce(&[LaneId]) -> Option<LaneId>) {
        self.with(|state, now| {
            let open = state.lanes.iter().filter(|(_, lane)| !lane.is_retired);
            let open: Vec<_> = open.map(|(id, _)| *id).collect();
            if let Some(id) = pick(&open)
                && let Some(lane) = state.lanes.get_mut(&id)
            {
                lane.is_retired = true;
                let path = lane.path;
                state.session.set_lane(id, false, path, now);
            }
        });
    }

    /// Ends the session, tells the other end, and has all lanes close once that is written.
    pub(crate) fn part(&self) {
        self.with(|state, now| {
            state.session.part();
            state.pump(now);
            state.lanes.values_mut().for_each(|lane| lane.is_retired = true);
        });
    }

    /// Has all lanes close, once what they have is written.
    pub(crate) fn retire(&self) {
        while self.lanes() > 0 {
            self.retire_lane(|open| open.last().copied());
        }
    }

    /// How many lanes there are that take blocks.
    pub(crate) fn lanes(&self) -> usize {
        self.with(|state, _| state.lanes.values().filter(|lane| !lane.is_retired).count())
    }

    /// How long it has had no lane, if it has none, and whether streams wait for one.
    pub(crate) fn alone(&self) -> Option<(Duration, bool)> {
        self.with(|state, now| {
            let is_alone = state.lanes.is_empty();
            is_alone.then(|| (now.saturating_sub(state.alone_since), state.session.streams() > 0))
        })
    }

    /// What a lane is to write; whatever it had is written.
    pub(crate) fn poll_out(&self, id: LaneId, path: Option<Path>, cx: &mut Context<'_>) -> Poll<Out> {
        self.with(|state, now| {
            let Some(lane) = state.lanes.get_mut(&id).filter(|lane| !lane.is_dead) else {
                return Poll::Ready(Out::Drop);
            };
            lane.taken = 0;
            if let Some(path) = path {
                (lane.path, lane.heard) = (path, now);
            }
            let (is_full, path) = (lane.is_full(), lane.path);
            state.session.set_lane(id, !is_full, path, now);
            state.pump(now);
            let Some(lane) = state.lanes.get_mut(&id) else { return Poll::Ready(Out::Drop) };
            if lane.out.is_empty() {
                if lane.is_retired {
                    return Poll::Ready(Out::Close);
                }
                lane.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let bytes = std::mem::take(&mut lane.out);
            lane.taken = bytes.len() as u64;
            Poll::Ready(Out::Bytes(bytes))
        })
    }

    /// Whether a lane does not live any more; if it does, it is told when that changes.
    pub(crate) fn is_dead(&self, id: LaneId, cx: &Context<'_>) -> bool {
        self.with(|state, _| match state.lanes.get_mut(&id).filter(|lane| !lane.is_dead) {
            Some(lane) => {
                lane.waker = Some(cx.waker().clone());
                false
            }
            None => true,
        })
    }

    /// Takes frames that have come over a lane, and gives back the streams that were opened by them.
    ///
    /// # Errors
    /// What the other end does that it may not; the session is over then.
    pub(crate) fn receive(&self, id: LaneId, frames: Vec<Frame>) -> Result<Vec<StreamId>, Fault> {
        self.with(|state, now| {
            for frame in frames {
                if let Err(fault) = state.session.receive(id, frame, now) {
                    state.session.end();
                    return Err(fault);
                }
            }
            Ok(())
        })?;
        Ok(self.with(|state, _| state.opened.drain(..).collect()))
    }

    /// Ends the session: every stream is reset.
    pub(crate) fn finish(&self) {
        self.with(|state, _| state.session.end());
    }

    /// Ends the session for what a stream has found.
    pub(super) fn condemn(&self, fault: Fault) {
        self.with(|state, _| {
            if !state.session.is_over() {
                state.fault = Some(fault);
                state.session.end();
            }
        });
    }

    /// What a stream has ended the session for; told once.
    pub(super) fn take_fault(&self) -> Option<Fault> {
        self.with(|state, _| state.fault.take())
    }

    /// Opens no more streams: another session is for those that come.
    pub(crate) fn leave_off(&self) {
        self.with(|state, _| state.is_leaving = true);
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.with(|state, _| state.session.is_over())
    }

    /// Bytes a second that the lanes have carried lately.
    pub(crate) fn rate(&self) -> f64 {
        self.with(|state, now| {
            let (since, had, rate) = state.measured;
            let time = now.saturating_sub(since);
            if time < MEASURE {
                return rate;
            }
            let sent = state.session.sent_bytes();
            let rate = (sent - had) as f64 / time.as_secs_f64();
            state.measured = (now, sent, rate);
            rate
        })
    }

    /// Whether new streams may be opened, or one day may.
    pub(crate) fn is_of_use(&self) -> bool {
        self.with(|state, _| !state.is_leaving && !state.session.is_over())
    }

    /// How much it has to do, and has done.
    pub(crate) fn measures(&self) -> Measures {
        self.with(|state, _| {
            let session = &state.session;
            Measures {
                streams: session.streams(),
                sent: session.delivered_bytes(),
                received: session.received_bytes(),
                is_hungry: session.is_hungry(),
                rtt: state.lanes.values().map(|lane| lane.path.rtt).max().unwrap_or_default(),
            }
        })
    }

    /// Notes why there is no lane.
    pub(crate) fn fails(&self, fault: HopFault) {
        self.with(|state, _| state.failure = Some(fault));
    }

    /// Why there is no lane, where that is known.
    pub(crate) fn failure(&self) -> Option<HopFault> {
        self.with(|state, _| state.failure)
    }
}
