//! The algorithms beside each other, in simulations with seeds and in virtual time.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use towpath_config::{Balance, Eject, HashKey};

use super::latency::PeakEwma;
use super::outlier::{Gate, Outlier};
use super::*;

const ALL: [Balance; 5] =
    [Balance::RoundRobin, Balance::LeastConn, Balance::P2c, Balance::Random, Balance::Hash(HashKey::Source)];

/// Backends as they are in a simulation.
#[derive(Default)]
struct World {
    backends: Vec<Simulated>,
    now: Cell<Option<Instant>>,
}

struct Simulated {
    weight: u32,
    up: bool,
    load: u32,
    latency: PeakEwma,
    outlier: Outlier,
    picks: u64,
}

impl World {
    fn new(weights: &[u32], now: Instant) -> Self {
        let backend = |weight: &u32| Simulated {
            weight: *weight,
            up: true,
            load: 0,
            latency: PeakEwma::default(),
            outlier: Outlier::default(),
            picks: 0,
        };
        Self { backends: weights.iter().map(backend).collect(), now: Cell::new(Some(now)) }
    }

    fn now(&self) -> Instant {
        self.now.get().unwrap()
    }

    fn algorithm(&self, balance: Balance) -> Algorithm {
        let names: Vec<String> = (0..self.backends.len()).map(|place| format!("10.0.0.{place}:80")).collect();
        let named: Vec<_> =
            names.iter().zip(&self.backends).map(|(name, it)| (name.as_str(), it.weight)).collect();
        Algorithm::new(balance, &named)
    }
}

impl View for World {
    fn count(&self) -> usize {
        self.backends.len()
    }

    fn is_open(&self, place: usize) -> bool {
        self.backends[place].up && self.backends[place].outlier.gate(self.now()) == Gate::Open
    }

    fn weight(&self, place: usize) -> f64 {
        f64::from(self.backends[place].weight)
    }

    fn load(&self, place: usize) -> u32 {
        let backend = &self.backends[place];
        backend.load + backend.outlier.recent_failures(self.now())
    }

    fn latency_nanos(&self, place: usize) -> u64 {
        self.backends[place].latency.read(self.now())
    }
}

fn seed() -> u64 {
    let given = std::env::var("TOWPATH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("TOWPATH_SEED={seed}");
    seed
}

#[test]
fn weights_of_5_1_1_give_the_published_sequence() {
    let world = World::new(&[5, 1, 1], Instant::now());
    let turns = world.algorithm(Balance::RoundRobin);
    let picks: Vec<_> =
        (0..14).map(|_| turns.pick(&world, 0, &mut fastrand::Rng::with_seed(0)).unwrap()).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn none_is_picked_that_is_not_open_whatever_happens() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let eject = Eject {
        failures: 3,
        time: Duration::from_secs(1),
        time_max: Duration::from_secs(60),
        max_percent: 50,
    };
    for balance in ALL {
        let mut world = World::new(&[1, 2, 3, 1, 1, 5], Instant::now());
        let algorithm = world.algorithm(balance);
        for step in 0..5000 {
            world.now.set(Some(world.now() + Duration::from_millis(rng.u64(..50))));
            let now = world.now();
            let chosen = rng.usize(..world.backends.len());
            let out = (0..world.count())
                .filter(|place| world.backends[*place].outlier.gate(now) != Gate::Open)
                .count();
            let may_eject = (out + 1) * 2 <= world.count();
            let backend = &mut world.backends[chosen];
            match rng.u8(..6) {
                0 => backend.up = !backend.up,
                1 => {
                    let eject = Some(&eject).filter(|_| may_eject);
                    let _ = backend.outlier.note_failure(now, 0, eject, rng.f64());
                }
                2 if backend.outlier.take_probe(now).is_some() => {
                    backend.outlier.note_success(now);
                }
                3 => backend.load = backend.load.saturating_sub(1),
                4 => backend.latency.observe(now, rng.u64(..1_000_000_000)),
                _ => {}
            }
            let picked = algorithm.pick(&world, rng.u64(..), &mut rng);
            let any = (0..world.count()).any(|place| world.is_open(place));
            assert_eq!(picked.is_some(), any, "{balance:?}, step {step}, seed {seed}");
            assert!(picked.is_none_or(|place| world.is_open(place)), "{balance:?}, step {step}, seed {seed}");
            let ejected =
                (0..world.count()).filter(|place| world.backends[*place].outlier.gate(now) != Gate::Open);
            assert!(ejected.count() <= 3, "{balance:?}, step {step}, seed {seed}: too many are out");
            if let Some(place) = picked {
                world.backends[place].load += 1;
            }
        }
    }
}

#[test]
fn weights_are_kept_in_the_long_run() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    for balance in ALL {
        let mut world = World::new(&[1, 2, 3, 4], Instant::now());
        let algorithm = world.algorithm(balance);
        // A hundred connections live at a time: each takes the place of a random other.
        let mut live = Vec::new();
        for _ in 0..40_000 {
            let place = algorithm.pick(&world, rng.u64(..), &mut rng).unwrap();
            world.backends[place].picks += 1;
            world.backends[place].load += 1;
            live.push(place);
            if live.len() > 100 {
                let ended = live.swap_remove(rng.usize(..live.len()));
                world.backends[ended].load -= 1;
            }
        }
        for backend in &world.backends {
            let share = backend.picks as f64 / 40_000.0;
            let fair = f64::from(backend.weight) / 10.0;
            assert!((share / fair - 1.0).abs() < 0.05, "{balance:?}: {share} for {fair}, seed {seed}");
        }
    }
}

