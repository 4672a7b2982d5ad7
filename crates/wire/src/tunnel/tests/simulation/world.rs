//! The ends, the wires between them, and what happens when.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use fastrand::Rng;

use super::app::{App, Ledger};
use super::wire::{Pipe, Wire};
use crate::tunnel::frame::Frame;
use crate::tunnel::hello::Terms;
use crate::tunnel::session::{Event, Limits, Role, Session};
use crate::tunnel::{LaneId, StreamId};

pub(super) const NEAR: usize = 0;
pub(super) const FAR: usize = 1;

/// Most calls of `tick` in a second: each 20 ms, and for acknowledgements each 5 ms.
const TICKS_MAX: u32 = 300;

/// What happens at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// An application at the near end opens a stream.
    Open,
    /// An application goes on.
    Wake(usize, StreamId),
    /// A lane is asked for.
    Connect,
    /// One end takes it in.
    Join(usize, LaneId),
    /// Bytes of one end have left for the other.
    Depart(usize, LaneId),
    /// They arrive.
    Arrive(usize, LaneId),
    /// An end is told that a lane is over.
    Learn(usize, LaneId),
    /// A lane ends, at any byte, as when one of them was changed on the way.
    Kill,
    /// Nothing moves on a lane for so long.
    Stall(Duration),
    /// The lanes of one end take nothing for so long, as streams come and go.
    Choke(usize, Duration),
    /// An end finds that its lanes take something again.
    Breathe(usize),
    /// All lanes end, and none comes for so long.
    Blackout(Duration),
    /// An end forgets all.
    Restart(usize),
}

/// A session, and those that use it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) session: Session,
    pub(super) apps: BTreeMap<StreamId, App>,
    pub(super) limits: Limits,
    /// The second, and how often `tick` was called in it.
    ticked: (u64, u32),
    /// When it was called last, and how often at that time.
    last_tick: (Duration, u32),
    ticks: u64,
}

/// All of it.
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) rng: Rng,
    pub(super) ends: [Option<End>; 2],
    /// Whether lanes are good from now on.
    pub(super) is_calm: bool,
    /// Makes those who hold a stream, at either end.
    pub(super) any_app: fn(StreamId, usize, Duration, &mut Rng) -> App,
    /// Makes lanes.
    pub(super) any_wire: fn(&mut Rng) -> Wire,
    ledger: Ledger,
    wires: BTreeMap<LaneId, Wire>,
    next_lane: LaneId,
    plan: BinaryHeap<Reverse<(Duration, u64, Action)>>,
    planned: u64,
    dark_until: Duration,
    /// Until when the lanes of each side take nothing.
    choked_until: [Duration; 2],
    /// Since when each side has no lane.
    lost: [Option<Duration>; 2],
    /// Those who are to be asked what they do.
    awake: BTreeSet<(usize, StreamId)>,
}

impl World {
    pub(super) fn new(limits: [Limits; 2], now: Duration, rng: Rng) -> Self {
        let terms = |limits: &Limits| Terms {
            features: 0,
            window: limits.window as u32,
            streams: limits.streams as u32,
        };
        let end = |role, side: usize| End {
            session: Session::new(role, limits[side], terms(&limits[1 - side]), now),
            apps: BTreeMap::new(),
            limits: limits[side],
            ticked: (0, 0),
            last_tick: (Duration::ZERO, 0),
            ticks: 0,
        };
        Self {
            now,
            rng,
            ends: [Some(end(Role::Near, NEAR)), Some(end(Role::Far, FAR))],
            is_calm: false,
            any_app: App::any,
            any_wire: Wire::any,
            ledger: Ledger::new(),
            wires: BTreeMap::new(),
            next_lane: 0,
            plan: BinaryHeap::new(),
            planned: 0,
            dark_until: now,
            choked_until: [now; 2],
            lost: [Some(now); 2],
            awake: BTreeSet::new(),
        }
    }

    pub(super) fn plan(&mut self, after: Duration, action: Action) {
        self.planned += 1;
        self.plan.push(Reverse((self.now + after, self.planned, action)));
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, length: Duration) {
        let until = self.now + length;
        while self.step(until) {}
        self.now = until;
    }

