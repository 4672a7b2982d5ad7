//! A backend by lot, its chances by its weight.

use super::{View, open};

/// So often a lot may fall on a backend that is not wanted before all are looked at.
const TRIES: usize = 8;

/// The lots of all backends, of which a draw needs no look at each.
#[derive(Clone, Debug)]
pub(crate) struct Lots {
    /// The weights summed up: each backend has the lots from that of the one before it to its own.
    ends: Box<[u64]>,
}

impl Lots {
    pub(super) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let ends = weights.scan(0, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Self { ends: ends.collect() }
    }

    /// One of those that are open and `wanted`.
    pub(super) fn pick(
        &self,
        view: &impl View,
        rng: &mut fastrand::Rng,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        // What is refused is drawn again, which leaves the chances of the others beside each other as they are.
        (0..TRIES)
            .find_map(|_| self.draw(view, rng).filter(|place| wanted(*place)))
            .or_else(|| pick_of_all(view, rng, wanted))
    }

    fn draw(&self, view: &impl View, rng: &mut fastrand::Rng) -> Option<usize> {
        let lot = rng.u64(..*self.ends.last()?);
        let place = self.ends.partition_point(|end| *end <= lot);
        let before = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        // One that starts slowly takes only a part of its lots.
        let part = rng.f64() * (self.ends[place] - before) as f64;
        (view.is_open(place) && part <= view.weight(place)).then_some(place)
    }
}

fn pick_of_all(view: &impl View, rng: &mut fastrand::Rng, wanted: impl Fn(usize) -> bool) -> Option<usize> {
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
