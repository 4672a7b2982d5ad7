//! What holds a stream at one end: a writer that keeps to a script, and a reader that checks each byte.

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use crate::tunnel::frame::{Coding, Last, Why};
use crate::tunnel::session::{Read, Session};
use crate::tunnel::{BLOCK_BYTES_MAX, StreamId};

/// Longest single write, in bytes.
const WRITE_BYTES_MAX: usize = 300 * 1024;

/// The bytes of streams repeat after so many.
const PERIOD: usize = 1_000_003;

/// Someone who does not read for so long may find that what was left behind is cut.
const SLOW: Duration = Duration::from_secs(20);

/// What one end has written to a stream, which the other one's reader is held against.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) last: Option<Last>,
    pub(super) is_released: bool,
}

/// What was written to all streams, by stream and side.
pub(super) type Ledger = BTreeMap<(StreamId, usize), Written>;

#[derive(Debug)]
enum Step {
    Write { left: usize, is_coded: bool },
    Pause(Duration),
    Finish(Last),
}

/// One end's part in a stream.
#[derive(Debug)]
pub(super) struct App {
    id: StreamId,
    side: usize,
    steps: VecDeque<Step>,
    writes_at: Duration,
    reads_at: Duration,
    /// How often it pauses between blocks, of 100.
    pauses: u32,
    /// Whether its reader stalls for ever.
    pub(super) never_reads: bool,
    is_slow: bool,
    got: u64,
    over: Option<Last>,
    leaves_at: Option<Duration>,
    has_reset: bool,
}

impl App {
    /// One that does anything that an application may.
    pub(super) fn any(id: StreamId, side: usize, now: Duration, rng: &mut Rng) -> Self {
        let mut app = Self::plain(id, side);
        for _ in 0..rng.usize(..5) {
            if rng.u32(..3) == 0 {
                app.steps.push_back(Step::Pause(Duration::from_millis(rng.u64(..3000))));
            }
            let left = match rng.u32(..100) {
                0..50 => rng.usize(1..100),
                50..85 => rng.usize(1..BLOCK_BYTES_MAX + 100),
                _ => rng.usize(1..=WRITE_BYTES_MAX),
            };
            app.steps.push_back(Step::Write { left, is_coded: rng.u32(..4) == 0 });
        }
        let last = match rng.u32(..100) {
            0..15 => Last::Reset([Why::Reset, Why::Denied, Why::NoName][rng.usize(..3)]),
            _ => Last::End,
        };
        app.steps.push_back(Step::Finish(last));
        app.pauses = [0, 0, 10, 60][rng.usize(..4)];
        match rng.u32(..100) {
            0..4 => app.never_reads = true,
            4..20 => app.reads_at = now + Duration::from_millis(rng.u64(..30_000)),
            _ => {}
        }
        app.is_slow = app.never_reads || app.reads_at > now + SLOW;
        if rng.u32(..100) < 15 {
            app.leaves_at = Some(now + Duration::from_millis(rng.u64(..10_000)));
        }
        app
    }

    /// One that writes so much at once, and reads all that comes.
    pub(super) fn bulk(id: StreamId, side: usize, bytes: usize) -> Self {
        let mut app = Self::plain(id, side);
        let (whole, rest) = (bytes / WRITE_BYTES_MAX, bytes % WRITE_BYTES_MAX);
        let parts = std::iter::repeat_n(WRITE_BYTES_MAX, whole).chain([rest]).filter(|part| *part > 0);
        app.steps.extend(parts.map(|left| Step::Write { left, is_coded: false }));
        app.steps.push_back(Step::Finish(Last::End));
        app
    }

    fn plain(id: StreamId, side: usize) -> Self {
        Self {
            id,
            side,
            steps: VecDeque::new(),
            writes_at: Duration::ZERO,
            reads_at: Duration::ZERO,
            pauses: 0,
            never_reads: false,
            is_slow: false,
            got: 0,
            over: None,
            leaves_at: None,
            has_reset: false,
        }
    }

    /// Does what it can do now. Tells when it is to be asked again at the latest, and `None` when it has released its stream.
    pub(super) fn act(
        &mut self,
        session: &mut Session,
        ledger: &mut Ledger,
        now: Duration,
        rng: &mut Rng,
    ) -> Option<Duration> {
        self.write(session, ledger, now, rng);
        self.read(session, ledger, now, rng);
        let is_done = self.steps.is_empty() && (self.over.is_some() || self.has_reset);
        if is_done && self.has_reset && self.leaves_at.is_none() {
            self.leaves_at = Some(now + Duration::from_millis(rng.u64(..2000)));
        }
        if (is_done && !self.has_reset) || self.leaves_at.is_some_and(|at| at <= now) {
            self.leave(session, ledger, now);
            return None;
        }
        let times = [self.writes_at, self.reads_at, self.leaves_at.unwrap_or(Duration::MAX)];
        Some(times.into_iter().filter(|at| *at > now).min().unwrap_or(Duration::MAX))
    }

