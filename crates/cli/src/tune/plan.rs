//! How the time and the amount of a run are shared.

use std::time::Duration;

use super::candidates::{Candidates, Change, Via};
use super::ledger::Share;
use super::trial::FIRST_BYTES;
use crate::exit::Failure;

/// A session that finds out how many lanes it needs tries twice as many each time, up to 16: with less time it would only be told
/// how it begins.
pub(super) const GROWTH: Duration = Duration::from_secs(5);

/// A sample shorter than this says little.
const SAMPLE_MIN: Duration = Duration::from_millis(200);

/// Samples that a way takes to warm up: each carries up to twice as much as the one before, so all of them take two or so.
const WARMING: u32 = 3;

/// What each part of a run may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Of each sample.
    pub(super) sample: Share,
    /// Of a way that finds out how many lanes it needs, before it is measured.
    pub(super) growth: Share,
    /// Of what helps, once more.
    pub(super) once_more: Share,
}

/// What there is to do.
#[derive(Clone, Copy, Debug)]
struct Work {
    changes: usize,
    /// What each comparison takes, and how many there are at most.
    samples_each: u32,
    comparisons: u32,
    /// How many ways find out how many lanes they need.
    growing: u32,
    /// How many of them are those that are compared once more.
    growing_at_last: u32,
}

impl Work {
    fn new(pairs: u32, via: &Via, changes: &[Change]) -> Self {
        let growing = changes.iter().filter(|change| grows(via, change)).count() as u32;
        // The way as it is begins anew then.
        let growing_at_last = u32::from(via.finds_lanes()) + u32::from(growing > 0);
        Self {
            changes: changes.len(),
            samples_each: 2 * pairs + WARMING,
            comparisons: changes.len() as u32 + 1,
            growing: growing + u32::from(via.finds_lanes()) + growing_at_last,
            growing_at_last,
        }
    }

    /// Those of all comparisons, and of the way as it is to warm up.
    fn samples(&self) -> u32 {
        self.samples_each * self.comparisons + WARMING
    }

    fn sample(&self, whole: Duration) -> Duration {
        whole.saturating_sub(GROWTH * self.growing) / self.samples()
    }

    /// In which time samples are long enough, in seconds.
    fn least_seconds(&self) -> f64 {
        (SAMPLE_MIN * self.samples() + GROWTH * self.growing).as_secs_f64().ceil()
    }
}

/// Whether a way with this change finds out how many lanes it needs.
fn grows(via: &Via, change: &Change) -> bool {
    !change.is_direct() && via.with(change).finds_lanes()
}

impl Plan {
    /// Shares what there is. A change that takes more time than there is for it is left out, with a note.
    ///
    /// # Errors
    /// When there is not enough to tell anything, with how much would be.
    pub(super) fn new(
        pairs: u32,
        whole: Share,
        via: &Via,
        candidates: &mut Candidates,
    ) -> Result<Self, Failure> {
        let mut work = Work::new(pairs, via, &candidates.changes);
        if work.sample(whole.time) < SAMPLE_MIN && !via.finds_lanes() && work.growing > 0 {
            candidates.changes.retain(|change| !grows(via, change));
            candidates.notes.push(format!(
                "Not tried: lanes=auto. It takes time to find out how many it needs: give --seconds {} for it.",
                work.least_seconds()
            ));
            work = Work::new(pairs, via, &candidates.changes);
        }
        let time = work.sample(whole.time);
        if time < SAMPLE_MIN {
            return Err(Failure::Usage(format!(
                "{} changes take longer to tell anything: give --seconds {}, or --only some of them",
                work.changes,
                work.least_seconds()
            )));
        }
        // All that takes time carries something meanwhile.
        let part = |time: Duration| time.as_secs_f64() / whole.time.as_secs_f64();
        let share = |time: Duration| Share { time, bytes: (whole.bytes as f64 * part(time)) as u64 };
        let sample = share(time);
        if sample.bytes < FIRST_BYTES {
            return Err(Failure::Usage(format!(
                "{} changes carry more before they tell anything: give --amount {}, or --only some of them",
                work.changes,
                (FIRST_BYTES as f64 / part(time) / 1e6).ceil()
            )));
        }
        let once_more = share(time * work.samples_each + GROWTH * work.growing_at_last);
        Ok(Self { sample, growth: share(GROWTH), once_more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::candidates::{self, Group};

    fn plan(url: &str, only: &[Group], seconds: u64, amount: u64) -> (Result<Plan, String>, Candidates) {
        let via = Via::to_tunnel(&[format!("towpath://far.example:7000?{url}")]).unwrap();
        let mut candidates = candidates::all(&via, only, false, false).unwrap();
        let whole = Share { time: Duration::from_secs(seconds), bytes: amount * 1_000_000 };
        let plan = Plan::new(6, whole, &via, &mut candidates);
        let plan = plan.map_err(|failure| match failure {
            Failure::Usage(why) => why,
            _ => panic!("{failure:?}"),
        });
        (plan, candidates)
    }

    fn has_auto(candidates: &Candidates) -> bool {
        candidates.changes.iter().any(|change| change.to_string() == "lanes=auto")
    }

    #[test]
    fn all_parts_together_are_the_whole() {
        // Three changes grow as the way itself does, and so do what helps of them and the way, once more.
        let (plan, candidates) = plan("", &[Group::Mss, Group::Window], 120, 1000);
        let (plan, changes) = (plan.unwrap(), candidates.changes.len() as u32);
        assert_eq!(changes, 3);
        let samples = (2 * 6 + WARMING) * (changes + 1) + WARMING;
        let time = plan.sample.time * samples + plan.growth.time * 6;
        assert!(time <= Duration::from_secs(120) && time > Duration::from_secs(119), "{time:?}");
        let bytes = plan.sample.bytes * u64::from(samples) + plan.growth.bytes * 6;
        assert!((999_000_000..=1_000_000_000).contains(&bytes), "{bytes}");
        assert_eq!(plan.once_more.time, plan.sample.time * (2 * 6 + WARMING) + 2 * GROWTH);
    }

    #[test]
    fn a_way_that_finds_its_lanes_has_its_time_or_is_not_tried() {
        let (long, candidates) = plan("lanes=1", &[Group::Lanes], 60, 4000);
        assert!(long.is_ok() && has_auto(&candidates), "{candidates:?}");
        let (short, candidates) = plan("lanes=1", &[Group::Lanes], 20, 4000);
        assert!(short.is_ok() && !has_auto(&candidates), "{candidates:?}");
        let note = candidates.notes.last().unwrap();
        assert!(note.contains("lanes=auto") && note.contains("give --seconds 29 "), "{note}");
        let (just, candidates) = plan("lanes=1", &[Group::Lanes], 29, 4000);
        assert!(just.is_ok() && has_auto(&candidates), "{candidates:?}");
    }

    #[test]
    fn what_is_asked_for_is_enough() {
        for (url, seconds, amount, key) in
            [("lanes=1", 9, 4000, "--seconds "), ("", 9, 4000, "--seconds "), ("", 60, 18, "--amount ")]
        {
            let why = plan(url, &[Group::Lanes], seconds, amount).0.unwrap_err();
            let number: String =
                why.split_once(key).unwrap().1.chars().take_while(char::is_ascii_digit).collect();
            let number: u64 = number.parse().unwrap();
            let of = |number| match key {
                "--seconds " => plan(url, &[Group::Lanes], number, amount).0,
                _ => plan(url, &[Group::Lanes], seconds, number).0,
            };
            assert!(of(number).is_ok() && of(number - 1).is_err(), "{url}: {why}");
        }
    }
}
