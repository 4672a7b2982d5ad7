//! The same backend for the same key, while it is up.
//!
//! The table of Maglev (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section
//! 3.4): each backend has a permutation of the places of a table, and they take places in turn. A backend that leaves
//! frees its places and moves few others. Loads are bounded (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with
//! Bounded Loads", SODA 2018): a backend with more than its bound is passed over, to the next in the table.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::{View, open};

/// Places of the table: primes, at least a hundred for the least of the backends so that shares differ by about a percent.
const SIZES: [usize; 4] = [4_099, 16_411, 65_537, 655_373];

/// A backend may have so much more than its share.
const BOUND: f64 = 1.25;

/// Few connections say nothing about shares: with less than so many a backend is never passed over.
const SLACK: f64 = 16.0;

/// Marks a place that nobody has taken.
const FREE: u16 = u16::MAX;

/// Which backend has which place.
#[derive(Clone, Debug)]
pub(crate) struct Maglev {
    table: Box<[u16]>,
}

impl Maglev {
    /// For backends of these names and weights; of more than 65,535 the first ones are used.
    pub(super) fn new(backends: &[(&str, u32)]) -> Self {
        let backends = &backends[..backends.len().min(usize::from(FREE))];
        let weights = || backends.iter().map(|(_, weight)| *weight);
        let (lightest, heaviest) = (weights().min().unwrap_or(1), weights().max().unwrap_or(1));
        let wanted = weights().map(u64::from).sum::<u64>() * 100 / u64::from(lightest.max(1));
        let size = SIZES.into_iter().find(|size| *size as u64 >= wanted).unwrap_or(SIZES[3]);
        let mut walks: Vec<Walk> =
            backends.iter().map(|(name, weight)| Walk::new(name, *weight, size)).collect();
        let mut table = vec![FREE; size].into_boxed_slice();
        let mut left = if walks.is_empty() { 0 } else { size };
        while left > 0 {
            for (backend, walk) in (0..).zip(&mut walks) {
                // The heaviest has a turn in each round, others in a part of them.
                walk.due += walk.weight;
                if walk.due < heaviest || left == 0 {
                    continue;
                }
                walk.due -= heaviest;
                let place = walk.next_free(&table);
                table[place] = backend;
                left -= 1;
            }
        }
        Self { table }
    }

    pub(super) fn pick(&self, view: &impl View, key: u64) -> Option<usize> {
        let (load, weight) = open(view).fold((0.0, 0.0), |(load, weight), place| {
            (load + f64::from(view.load(place)), weight + view.weight(place))
        });
        let bound = |place: usize| ((load + 1.0) / weight * view.weight(place) * BOUND).max(SLACK);
        let fits = |place: &usize| view.is_open(*place) && f64::from(view.load(*place)) < bound(*place);
        let start = usize::try_from(key % self.table.len() as u64).unwrap_or(0);
        let walk = || self.table[start..].iter().chain(&self.table[..start]).map(|place| usize::from(*place));
        let places = || walk().filter(|place| *place < view.count());
        places().find(fits).or_else(|| places().find(|place| view.is_open(*place)))
    }
}

/// A backend's way through the table: its own permutation of the places.
struct Walk {
    at: usize,
    step: usize,
    weight: u32,
    due: u32,
}

impl Walk {
    fn new(name: &str, weight: u32, size: usize) -> Self {
        let hash = |salt: u8, below: usize| {
            // The same in every build and on every machine: instances beside each other agree.
            let mut hasher = SipHasher13::new();
            hasher.write_u8(salt);
            hasher.write(name.as_bytes());
            usize::try_from(hasher.finish() % below as u64).unwrap_or(0)
        };
        // Any step visits all places, as the size is a prime.
        Self { at: hash(0, size), step: hash(1, size - 1) + 1, weight, due: 0 }
    }

    fn next_free(&mut self, table: &[u16]) -> usize {
        loop {
            let place = self.at;
            self.at = (self.at + self.step) % table.len();
            if table[place] == FREE {
                return place;
            }
        }
    }
}
