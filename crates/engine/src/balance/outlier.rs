//! When connections that fail put a backend out for a while, and how it comes back.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use towpath_config::Eject;

/// Failures of the last while count as load: half of them is forgotten in this time.
const FORGET: Duration = Duration::from_secs(5);

/// A probe that has said nothing for so long is given up, and another may go.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// A backend that was well for so many times its longest rest starts again with a short one.
const WELL: u32 = 10;

/// Passive health of one backend: consecutive failures put it out, each time for longer; then a single connection probes
/// it. As in Envoy's outlier detection, but with one probe instead of full load at the end.
#[derive(Debug, Default)]
pub(crate) struct Outlier {
    /// Whether there is something to know: without, the lock is not taken.
    is_troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Failures of late and when that was true.
    recent: Option<(f64, Instant)>,
    /// Until when it is out.
    out_until: Option<Instant>,
    /// How often in a row it was put out.
    rounds: u32,
    /// The number of the probe that is under way, and since when.
    probe: Option<(u32, Instant)>,
    probes: u32,
    back_since: Option<Instant>,
}

/// Whether a connection may go to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It works.
    Open,
    /// It was out long enough: a single connection may find out whether it works again.
    Probe,
    /// It is out.
    Shut,
}

impl Outlier {
    pub(crate) fn gate(&self, now: Instant) -> Gate {
        if self.is_calm() { Gate::Open } else { self.lock().gate(now) }
    }

    /// Takes the turn of the single probe: its number, above 0; `None` if another has it.
    pub(crate) fn take_probe(&self, now: Instant) -> Option<u32> {
        let mut state = self.lock();
        if state.gate(now) != Gate::Probe {
            return None;
        }
        state.probes = state.probes.wrapping_add(1).max(1);
        state.probe = Some((state.probes, now));
        Some(state.probes)
    }

    /// The probe of this number is over: if it has told nothing, another may go.
    pub(crate) fn give_back(&self, probe: u32) {
        if probe != 0 {
            let mut state = self.lock();
            state.probe = state.probe.filter(|(number, _)| *number != probe);
        }
    }

    /// It has answered. Returns whether that brings it back.
    ///
    /// A connection from before may bring it back early: what has answered just now works.
    pub(crate) fn note_success(&self, now: Instant) -> bool {
        if self.is_calm() {
            return false;
        }
        let mut state = self.lock();
        state.failures = 0;
        state.probe = None;
        let was_out = state.out_until.take().is_some();
        if was_out {
            state.back_since = Some(now);
        }
        self.is_troubled.store(state.recent(now) >= 0.5, Relaxed);
        was_out
    }

    /// A connection came to nothing, which was the probe of this number, or none with 0. If failures put it out and this was
    /// one too many, returns for how long it is out now. `jitter` from 0 to 1 makes that up to a quarter longer or
    /// shorter. Without `eject` a failure counts as load alone.
    pub(crate) fn note_failure(
        &self,
        now: Instant,
        probe: u32,
        eject: Option<&Eject>,
        jitter: f64,
    ) -> Option<Duration> {
        let mut state = self.lock();
        self.is_troubled.store(true, Relaxed);
        let recent = state.recent(now) + 1.0;
        state.recent = Some((recent, now));
        state.failures = state.failures.saturating_add(1);
        let was_probe = probe != 0 && state.probe.is_some_and(|(number, _)| number == probe);
        if was_probe {
            state.probe = None;
        }
        // Of one that rests, only the probe tells something new: others had started before.
        let eject = eject.filter(|eject| match state.out_until {
            None => state.failures >= eject.failures,
            Some(_) => was_probe,
        })?;
        let long = eject.time_max.saturating_mul(WELL);
        if state.back_since.is_some_and(|since| now.saturating_duration_since(since) > long) {
            state.rounds = 0;
        }
        let time = eject.time.saturating_mul(1 << state.rounds.min(20)).min(eject.time_max);
        let time = time.mul_f64(0.75 + jitter / 2.0);
        state.rounds += 1;
        state.out_until = Some(now + time);
        Some(time)
    }

    /// Failures of late, which count as load.
    pub(crate) fn recent_failures(&self, now: Instant) -> u32 {
        if self.is_calm() { 0 } else { self.lock().recent(now).round() as u32 }
    }