#[test]
fn least_conn_takes_the_least_loaded_for_its_weight() {
    let mut world = World::new(&[1, 4, 2], Instant::now());
    let mut rng = fastrand::Rng::with_seed(seed());
    let mut picks = |loads: [u32; 3]| {
        for (backend, load) in world.backends.iter_mut().zip(loads) {
            backend.load = load;
        }
        let mut counts = [0; 3];
        for _ in 0..300 {
            counts[world.algorithm(Balance::LeastConn).pick(&world, 0, &mut rng).unwrap()] += 1;
        }
        counts
    };
    assert_eq!(picks([0, 0, 0]), [0, 300, 0], "the heaviest comes first of idle ones");
    assert_eq!(picks([0, 7, 2]), [300, 0, 0]);
    assert_eq!(picks([2, 11, 4]), [0, 0, 300]);
    let ties = picks([1, 7, 3]);
    assert!(ties.iter().all(|count| *count > 50), "equals are drawn among: {ties:?}");
}

#[test]
fn p2c_avoids_the_hot_and_takes_the_faster_of_the_cold() {
    let mut world = World::new(&[1, 1], Instant::now());
    let now = world.now();
    let mut rng = fastrand::Rng::with_seed(seed());
    world.backends[0].latency.observe(now, 1_000_000);
    world.backends[1].latency.observe(now, 50_000_000);
    let pick = |world: &World, rng: &mut _| world.algorithm(Balance::P2c).pick(world, 0, rng).unwrap();
    (world.backends[0].load, world.backends[1].load) = (5, 5);
    assert!((0..100).all(|_| pick(&world, &mut rng) == 0), "of two that are cold the faster");
    (world.backends[0].load, world.backends[1].load) = (20, 5);
    assert!((0..100).all(|_| pick(&world, &mut rng) == 1), "the faster is hot: the other, however slow");
}

#[test]
fn a_backend_that_has_its_bound_passes_its_clients_on() {
    let mut world = World::new(&[1; 4], Instant::now());
    let algorithm = world.algorithm(Balance::Hash(HashKey::Source));
    let mut rng = fastrand::Rng::with_seed(seed());
    // All clients have one key, so all want the same backend.
    for _ in 0..400 {
        let place = algorithm.pick(&world, 42, &mut rng).unwrap();
        world.backends[place].load += 1;
    }
    for backend in &world.backends {
        assert!(backend.load <= 126, "a quarter more than its share of 100 is the bound: {}", backend.load);
    }
    assert_eq!(world.backends.iter().filter(|backend| backend.load >= 100).count(), 3);
    // Few connections are no reason.
    for backend in &mut world.backends {
        backend.load = 0;
    }
    let wanted = algorithm.pick(&world, 42, &mut rng);
    for _ in 0..15 {
        world.backends[wanted.unwrap()].load += 1;
        assert_eq!(algorithm.pick(&world, 42, &mut rng), wanted);
    }
}