    fn step(&mut self, until: Duration) -> bool {
        let planned = self.plan.peek().map(|Reverse((at, ..))| *at);
        let deadlines = self.ends.iter().flatten().filter_map(|end| end.session.deadline());
        let Some(due) = deadlines.chain(planned).min().filter(|due| *due <= until) else { return false };
        self.now = self.now.max(due);
        if planned.is_some_and(|at| at <= self.now)
            && let Some(Reverse((_, _, action))) = self.plan.pop()
        {
            self.act(action);
        }
        for side in [NEAR, FAR] {
            self.tick(side);
        }
        self.settle();
        true
    }

    fn tick(&mut self, side: usize) {
        let now = self.now;
        let Some(end) = &mut self.ends[side] else { return };
        if end.session.deadline().is_none_or(|at| at > now) {
            return;
        }
        end.session.tick(now);
        end.ticks += 1;
        let second = now.as_secs();
        end.ticked = if end.ticked.0 == second { (second, end.ticked.1 + 1) } else { (second, 1) };
        end.last_tick = if end.last_tick.0 == now { (now, end.last_tick.1 + 1) } else { (now, 1) };
        assert!(end.ticked.1 <= TICKS_MAX, "it spins");
        assert!(end.last_tick.1 <= 4, "time stands still at {now:?}");
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open => self.open(),
            Action::Wake(side, id) => _ = self.awake.insert((side, id)),
            Action::Connect => self.connect(),
            Action::Join(side, lane) => self.join(side, lane),
            Action::Depart(side, lane) => self.tell_lane(side, lane),
            Action::Arrive(side, lane) => self.arrive(side, lane),
            Action::Learn(side, lane) => self.lose(side, lane),
            Action::Kill => {
                if let Some(lane) = self.any_lane() {
                    self.kill(lane);
                }
            }
            Action::Stall(length) => {
                if let Some(lane) = self.any_lane() {
                    let now = self.now;
                    self.wires.entry(lane).and_modify(|wire| wire.stall(now, length));
                    [NEAR, FAR].into_iter().for_each(|side| self.tell_lane(side, lane));
                }
            }
            Action::Choke(side, length) => self.choke(side, length),
            Action::Breathe(side) => {
                let lanes: Vec<_> = self.wires.keys().copied().collect();
                lanes.into_iter().for_each(|lane| self.tell_lane(side, lane));
            }
            Action::Blackout(length) => {
                self.dark_until = self.now + length;
                self.kill_all();
            }
            Action::Restart(side) => {
                self.kill_all();
                self.ends[side] = None;
            }
        }
    }

    fn open(&mut self) {
        let Some(end) = self.ends[NEAR].as_mut().filter(|_| !self.is_calm) else { return };
        if let Some(id) = end.session.open() {
            end.apps.insert(id, (self.any_app)(id, NEAR, self.now, &mut self.rng));
            self.awake.insert((NEAR, id));
        } else if !end.session.is_over() {
            self.plan(Duration::from_millis(100), Action::Open);
        }
    }

    /// Streams are opened all the while, as far as there is room for them.
    fn choke(&mut self, side: usize, length: Duration) {
        self.choked_until[side] = self.choked_until[side].max(self.now + length);
        self.act(Action::Breathe(side));
        self.plan(self.choked_until[side] - self.now, Action::Breathe(side));
        for _ in 0..self.rng.usize(..30) {
            let after = length.mul_f64(self.rng.f64());
            self.plan(after, Action::Open);
        }
    }

    fn connect(&mut self) {
        if !is_there(&self.ends[NEAR]) {
            return;
        }
        if self.now < self.dark_until {
            let after = self.dark_until - self.now + Duration::from_millis(self.rng.u64(..300));
            return self.plan(after, Action::Connect);
        }
        if !is_there(&self.ends[FAR]) {
            // It says that it knows no such session.
            return self.ends[NEAR].iter_mut().for_each(|near| near.session.end());
        }
        let lane = self.next_lane;
        self.next_lane += 1;
        let wire = (self.any_wire)(&mut self.rng);
        let delay = wire.delay();
        self.wires.insert(lane, wire);
        self.join(FAR, lane);
        self.plan(delay, Action::Join(NEAR, lane));
    }

    fn join(&mut self, side: usize, lane: LaneId) {
        let (Some(end), Some(wire)) = (&mut self.ends[side], self.wires.get_mut(&lane)) else { return };
        if !end.session.is_over() {
            wire.is_open[side] = true;
            end.session.add_lane(lane, self.now);
            self.lost[side] = None;
            self.tell_lane(side, lane);
        }
    }

    /// Tells a session how a lane is.
    fn tell_lane(&mut self, side: usize, lane: LaneId) {
        let (Some(end), Some(wire)) = (&mut self.ends[side], self.wires.get(&lane)) else { return };
        if wire.is_open[side] {
            let pipe = &wire.pipes[side];
            let takes_blocks = pipe.takes_blocks(self.now) && self.choked_until[side] <= self.now;
            end.session.set_lane(lane, takes_blocks, pipe.path(self.now), self.now);
        }
    }

    fn arrive(&mut self, from: usize, lane: LaneId) {
        let Some(wire) = self.wires.get_mut(&lane) else { return };
        let frames = match wire.pipes[from].arrive(self.now) {
            Ok(frames) => frames,
            Err(Some(at)) => return self.plan(at - self.now, Action::Arrive(from, lane)),
            Err(None) => return,
        };
        let to = 1 - from;
        for frame in frames {
            let is_open = self.wires.get(&lane).is_some_and(|wire| wire.is_open[to]);
            let Some(end) = self.ends[to].as_mut().filter(|_| is_open) else { return };
            let taken = end.session.receive(lane, frame.clone(), self.now);
            assert_eq!(taken, Ok(()), "an honest peer sent {frame:?}");
            self.drain(to);
        }
    }

    fn any_lane(&mut self) -> Option<LaneId> {
        let open: Vec<_> = self.wires.iter().filter(|(_, wire)| wire.is_open == [true; 2]).collect();
        self.rng.choice(open).map(|(lane, _)| *lane)
    }

    fn kill_all(&mut self) {
        let lanes: Vec<_> = self.wires.keys().copied().collect();
        lanes.into_iter().for_each(|lane| self.kill(lane));
    }

    /// A lane ends. Its ends are told soon, or find out by its silence.
    fn kill(&mut self, lane: LaneId) {
        let Some(wire) = self.wires.get_mut(&lane) else { return };
        wire.cut(&mut self.rng);
        for side in [NEAR, FAR] {
            if self.rng.u32(..5) > 0 {
                let after = Duration::from_millis(self.rng.u64(..1500));
                self.plan(after, Action::Learn(side, lane));
            }
        }
    }

    /// An end has found that a lane is over.
    fn lose(&mut self, side: usize, lane: LaneId) {
        let Some(wire) = self.wires.get_mut(&lane) else { return };
        if !std::mem::take(&mut wire.is_open[side]) {
            return;
        }
        if let Some(end) = &mut self.ends[side] {
            end.session.remove_lane(lane, self.now);
        }
        let is_last = !self.wires.values().any(|wire| wire.is_open[side]);
        if is_last && self.lost[side].is_none() {
            self.lost[side] = Some(self.now);
        }
        if self.wires.get(&lane).is_some_and(|wire| wire.is_open[1 - side]) {
            self.kill(lane);
        } else {
            self.wires.remove(&lane);
        }
        if side == NEAR {
            let after = Duration::from_millis(self.rng.u64(5..2000));
            self.plan(after, Action::Connect);
        }
    }

    /// Does all that follows from what has happened.
    fn settle(&mut self) {
        loop {
            for side in [NEAR, FAR] {
                self.drain(side);
            }
            let awake = std::mem::take(&mut self.awake);
            if awake.is_empty() {
                break;
            }
            for (side, id) in awake {
                self.wake(side, id);
            }
        }
        self.check_memory();
    }

    fn wake(&mut self, side: usize, id: StreamId) {
        let Some(end) = &mut self.ends[side] else { return };
        let Some(app) = end.apps.get_mut(&id) else { return };
        match app.act(&mut end.session, &mut self.ledger, self.now, &mut self.rng) {
            None => _ = end.apps.remove(&id),
            Some(Duration::MAX) => {}
            Some(at) => self.plan(at - self.now, Action::Wake(side, id)),
        }
    }

    fn drain(&mut self, side: usize) {
        let now = self.now;
        loop {
            let Some(end) = &mut self.ends[side] else { return };
            if let Some(event) = end.session.poll_event() {
                self.tell(side, event);
            } else if let Some((lane, frame)) = end.session.next_frame(now) {
                let wire = self.wires.get_mut(&lane).expect("a lane that is there");
                let pipe = &mut wire.pipes[side];
                let is_choked = self.choked_until[side] > now;
                let takes_blocks = |pipe: &Pipe| pipe.takes_blocks(now) && !is_choked;
                assert!(wire.is_open[side] && (takes_blocks(pipe) || matches!(frame, Frame::Ping(_))));
                pipe.write(&frame);
                end.session.set_lane(lane, takes_blocks(pipe), pipe.path(now), now);
            } else {
                break;
            }
        }
        let mut times = Vec::new();
        for (lane, wire) in &mut self.wires {
            wire.pipes[side].flush(now, &mut self.rng, |departs, arrives| {
                times
                    .extend([(departs, Action::Depart(side, *lane)), (arrives, Action::Arrive(side, *lane))]);
            });
        }
        times.into_iter().for_each(|(at, action)| self.plan(at - now, action));
    }

    fn tell(&mut self, side: usize, event: Event) {
        let Some(end) = &mut self.ends[side] else { return };
        match event {
            Event::Opened(id) => {
                assert_eq!(side, FAR);
                let app = (self.any_app)(id, side, self.now, &mut self.rng);
                assert!(end.apps.insert(id, app).is_none(), "opened twice");
                self.awake.insert((side, id));
            }
            Event::Readable(id) | Event::Writable(id) => _ = self.awake.insert((side, id)),
            Event::Silent(lane) => self.lose(side, lane),
            Event::Leaving => {}
            Event::Over => {
                let resume = end.limits.resume;
                let was_lost = self.lost[side].is_some_and(|since| since + resume <= self.now);
                assert!(was_lost || !is_there(&self.ends[1 - side]), "over, for no reason");
                let Some(end) = &mut self.ends[side] else { return };
                self.awake.extend(end.apps.keys().map(|id| (side, *id)));
                let lanes: Vec<_> = self.wires.keys().copied().collect();
                lanes.into_iter().for_each(|lane| self.lose(side, lane));
            }
        }
    }

    /// Those who are neither done nor wait for someone who does not read.
    pub(super) fn waiting(&self) -> Vec<(usize, StreamId)> {
        let never = |side: usize, id: &StreamId| {
            self.ends[side].as_ref().and_then(|end| end.apps.get(id)).is_some_and(|app| app.never_reads)
        };
        let sides = [NEAR, FAR].into_iter();
        let all = sides.flat_map(|side| {
            self.ends[side].iter().flat_map(move |end| end.apps.keys().map(move |id| (side, *id)))
        });
        all.filter(|(_, id)| !never(NEAR, id) && !never(FAR, id)).collect()
    }

    /// Whoever still holds a stream lets it go.
    pub(super) fn leave_all(&mut self) {
        for end in self.ends.iter_mut().flatten() {
            for app in std::mem::take(&mut end.apps).into_values() {
                app.leave(&mut end.session, &mut self.ledger, self.now);
            }
        }
        self.settle();
    }

    /// How often `tick` was called, at both ends.
    pub(super) fn ticks(&self) -> u64 {
        self.ends.iter().flatten().map(|end| end.ticks).sum()
    }
}

fn is_there(end: &Option<End>) -> bool {
    end.as_ref().is_some_and(|end| !end.session.is_over())
}