    /// Whether nothing has failed of late.
    pub(crate) fn is_calm(&self) -> bool {
        !self.is_troubled.load(Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn gate(&self, now: Instant) -> Gate {
        match self.out_until {
            None => Gate::Open,
            Some(until) if now < until => Gate::Shut,
            Some(_) if self.probe.is_some_and(|(_, since)| now < since + PROBE_TIME) => Gate::Shut,
            Some(_) => Gate::Probe,
        }
    }

    fn recent(&self, now: Instant) -> f64 {
        self.recent.map_or(0.0, |(count, then)| {
            let since = now.saturating_duration_since(then).as_secs_f64();
            count * 0.5_f64.powf(since / FORGET.as_secs_f64())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EJECT: Eject = Eject {
        failures: 3,
        time: Duration::from_secs(1),
        time_max: Duration::from_secs(8),
        max_percent: 50,
    };

    #[test]
    fn it_goes_out_after_failures_in_a_row_and_comes_back_by_one_probe() {
        let (outlier, start) = (Outlier::default(), Instant::now());
        let fails = |at, probe| outlier.note_failure(start + at, probe, Some(&EJECT), 0.5);
        assert_eq!(fails(Duration::ZERO, 0), None);
        assert!(!outlier.note_success(start));
        assert_eq!((fails(Duration::ZERO, 0), fails(Duration::ZERO, 0)), (None, None));
        assert_eq!(fails(Duration::ZERO, 0), Some(Duration::from_secs(1)));
        assert_eq!(outlier.gate(start), Gate::Shut);
        let later = start + Duration::from_millis(1001);
        assert_eq!(outlier.gate(later), Gate::Probe);
        assert_eq!(outlier.take_probe(later), Some(1));
        assert_eq!(outlier.take_probe(later), None);
        outlier.give_back(1);
        assert_eq!(outlier.take_probe(later), Some(2), "a probe that told nothing lets another go");
        outlier.give_back(1);
        assert_eq!(outlier.take_probe(later), None);
        assert_eq!(outlier.gate(later), Gate::Shut);
        assert_eq!(fails(Duration::from_millis(1001), 1), None, "not the probe that is under way");
        assert_eq!(fails(Duration::from_millis(1001), 2), Some(Duration::from_secs(2)), "twice as long");
        let later = later + Duration::from_secs(3);
        assert!(outlier.take_probe(later).is_some() && outlier.note_success(later));
        assert_eq!(outlier.gate(later), Gate::Open);
    }

    #[test]
    fn those_that_started_before_it_went_out_change_nothing() {
        let (outlier, start) = (Outlier::default(), Instant::now());
        let fails = |at, probe| outlier.note_failure(at, probe, Some(&EJECT), 0.5);
        assert_eq!([fails(start, 0), fails(start, 0)], [None; 2]);
        assert_eq!(fails(start, 0), Some(Duration::from_secs(1)));
        assert_eq!(outlier.take_probe(start), None, "it still rests");
        assert_eq!(fails(start, 0), None);
        let later = start + Duration::from_secs(2);
        assert_eq!(fails(later, 0), None, "not the probe");
        let probe = outlier.take_probe(later).unwrap();
        assert_eq!(fails(later, 0), None, "not the probe");
        assert_eq!(fails(later, probe), Some(Duration::from_secs(2)));
    }

    #[test]
    fn one_that_answers_is_calm_again() {
        let (outlier, start) = (Outlier::default(), Instant::now());
        assert!(outlier.is_calm());
        outlier.note_failure(start, 0, Some(&EJECT), 0.5);
        assert!(!outlier.note_success(start) && !outlier.is_calm(), "the failure counts as load");
        assert!(!outlier.note_success(start + FORGET * 2) && outlier.is_calm());
    }

    #[test]
    fn it_stays_in_while_too_many_are_out() {
        let (outlier, now) = (Outlier::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(outlier.note_failure(now, 0, None, 0.5), None);
        }
        assert_eq!(outlier.gate(now), Gate::Open);
        assert_eq!(outlier.recent_failures(now), 10);
        assert!(outlier.recent_failures(now + Duration::from_secs(60)) == 0);
    }
}
