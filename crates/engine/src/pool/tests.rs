//! A pool in a seeded simulation in virtual time: backends fail, flap, rest, fill up and return while clients come.

use std::net::Ipv4Addr;

use towpath_wire::addr::PortRange;

use super::*;

const STEPS: usize = 20_000;

fn member(number: u8, weight: u32, tier: u32, max_connections: Option<usize>, drain: bool) -> Member {
    let (ip, ports) = (Ipv4Addr::new(10, 0, 0, number).into(), PortRange::single(80).unwrap());
    Member { place: Place::Tcp { ip, ports }, target: "sim:80".into(), weight, tier, max_connections, drain }
}

fn pool(balance: &str, members: Vec<Member>) -> Pool {
    let text = format!(
        "[[listener]]\nname = 'l'\nbind = ':1'\npool = 'p'\n[[pool]]\nname = 'p'\nbackend = '10.0.0.1:80'\nbalance = {balance}"
    );
    let config = towpath_config::parse(&text, "test").unwrap();
    let pool = Pool::new(config.pools[0].clone());
    pool.set_members(members, None);
    pool
}

/// What the standings of the moment allow a pick to be.
fn assert_allowed(pool: &Pool, stood: &[Standing], picked: &Picked, told: &str) {
    let backends = pool.backends();
    let tier = |place: &usize| backends[*place].member.tier;
    let up = |place: &usize| matches!(stood[*place], Standing::Open | Standing::Full);
    let lowest = (0..stood.len()).filter(up).map(|place| tier(&place)).min();
    let place = match picked {
        Picked::Backend(lease) => backends.iter().position(|backend| backend.is_same(lease)),
        Picked::Full | Picked::NoneLeft => None,
    };
    let is_open = |place: &usize| stood[*place] == Standing::Open && Some(tier(place)) == lowest;
    match lowest {
        Some(_) if (0..stood.len()).any(|place| is_open(&place)) => {
            assert!(place.is_some_and(|place| is_open(&place)), "{told}: {place:?} of {stood:?}");
        }
        Some(_) => assert!(matches!(picked, Picked::Full), "{told}: {picked:?} of {stood:?}"),
        None => {
            assert!(place.is_none_or(|place| stood[place] != Standing::Draining), "{told}: one that drains");
        }
    }
}

#[test]
fn no_backend_is_picked_that_is_worse_than_another_whatever_happens() {
    let seed = fastrand::u64(..);
    println!("TOWPATH_SEED={seed}");
    for balance in ["'round_robin'", "'least_conn'", "'p2c'", "'random'", "'hash'\nhash_key = 'source'"] {
        fastrand::seed(seed);
        let pool = pool(
            balance,
            vec![
                member(1, 1, 0, None, false),
                member(2, 3, 0, None, false),
                member(3, 1, 0, Some(3), false),
                member(4, 2, 1, Some(5), false),
                member(5, 1, 1, None, false),
                member(6, 1, 0, None, true),
            ],
        );
        let (mut now, mut leases, mut ejections) = (Instant::now(), Vec::<Lease>::new(), 0);
        for step in 0..STEPS {
            let told = format!("{balance}, step {step}");
            now += Duration::from_millis(fastrand::u64(..200));
            let backends = pool.backends();
            let backend = &backends[fastrand::usize(..backends.len())];
            match fastrand::u8(..8) {
                0 => drop(backend.set_up(now, fastrand::bool())),
                1 | 2 => pool.note_failure_at(now, backend, 0, Reason::ConnectRefused),
                3 => drop(backend.note_success(now)),
                4 if !leases.is_empty() => {
                    let lease = leases.swap_remove(fastrand::usize(..leases.len()));
                    pool.note_failure_at(now, &lease, lease.probe(), Reason::ServerReset);
                }
                5 | 6 if !leases.is_empty() => drop(leases.swap_remove(fastrand::usize(..leases.len()))),
                _ => {}
            }
            let out = backends.iter().filter(|backend| backend.is_out(now)).count();
            assert!(out <= backends.len() / 2, "{told}: {out} are out");
            ejections += out;
            let stood: Vec<_> = backends.iter().map(|backend| backend.standing(now)).collect();
            let picked = Choice::new(&pool, &pool.members.load()).pick(now, fastrand::u64(..), |_| false);
            assert_allowed(&pool, &stood, &picked, &told);
            if let Picked::Backend(lease) = picked {
                let limit = lease.member.max_connections.unwrap_or(usize::MAX);
                assert!(lease.active() <= limit, "{told}: more connections than it may have");
                leases.push(lease);
            }
        }
        assert!(ejections > 0, "{balance}: no backend was ever out");
        drop(leases);
        assert!(pool.backends().iter().all(|backend| backend.active() == 0), "{balance}: places are lost");
    }
}

#[test]
fn weights_are_kept_in_the_long_run() {
    let seed = fastrand::u64(..);
    println!("TOWPATH_SEED={seed}");
    fastrand::seed(seed);
    for balance in ["'round_robin'", "'p2c'", "'random'"] {
        let members =
            vec![member(1, 5, 0, None, false), member(2, 3, 0, None, false), member(3, 2, 0, None, false)];
        let pool = pool(balance, members);
        let (now, mut counts) = (Instant::now(), [0_usize; 3]);
        for _ in 0..STEPS {
            let picked = Choice::new(&pool, &pool.members.load()).pick(now, 0, |_| false);
            let Picked::Backend(lease) = picked else { panic!("{balance}: none was picked") };
            let place = pool.backends().iter().position(|backend| backend.is_same(&lease));
            counts[place.unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip([5, 3, 2]) {
            let share = *count as f64 / STEPS as f64 * 10.0;
            assert!((share - f64::from(weight)).abs() < 0.6, "{balance}: {counts:?}, seed {seed}");
        }
    }
}
