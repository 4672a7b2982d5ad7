//! The better of two backends that are drawn by lot.
//!
//! The power of two choices (Mitzenmacher 2001) on latency and load: the cost of a backend is its peak EWMA latency times
//! its load with the connection that is to come, as if it had the mean weight. And the rule of hot and cold of Prequal
//! (Wydrowski et al., "Load is not what you should balance: Introducing Prequal", NSDI 2024): of one that is hot, by its
//! load, and one that is not, the cold one is taken whatever its latency; only among cold ones the faster wins.

use super::random::Lots;
use super::{View, open};

/// A backend with so much more than the mean load of those that are open is hot.
const HOT: f64 = 1.5;

/// No latency counts for less: a backend of which nothing is known must not swallow a burst.
const FLOOR_NANOS: u64 = 100_000;

pub(super) fn pick(view: &impl View, lots: &Lots, rng: &mut fastrand::Rng) -> Option<usize> {
    let first = lots.pick(view, rng, |_| true)?;
    let Some(second) = lots.pick(view, rng, |place| place != first) else { return Some(first) };
    let (load, weight, count) = open(view).fold((0.0, 0.0, 0.0), |(load, weight, count), place| {
        (load + f64::from(view.load(place)), weight + view.weight(place), count + 1.0)
    });
    let fair = |place: usize| load / weight * view.weight(place);
    let is_hot = |place: usize| f64::from(view.load(place)) > fair(place) * HOT + 1.0;
    // The draw goes by weight already: among idle ones it must not count again.
    let load_of = |place: usize| f64::from(view.load(place)) * weight / (count * view.weight(place)) + 1.0;
    let cost = |place: usize| view.latency_nanos(place).max(FLOOR_NANOS) as f64 * load_of(place);
    let is_second = match (is_hot(first), is_hot(second)) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => load_of(second) < load_of(first),
        (false, false) => cost(second) < cost(first),
    };
    Some(if is_second { second } else { first })
}
