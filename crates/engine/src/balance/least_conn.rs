//! The backend with the least load for its weight.

use super::{View, open};

/// Those that are equal are drawn among (reservoir sampling, Vitter 1985, with one place). The connection that is to come
/// counts already, so that weights matter among idle backends too.
pub(super) fn pick(view: &impl View, rng: &mut fastrand::Rng) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    let mut equals = 0;
    for place in open(view) {
        let cost = (f64::from(view.load(place)) + 1.0) / view.weight(place);
        match best {
            Some((least, _)) if cost > least => continue,
            Some((least, _)) if cost == least => {
                equals += 1;
                if rng.usize(..=equals) > 0 {
                    continue;
                }
            }
            _ => equals = 0,
        }
        best = Some((cost, place));
    }
    best.map(|(_, place)| place)
}
