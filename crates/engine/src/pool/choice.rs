//! Which backend of a pool a connection gets.

use std::sync::Arc;
use std::time::Instant;

use super::{Backend, Lease, Members, Pool, Standing};
use crate::balance::View;

/// The backends of a pool at one moment, to choose from.
pub(crate) struct Choice<'a> {
    pool: &'a Pool,
    members: &'a Members,
}

/// What a choice comes to.
#[derive(Debug)]
pub(crate) enum Picked {
    /// This one.
    Backend(Lease),
    /// Those that are left have all the connections that they may have.
    Full,
    /// None is left.
    NoneLeft,
}

/// The same before a place is taken.
enum Next {
    Place(usize),
    Full,
    NoneLeft,
}

/// What the algorithm may choose from: one tier, without those that were tried.
struct Open<'a, F> {
    backends: &'a [Arc<Backend>],
    pool: &'a Pool,
    now: Instant,
    is_open: F,
}

impl<'a> Choice<'a> {
    pub(super) fn new(pool: &'a Pool, members: &'a Members) -> Self {
        Self { pool, members }
    }

    /// A backend for a connection whose hash is `key`, none of those that were tried.
    pub(crate) fn pick(&self, now: Instant, key: u64, was_tried: impl Fn(&Backend) -> bool) -> Picked {
        // A backend that is picked can be taken by another worker in between: it is left out then.
        let mut lost = Vec::new();
        loop {
            let is_left = |place: usize| !lost.contains(&place) && !was_tried(&self.members.backends[place]);
            let place = match self.next(now, key, is_left) {
                Next::Place(place) => place,
                Next::Full => return Picked::Full,
                Next::NoneLeft => return Picked::NoneLeft,
            };
            if let Some(lease) = self.members.backends[place].take(now) {
                return Picked::Backend(lease);
            }
            lost.push(place);
        }
    }

    /// The next in the order of the balance: of the lowest tier in which one is open; if there is none, any (panic mode:
    /// better a backend that may be down than none).
    fn next(&self, now: Instant, key: u64, is_left: impl Fn(usize) -> bool) -> Next {
        let backends = &self.members.backends;
        let stands = |place: usize| backends[place].standing(now);
        let opens = |place: usize| is_left(place) && stands(place) == Standing::Open;
        let tier_of = |place: usize| backends[place].member.tier;
        let mut places = 0..backends.len();
        let tier = places.clone().filter(|place| opens(*place)).map(tier_of).min();
        let drawn = match tier {
            Some(tier) => self.draw(now, key, |place| tier_of(place) == tier && opens(place)),
            None if places.any(|place| is_left(place) && stands(place) == Standing::Full) => {
                return Next::Full;
            }
            None => self.draw(now, key, |place| is_left(place) && backends[place].is_last_resort()),
        };
        drawn.map_or(Next::NoneLeft, Next::Place)
    }

    fn draw(&self, now: Instant, key: u64, is_open: impl Fn(usize) -> bool) -> Option<usize> {
        let view = Open { backends: &self.members.backends, pool: self.pool, now, is_open };
        self.members.algorithm.pick(&view, key, &mut fastrand::Rng::new())
    }
}

/// A backend in the order in which one connection would try them.
#[derive(Clone, Debug)]
pub struct Reckoned {
    /// Which one.
    pub backend: Arc<Backend>,
    /// How it stands: one that is not open is tried only when no other is left.
    pub standing: Standing,
    /// Whether it is used only while none of a lower tier is up.
    pub is_backup: bool,
}

impl Pool {
    /// The order in which a connection whose hash is `key` would try the backends now.
    pub fn reckon(&self, key: u64) -> Vec<Reckoned> {
        let now = Instant::now();
        let members = self.members.load();
        let lowest = members.backends.iter().map(|backend| backend.member.tier).min();
        let mut order: Vec<usize> = Vec::new();
        while let Next::Place(place) =
            Choice::new(self, &members).next(now, key, |place| !order.contains(&place))
        {
            order.push(place);
        }
        let rest: Vec<usize> = (0..members.backends.len()).filter(|place| !order.contains(place)).collect();
        let reckoned = order.into_iter().chain(rest).map(|place| {
            let backend = members.backends[place].clone();
            let is_backup = Some(backend.member.tier) != lowest;
            Reckoned { standing: backend.standing(now), is_backup, backend }
        });
        reckoned.collect()
    }
}

impl<F: Fn(usize) -> bool> View for Open<'_, F> {
    fn count(&self) -> usize {
        self.backends.len()
    }

    fn is_open(&self, place: usize) -> bool {
        (self.is_open)(place)
    }

    fn weight(&self, place: usize) -> f64 {
        self.backends[place].weight(self.now, self.pool.config.slow_start)
    }

    fn load(&self, place: usize) -> u32 {
        self.backends[place].load(self.now)
    }

    fn latency_nanos(&self, place: usize) -> u64 {
        self.backends[place].latency_nanos(self.now)
    }
}
