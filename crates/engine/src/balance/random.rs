//! A backend by lot, its chances by its weight.

use super::{View, open};

/// One of those that are open and `wanted`.
pub(super) fn pick(
    view: &impl View,
    rng: &mut fastrand::Rng,
    wanted: impl Fn(usize) -> bool,
) -> Option<usize> {
    let places = || open(view).filter(|place| wanted(*place));
    let total: f64 = places().map(|place| view.weight(place)).sum();
    let mut lot = rng.f64() * total;
    let mut last = None;
    for place in places() {
        lot -= view.weight(place);
        last = Some(place);
        if lot < 0.0 {
            break;
        }
    }
    last
}
