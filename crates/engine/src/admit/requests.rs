//! How many requests each client address may make in a time.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use towpath_config::RequestRate;

use crate::tokens::{Rate, Tokens};
use crate::visitor::visitor;

/// Workers rarely wait for each other if clients are kept in so many parts.
const PARTS: usize = 16;
/// Most clients that are known in each part; the one that asked longest ago goes.
const KNOWN: usize = 4096;

/// The clients of a route. All workers share it, and lock a part of it once for each request.
pub(crate) struct Rates {
    rate: Rate,
    parts: [Mutex<LruCache<IpAddr, Tokens>>; PARTS],
    /// Picks the part of a client, which cannot choose it then.
    spread: RandomState,
}

impl Rates {
    pub(crate) fn new(wanted: RequestRate) -> Self {
        let rate = Rate::new(wanted.per_second, f64::from(wanted.burst));
        let parts = std::array::from_fn(|_| Mutex::new(LruCache::unbounded()));
        Self { rate, parts, spread: RandomState::new() }
    }

    /// Whether both have the same limits, so that one can go on with what the other knows.
    pub(crate) fn has_limits_of(&self, other: &Self) -> bool {
        self.rate == other.rate
    }

    /// Lets a request of `client` through, or tells when it may come again. Those at a unix socket have no address, and no limit.
    pub(crate) fn take(&self, client: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let Some(client) = client.map(visitor) else { return Ok(()) };
        let part = self.spread.hash_one(client) % PARTS as u64;
        let mut clients = self.parts[part as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let taken = clients.get_or_insert_mut(client, || Tokens::full(self.rate, now)).take(self.rate, now);
        if clients.len() > KNOWN {
            clients.pop_lru();
        }
        taken
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap().len()).sum()
    }
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rates({:?})", self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_second: f64, burst: u32) -> Rates {
        Rates::new(RequestRate { per_second, burst })
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_client_has_its_own_rate() {
        let (rates, now) = (rates(2.0, 3), Instant::now());
        let come = |client, after: u64| rates.take(client, now + Duration::from_millis(after));
        assert_eq!([0, 0, 0].map(|after| come(ip("10.0.0.1"), after)), [Ok(()); 3]);
        assert_eq!(come(ip("10.0.0.1"), 100), Err(Duration::from_millis(400)));
        assert_eq!(come(ip("::ffff:10.0.0.1"), 100), Err(Duration::from_millis(400)));
        assert_eq!(come(ip("10.0.0.2"), 100), Ok(()));
        assert_eq!(come(ip("10.0.0.1"), 500), Ok(()));
        assert!(come(ip("10.0.0.1"), 500).is_err());
        for last in 1..=3 {
            assert!(come(ip(&format!("2001:db8::{last}")), 0).is_ok());
        }
        assert!(come(ip("2001:db8::4"), 0).is_err(), "a network is one client");
        assert!((0..100).all(|_| come(None, 0).is_ok()));
    }

    #[test]
    fn no_more_than_so_many_are_known_and_those_who_ask_are() {
        let (rates, now) = (rates(0.001, 1), Instant::now());
        let busy = ip("192.0.2.1");
        assert!(rates.take(busy, now).is_ok());
        for number in 0..(2 * PARTS * KNOWN) as u32 {
            assert!(rates.take(Some(IpAddr::V4((0x0a00_0000 + number).into())), now).is_ok());
            if number % 1000 == 0 {
                assert!(rates.take(busy, now).is_err());
            }
        }
        assert_eq!(rates.len(), PARTS * KNOWN);
    }

    #[test]
    fn a_renewed_one_goes_on_if_its_limits_are_the_same() {
        assert!(rates(1.0, 2).has_limits_of(&rates(1.0, 2)));
        assert!(!rates(1.0, 2).has_limits_of(&rates(1.0, 3)));
    }
}
