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
    /// One that seems not to work, as none does.
    LastResort(usize),
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
            let (place, is_last_resort) = match self.next(now, key, is_left) {
                Next::Place(place) => (place, false),
                Next::LastResort(place) => (place, true),
                Next::NoneLeft if !lost.iter().any(|place| self.members.backends[*place].is_full()) => {
                    return Picked::NoneLeft;
                }
                Next::Full | Next::NoneLeft => return Picked::Full,
            };
            if let Some(lease) = self.members.backends[place].take(now, is_last_resort) {
                return Picked::Backend(lease);
            }
            lost.push(place);
        }
    }

    /// The next in the order of the balance: of the lowest tier in which one is up, be it full; if there is none, any
    /// (panic mode: better a backend that may be down than none).
    fn next(&self, now: Instant, key: u64, is_left: impl Fn(usize) -> bool) -> Next {
        let backends = &self.members.backends;
        let stands = |place: usize| backends[place].standing(now);
        let is_up = |place: usize| is_left(place) && matches!(stands(place), Standing::Open | Standing::Full);
        let tier_of = |place: usize| backends[place].member.tier;
        let up_tiers = || (0..backends.len()).filter(|place| is_up(*place)).map(tier_of);
        // Most often the first that is looked at is of the lowest tier that there is.
        let first = up_tiers().find(|tier| *tier == self.members.lowest_tier);
        let Some(tier) = first.or_else(|| up_tiers().min()) else {
            let last = self.draw(now, key, |place| is_left(place) && backends[place].is_last_resort());
            return last.map_or(Next::NoneLeft, Next::LastResort);
        };
        let opens =
            |place: usize| tier_of(place) == tier && is_left(place) && stands(place) == Standing::Open;
        self.draw(now, key, opens).map_or(Next::Full, Next::Place)
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
    /// The order in which a connection whose hash is `key` would try the backends now; nothing changes by asking.
    pub fn reckon(&self, key: u64) -> Vec<Reckoned> {
        let now = Instant::now();
        let members = self.members.load().as_ref().clone();
        let mut order: Vec<usize> = Vec::new();
        while let Next::Place(place) | Next::LastResort(place) =
            Choice::new(self, &members).next(now, key, |place| !order.contains(&place))
        {
            order.push(place);
        }
        let rest: Vec<usize> = (0..members.backends.len()).filter(|place| !order.contains(place)).collect();
        let reckoned = order.into_iter().chain(rest).map(|place| {
            let backend = members.backends[place].clone();
            let is_backup = backend.member.tier != members.lowest_tier;
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use towpath_config::Eject;
    use towpath_wire::addr::PortRange;

    use super::*;
    use crate::error::Reason;
    use crate::place::Place;
    use crate::pool::Member;

    fn member(number: u8, tier: u32, max_connections: Option<usize>) -> Member {
        let (ip, ports) = (Ipv4Addr::new(10, 0, 0, number).into(), PortRange::single(80).unwrap());
        let target = format!("{ip}:80").into();
        Member { place: Place::Tcp { ip, ports }, target, weight: 1, tier, max_connections, drain: false }
    }

    fn pool(members: Vec<Member>) -> Pool {
        let text = "[[listener]]\nname = 'l'\nbind = ':1'\npool = 'p'\n[[pool]]\nname = 'p'\nbackend = '10.0.0.1:80'";
        let config = towpath_config::parse(text, "test").unwrap();
        let pool = Pool::new(config.pools[0].clone());
        pool.set_members(members, None);
        pool
    }

    fn number(picked: &Picked) -> Option<u8> {
        match picked {
            Picked::Backend(lease) => {
                lease.member.target.strip_prefix("10.0.0.")?.strip_suffix(":80")?.parse().ok()
            }
            Picked::Full | Picked::NoneLeft => None,
        }
    }

    #[test]
    fn backups_wait_until_no_other_is_up() {
        let pool = pool(vec![member(1, 0, Some(1)), member(2, 1, None)]);
        let first = pool.pick(0, |_| false);
        assert_eq!(number(&first), Some(1));
        assert!(matches!(pool.pick(0, |_| false), Picked::Full), "full is not down");
        drop(first);
        pool.backends()[0].set_up(Instant::now(), false);
        assert_eq!(number(&pool.pick(0, |_| false)), Some(2));
        pool.backends()[1].set_up(Instant::now(), false);
        assert!(number(&pool.pick(0, |_| false)).is_some(), "when all are down, all are tried");
        assert!(matches!(pool.pick(0, |_| true), Picked::NoneLeft));
    }

    #[test]
    fn backends_that_stay_keep_their_state_and_others_leave() {
        let pool = pool(vec![member(1, 0, None), member(2, 0, None)]);
        let leases = [pool.pick(0, |_| false), pool.pick(0, |_| false)];
        pool.backends()[0].set_up(Instant::now(), false);
        pool.set_members(vec![member(1, 0, Some(9)), member(3, 0, None)], None);
        let backends = pool.backends();
        assert_eq!(backends[0].standing(Instant::now()), Standing::Down);
        assert_eq!((backends[0].active(), backends[1].active()), (1, 0));
        drop(leases);
        assert_eq!(backends[0].active(), 0);
    }

    #[test]
    fn what_fails_is_left_out_and_comes_back_by_one_probe() {
        let seed = fastrand::u64(..);
        println!("TOWPATH_SEED={seed}");
        fastrand::seed(seed);
        let pool = pool((1..=4).map(|number| member(number, 0, None)).collect());
        let eject = pool.config.eject.clone().unwrap();
        let Eject { failures, time, .. } = eject;
        let start = Instant::now();
        for backend in pool.backends() {
            (0..failures).for_each(|_| pool.note_failure_at(start, &backend, 0, Reason::ConnectRefused));
        }
        let out =
            pool.backends().iter().filter(|backend| backend.standing(start) == Standing::Ejected).count();
        assert_eq!(out, 2, "never more than half of them");
        let members = pool.members.load();
        let pick = |at: Duration| Choice::new(&pool, &members).pick(start + at, 0, |_| false);
        let picked: Vec<_> = (0..20).filter_map(|_| number(&pick(Duration::ZERO))).collect();
        assert!(picked.iter().all(|number| *number > 2), "{picked:?}");
        // Each of the two gets one connection to prove itself.
        let probes: Vec<_> = (0..40).map(|_| pick(time * 2)).collect();
        let of = |wanted: u8| probes.iter().filter(|picked| number(picked) == Some(wanted)).count();
        assert_eq!((of(1), of(2)), (1, 1));
    }
}