#[test]
fn one_that_fails_fast_attracts_nothing() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    for balance in [Balance::LeastConn, Balance::P2c] {
        let mut world = World::new(&[1, 1, 1, 1], Instant::now());
        let algorithm = world.algorithm(balance);
        let mut ends: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
        for _ in 0..4000 {
            let now = world.now() + Duration::from_millis(1);
            world.now.set(Some(now));
            while let Some(Reverse((end, place))) =
                ends.peek().copied().filter(|Reverse((end, _))| *end <= now)
            {
                ends.pop();
                world.backends[place].load -= 1;
                world.backends[place].latency.observe(end, 8_000_000);
            }
            let place = algorithm.pick(&world, 0, &mut rng).unwrap();
            world.backends[place].picks += 1;
            if place == 0 {
                world.backends[0].latency.observe_failure(now);
                world.backends[0].outlier.note_failure(now, 0, None, 0.5);
            } else {
                world.backends[place].load += 1;
                ends.push(Reverse((now + Duration::from_millis(8), place)));
            }
        }
        let share = world.backends[0].picks as f64 / 4000.0;
        assert!(share < 0.1, "{balance:?}: {share} of all went to it, seed {seed}");
    }
}

#[test]
fn a_backend_that_leaves_moves_little() {
    let names: Vec<String> = (0..10).map(|place| format!("10.0.0.{place}:80")).collect();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let keys: Vec<u64> = (0..20_000).map(|_| rng.u64(..)).collect();
    let servers = |backends: &[(&str, u32)]| -> Vec<String> {
        let world = World::new(&vec![1; backends.len()], Instant::now());
        let table = Maglev::new(backends);
        keys.iter().map(|key| backends[table.pick(&world, *key).unwrap()].0.to_owned()).collect()
    };
    let before = servers(&all);
    for leaves in &names {
        let left: Vec<_> = all.iter().copied().filter(|(name, _)| name != leaves).collect();
        let after = servers(&left);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(moved <= 2600, "{moved} of 20000 clients moved as {leaves} left, seed {seed}");
        let share = before.iter().filter(|name| *name == leaves).count();
        assert!((1800..=2200).contains(&share), "{leaves} has {share} of 20000, seed {seed}");
    }
}

/// An open loop: clients come at random times, whatever becomes of those before them. One of five backends, each of which
/// serves four at a time, is `slow_factor` times slower than the others. Returns the 99th of a hundred response times, and
/// the middle one.
fn response_times(balance: Balance, slow_factor: f64, seed: u64) -> (Duration, Duration) {
    const SERVICE: f64 = 0.010;
    let mut rng = fastrand::Rng::with_seed(seed);
    let slots = 4;
    let mut world = World::new(&[1; 5], Instant::now());
    let algorithm = world.algorithm(balance);
    let start = world.now();
    let capacity = (4.0 + 1.0 / slow_factor) * f64::from(slots) / SERVICE;
    let mut free: Vec<Vec<Instant>> = vec![vec![start; slots as usize]; 5];
    let mut ends: BinaryHeap<Reverse<(Instant, usize, Instant)>> = BinaryHeap::new();
    let mut times = Vec::new();
    for _ in 0..30_000 {
        let gap = -(1.0 - rng.f64()).ln() / (capacity * 0.7);
        let now = world.now() + Duration::from_secs_f64(gap);
        while let Some(Reverse((end, place, came))) =
            ends.peek().copied().filter(|Reverse((end, ..))| *end <= now)
        {
            ends.pop();
            world.backends[place].load -= 1;
            world.backends[place].latency.observe(end, u64::try_from((end - came).as_nanos()).unwrap());
        }
        world.now.set(Some(now));
        let place = algorithm.pick(&world, 0, &mut rng).unwrap();
        world.backends[place].load += 1;
        let factor = if place == 0 { slow_factor } else { 1.0 };
        let service = Duration::from_secs_f64(-(1.0 - rng.f64()).ln() * SERVICE * factor);
        let slot = free[place].iter_mut().min().unwrap();
        *slot = (*slot).max(now) + service;
        ends.push(Reverse((*slot, place, now)));
        times.push(*slot - now);
    }
    times.sort();
    (times[times.len() * 99 / 100], times[times.len() / 2])
}

#[test]
fn p2c_has_the_lowest_tail_beside_a_slow_replica() {
    let base = seed();
    println!("| seed | round_robin p50 / p99 | least_conn | p2c |");
    for seed in (0..20).map(|step| base.wrapping_add(step)) {
        let [robin, least, p2c] = [Balance::RoundRobin, Balance::LeastConn, Balance::P2c]
            .map(|balance| response_times(balance, 10.0, seed));
        println!(
            "| {seed} | {:.1?} / {:.1?} | {:.1?} / {:.1?} | {:.1?} / {:.1?} |",
            robin.1, robin.0, least.1, least.0, p2c.1, p2c.0
        );
        assert!(p2c.0 < robin.0 && p2c.0 < least.0, "seed {seed}: {p2c:?} beside {robin:?} and {least:?}");
    }
}
