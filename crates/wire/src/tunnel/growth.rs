//! How many lanes a session has: more for as long as that carries more.

use std::time::Duration;

/// One more lane is judged after so long, and eight round trips.
const TRIAL: Duration = Duration::from_millis(500);

/// A lane more has to carry so much more of a fair share to stay.
const WORTH: f64 = 0.25;

/// After lanes that were of no use, so long is not tried again; three times as long each time, up to the second. The first time is short: what
/// lets more through in its first moments makes one lane look better than it is.
const CONTENT: Duration = Duration::from_secs(5);
const CONTENT_MAX: Duration = Duration::from_secs(640);

/// A session that has had little to send for so long needs one lane.
const IDLE: Duration = Duration::from_secs(30);

/// The number of lanes that a session is to have.
#[derive(Clone, Debug)]
pub struct Growth {
    most: usize,
    wanted: usize,
    /// When the number was last changed, and how much was delivered by then.
    since: (Duration, u64),
    /// Bytes a second before the last lane was added.
    before: Option<f64>,
    /// Lanes that were added together.
    step: usize,
    content: Duration,
    content_until: Duration,
    busy: Duration,
}

impl Growth {
    /// Begins with one lane.
    pub fn new(most: usize, now: Duration) -> Self {
        Self {
            most,
            wanted: 1,
            since: (now, 0),
            before: None,
            step: 0,
            content: CONTENT,
            content_until: now,
            busy: now,
        }
    }

    /// How many lanes there should be, of which `open` are. `delivered` is how much was carried in all, and `is_hungry` says that more
    /// waits than the lanes take.
    pub fn look(
        &mut self,
        now: Duration,
        open: usize,
        rtt: Duration,
        delivered: u64,
        is_hungry: bool,
    ) -> usize {
        if is_hungry {
            self.busy = now;
        }
        if now - self.busy >= IDLE && self.wanted > 1 {
            self.change(1, now, delivered);
            (self.before, self.content) = (None, CONTENT);
        }
        let (since, had) = self.since;
        let time = now - since;
        if time < TRIAL + 8 * rtt || open < self.wanted {
            // A lane that is only just there has carried nothing yet.
            if open < self.wanted {
                self.since = (now, delivered);
            }
            return self.wanted;
        }
        let rate = (delivered - had) as f64 / time.as_secs_f64();
        self.since = (now, delivered);
        if !is_hungry {
            return self.wanted;
        }
        if let Some(before) = self.before.take() {
            let share = self.step as f64 / (self.wanted - self.step) as f64;
            if rate < before * (1.0 + WORTH * share) {
                self.content_until = now + self.content;
                self.content = (3 * self.content).min(CONTENT_MAX);
                let less = self.wanted - self.step;
                self.change(less, now, delivered);
                return self.wanted;
            }
            self.content = CONTENT;
        }
        if now >= self.content_until && self.wanted < self.most {
            self.before = Some(rate);
            // Twice as many each time: a way that needs many gets them soon.
            self.step = self.wanted.min(self.most - self.wanted);
            self.change(self.wanted + self.step, now, delivered);
        }
        self.wanted
    }

    fn change(&mut self, wanted: usize, now: Duration, delivered: u64) {
        self.wanted = wanted;
        self.since = (now, delivered);
    }
}
