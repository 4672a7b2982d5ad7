//! What the demo counts: each answer as it comes, and once a second what to show.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use towpath_engine::Totals;

/// How many backends the demo has.
pub(super) const BACKENDS: usize = 3;

/// The latencies shown are those of so many last seconds.
const RECENT_SECONDS: usize = 5;
/// The longest latency that is told apart, in microseconds.
const LONGEST_MICROS: u64 = 60_000_000;

/// What clients have counted so far; they write, the table reads.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    answered: [u64; BACKENDS],
    failed: u64,
    first_failure: Option<String>,
    /// Latencies since the last look, in microseconds, two digits of each.
    latencies: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_max(LONGEST_MICROS, 2)?;
        Ok(Self(Mutex::new(Counts { answered: [0; BACKENDS], failed: 0, first_failure: None, latencies })))
    }

    /// The backend at a place has given a whole right answer after `latency`.
    pub(super) fn answered(&self, backend: usize, latency: Duration) {
        let mut counts = self.lock();
        match counts.answered.get_mut(backend) {
            Some(count) => *count += 1,
            None => counts.failed += 1,
        }
        counts.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_MICROS));
    }

    /// A request got anything else.
    pub(super) fn failed(&self, why: &str) {
        let mut counts = self.lock();
        counts.failed += 1;
        counts.first_failure.get_or_insert_with(|| why.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counters are whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The figures of the last second and of the whole run.
#[derive(Debug)]
pub(super) struct Figures {
    tally: Arc<Tally>,
    start: Instant,
    last: Instant,
    recent: VecDeque<Histogram<u64>>,
    whole: Histogram<u64>,
    shown: Shown,
}

/// What the table shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// Since the start.
    pub(super) elapsed: Duration,
    /// Requests answered by each backend.
    pub(super) answered: [u64; BACKENDS],
    /// The same, a second.
    pub(super) rates: [f64; BACKENDS],
    /// Requests that got anything but their whole right answer.
    pub(super) failed: u64,
    /// What the first of them got.
    pub(super) first_failure: Option<String>,
    /// Latencies of the last seconds, or of the whole run in a summary.
    pub(super) latency: Latency,
    /// What the forwarder has counted.
    pub(super) totals: Totals,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

impl Figures {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        let (start, recent) = (Instant::now(), VecDeque::new());
        let whole = Histogram::new_from(&tally.lock().latencies);
        Self { tally, start, last: start, recent, whole, shown: Shown::default() }
    }

    /// Takes what has come since the last look, and the forwarder's `totals`.
    pub(super) fn look(&mut self, totals: Totals) -> &Shown {
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64();
        self.last = now;
        let mut counts = self.tally.lock();
        for (place, &answered) in counts.answered.iter().enumerate() {
            let more = answered - self.shown.answered[place];
            // Far below 2^52.
            self.shown.rates[place] = more as f64 / seconds;
        }
        self.shown.answered = counts.answered;
        self.shown.failed = counts.failed;
        self.shown.first_failure.clone_from(&counts.first_failure);
        let empty = Histogram::new_from(&counts.latencies);
        let second = std::mem::replace(&mut counts.latencies, empty);
        drop(counts);
        // All histograms have the same bounds, so adding cannot fail.
        let _ = self.whole.add(&second);
        self.recent.push_back(second);
        if self.recent.len() > RECENT_SECONDS {
            self.recent.pop_front();
        }
        let mut recent = Histogram::new_from(&self.whole);
        for second in &self.recent {
            let _ = recent.add(second);
        }
        self.shown.latency = Latency::of(&recent);
        self.shown.elapsed = now.duration_since(self.start);
        self.shown.totals = totals;
        &self.shown
    }

    /// What was shown last, and the time that has passed since the start.
    pub(super) fn shown(&mut self) -> &Shown {
        self.shown.elapsed = self.start.elapsed();
        &self.shown
    }

    /// The figures of the whole run.
    pub(super) fn summary(&mut self, totals: Totals) -> Shown {
        let mut summary = self.look(totals).clone();
        summary.rates = summary.answered.map(|count| count as f64 / summary.elapsed.as_secs_f64());
        summary.latency = Latency::of(&self.whole);
        summary
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p99: at(0.99), max: Duration::from_micros(histogram.max()) }
    }
}
