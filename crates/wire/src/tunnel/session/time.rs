//! What is due when nothing happens: lanes are asked whether they live, and what is stuck goes another way.

use std::time::Duration;

use super::super::frame::Frame;
use super::{Event, LOOKS, SILENCE, Session};

/// The same while nothing is, so that nobody on its way forgets it.
const REST: Duration = Duration::from_secs(20);

/// It has so long to answer, and four round trips.
const ANSWER: Duration = Duration::from_secs(3);

/// A stream that nobody holds any more has so long for each step to its end.
const LINGER: Duration = Duration::from_secs(60);

/// A stream of which the other end has had all for so long, and four round trips, needs no large window.
const IDLE: Duration = Duration::from_secs(1);

impl Session {
    /// When [`Self::tick`] is to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        if self.is_over {
            return None;
        }
        let pings = self.lanes.iter().map(|lane| match lane.pinged {
            Some((at, patience)) => at + patience,
            None => lane.heard + REST,
        });
        // Not before it would be looked for.
        let pings = pings.map(|at| at.max(self.looked + LOOKS));
        let is_busy = self.busy_until > self.looked && !self.lanes.is_empty();
        let look = is_busy.then(|| self.looked + LOOKS);
        let tell = self.tell_at.filter(|_| !self.lanes.is_empty());
        pings.chain(self.lost_at).chain(look).chain(tell).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Duration) {
        if self.lost_at.is_some_and(|at| at <= now) {
            self.end();
            return;
        }
        if now < self.looked + LOOKS {
            return;
        }
        self.looked = now;
        self.look_at_streams(now);
        self.look_at_lanes(now);
    }

    fn look_at_lanes(&mut self, now: Duration) {
        let quiet = if now < self.busy_until { SILENCE } else { REST };
        for lane in &mut self.lanes {
            match lane.pinged {
                Some((at, patience)) if at + patience <= now => {
                    // Said once.
                    lane.pinged = Some((now, patience));
                    self.events.push_back(Event::Silent(lane.id));
                }
                None if lane.heard + quiet <= now => {
                    // It stands in line behind what was sent before.
                    lane.pinged = Some((now, ANSWER + 4 * lane.path.rtt + 4 * lane.path.delay()));
                    self.notes.push_back((Some(lane.id), Frame::Ping(u64::from(lane.id))));
                }
                _ => {}
            }
        }
    }

    fn look_at_streams(&mut self, now: Duration) {
        if self.lanes.is_empty() {
            return;
        }
        let is_probing = self.probed + REST <= now;
        if is_probing {
            self.probed = now;
        }
        let has_free_lane = self.lanes.len() > 1 && self.lanes.iter().any(|lane| lane.full_since.is_none());
        let quickest = self.lanes.iter().map(|lane| lane.path.rtt).min().unwrap_or_default();
        let late = now.saturating_sub(2 * quickest + LOOKS);
        let idle = IDLE + 4 * self.slowest();
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let is_overdue = stream.progress.max(self.laned) + LINGER <= now;
            if is_overdue && self.progress + LINGER <= now && stream.outflow.waits() {
                // Lanes come and go, and yet nothing is acknowledged of any stream: there is nobody who would.
                self.end();
                return;
            }
            if stream.outflow.waits() || stream.is_released {
                self.busy_until = self.busy_until.max(now + 2 * LOOKS);
            }
            if stream.outflow.is_empty() && stream.progress + idle <= now {
                self.grown -= stream.outflow.lower(self.limits.window);
            }
            stream.outflow.retry(now);
            if has_free_lane {
                stream.outflow.hurry(late);
            }
            if is_overdue && stream.is_released {
                stream.progress = now;
                stream.outflow.truncate();
            }
            if is_probing && stream.outflow.lacks_room() {
                // Whoever gave no more room may have said that it is gone, when a lane broke.
                stream.inflow.tell_again();
            }
            self.touch(id);
            self.note_news(id, now);
        }
    }
}