    /// Lets its stream go, whatever it was about.
    pub(super) fn leave(&self, session: &mut Session, ledger: &mut Ledger, now: Duration) {
        ledger.entry((self.id, self.side)).or_default().is_released = true;
        session.release(self.id, now);
    }

    fn write(&mut self, session: &mut Session, ledger: &mut Ledger, now: Duration, rng: &mut Rng) {
        let written = ledger.entry((self.id, self.side)).or_default();
        while self.writes_at <= now {
            match self.steps.front_mut() {
                None => return,
                Some(Step::Pause(length)) => self.writes_at = now + *length,
                Some(Step::Finish(last)) => {
                    session.finish(self.id, *last);
                    self.has_reset = matches!(last, Last::Reset(_));
                    written.last = Some(*last);
                }
                Some(Step::Write { left, is_coded }) => {
                    let Some(room) = session.room(self.id) else {
                        self.steps.clear();
                        return;
                    };
                    if room == 0 {
                        return;
                    }
                    let most = if *is_coded { BLOCK_BYTES_MAX } else { rng.usize(1..=WRITE_BYTES_MAX) };
                    let count = room.min(*left).min(most);
                    let data = bytes(self.id, self.side, written.bytes, count);
                    if *is_coded {
                        let payload = Bytes::copy_from_slice(&data[..count.div_ceil(3)]);
                        session.write_coded(self.id, payload, count, Coding::Lz4);
                    } else {
                        assert_eq!(session.write(self.id, data), count);
                    }
                    written.bytes += count as u64;
                    *left -= count;
                    if *left > 0 {
                        continue;
                    }
                }
            }
            self.steps.pop_front();
        }
    }

    fn read(&mut self, session: &mut Session, ledger: &Ledger, now: Duration, rng: &mut Rng) {
        while self.over.is_none() && !self.never_reads && self.reads_at <= now {
            match session.read(self.id, now) {
                Read::Nothing => return,
                Read::Over(last) => {
                    self.check_over(last, session, ledger);
                    self.over = Some(last);
                }
                Read::Block(block) => {
                    assert_eq!(block.offset, self.got, "in order and once: {block:?}");
                    let expected = bytes(self.id, 1 - self.side, self.got, block.length);
                    let coded = match block.coding {
                        Coding::Plain => block.length,
                        _ => block.length.div_ceil(3),
                    };
                    assert!(block.payload == expected[..coded], "stream {} at {}", self.id, self.got);
                    self.got += block.length as u64;
                    let wrote = ledger.get(&(self.id, 1 - self.side)).map_or(0, |written| written.bytes);
                    assert!(self.got <= wrote, "more than was written");
                    if rng.u32(..100) < self.pauses {
                        self.reads_at = now + Duration::from_millis(rng.u64(1..200));
                    }
                }
            }
        }
    }

    /// A clean end comes behind all that was written, and a reset only where there is a reason for one.
    fn check_over(&self, last: Last, session: &Session, ledger: &Ledger) {
        let none = Written::default();
        let theirs = ledger.get(&(self.id, 1 - self.side)).unwrap_or(&none);
        let is_whole = self.got == theirs.bytes;
        let context = format!("{last:?} of {self:?} after {theirs:?}");
        match (last, theirs.last) {
            (Last::End, told) => assert!(told == Some(Last::End) && is_whole, "{context}"),
            _ if session.is_over() || self.is_slow || self.has_reset => {}
            (Last::Reset(why), Some(Last::Reset(told))) => assert!(why == told && is_whole, "{context}"),
            (Last::Reset(_), None) => assert!(theirs.is_released && is_whole, "{context}"),
            _ => panic!("{context}"),
        }
    }
}

/// What is written to a stream from `offset` on.
fn bytes(id: StreamId, side: usize, offset: u64, count: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let all = BYTES.get_or_init(|| {
        let mut all = vec![0; PERIOD];
        Rng::with_seed(7).fill(&mut all);
        all.extend_from_within(..WRITE_BYTES_MAX);
        all
    });
    let start = (offset as usize + 7919 * (2 * id as usize + side)) % PERIOD;
    &all[start..start + count]
}
