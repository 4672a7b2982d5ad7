//! How many connections each client address has, and how often it comes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use towpath_config::Admission;

use super::Refusal;
use crate::tokens::{Rate, Tokens};
use crate::visitor::visitor;

/// So many clients are known at a time; beyond it one that has no connection makes room for the next.
const KNOWN: usize = 65_536;

/// Those that count for nothing any more are looked for at most so often.
const SWEEP_GAP: Duration = Duration::from_secs(1);

/// The clients of a listener. All workers share it, and lock it once for each connection.
#[derive(Debug)]
pub(super) struct Clients {
    most: usize,
    rate: Option<Rate>,
    visits: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    of: HashMap<IpAddr, Visits>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Visits {
    live: usize,
    /// New connections that it may make at once, if there is a rate: up to a second of it.
    tokens: Option<Tokens>,
}

impl Clients {
    /// Whether both have the same limits, so that one can go on with what the other knows.
    pub(super) fn has_limits_of(&self, other: &Self) -> bool {
        (self.most, self.rate) == (other.most, other.rate)
    }

    pub(super) fn new(rules: &Admission) -> Self {
        let most = rules.max_connections_per_client.unwrap_or(usize::MAX);
        let rate = rules.rate_per_client.map(|rate| Rate::new(rate, rate));
        Self { most, rate, visits: Mutex::default() }
    }

    pub(super) fn enter(this: &Arc<Self>, client: IpAddr, now: Instant) -> Result<Box<Pass>, Refusal> {
        let client = visitor(client);
        let mut visits = this.lock();
        if visits.of.len() >= KNOWN && !visits.of.contains_key(&client) {
            this.make_room(&mut visits, now);
        }
        let new = || Visits { live: 0, tokens: this.rate.map(|rate| Tokens::full(rate, now)) };
        let visit = visits.of.entry(client).or_insert_with(new);
        if visit.live >= this.most {
            return Err(Refusal::TooMany);
        }
        if let (Some(rate), Some(tokens)) = (this.rate, &mut visit.tokens) {
            tokens.take(rate, now).map_err(|_| Refusal::TooOften)?;
        }
        visit.live += 1;
        Ok(Box::new(Pass { clients: this.clone(), client }))
    }

    /// Has one client less, at a cost that does not grow with their number. Those with connections are kept, of which
    /// `max_connections` bounds the number.
    fn make_room(&self, visits: &mut Table, now: Instant) {
        if visits.swept.is_none_or(|then| now.saturating_duration_since(then) >= SWEEP_GAP) {
            visits.swept = Some(now);
            visits.of.retain(|_, visits| visits.live > 0 || !self.is_rested(visits, now));
        }
        if visits.of.len() >= KNOWN {
            let leaves = visits.of.iter().find(|(_, visits)| visits.live == 0).map(|(client, _)| *client);
            leaves.and_then(|client| visits.of.remove(&client));
        }
    }

    /// Whether it counts for nothing any more.
    fn is_rested(&self, visits: &Visits, now: Instant) -> bool {
        self.rate.zip(visits.tokens).is_none_or(|(rate, tokens)| tokens.is_full(rate, now))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut visits = self.clients.lock();
        if let Some(visit) = visits.of.get_mut(&self.client) {
            visit.live -= 1;
            if visit.live == 0 && self.clients.rate.is_none() {
                visits.of.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(most: Option<usize>, rate: Option<f64>) -> Arc<Clients> {
        let rules =
            Admission { max_connections_per_client: most, rate_per_client: rate, ..Admission::default() };
        Arc::new(Clients::new(&rules))
    }

    #[test]
    fn one_client_may_have_so_many_at_a_time() {
        let (clients, now) = (clients(Some(2), None), Instant::now());
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let enter = |client| Clients::enter(&clients, client, now);
        let passes = [enter(one).unwrap(), enter(one).unwrap(), enter(other).unwrap()];
        assert_eq!(enter(one).unwrap_err(), Refusal::TooMany);
        drop(passes);
        assert!(enter(one).is_ok());
        assert!(clients.lock().of.is_empty(), "nobody is left, nothing is kept");
    }

    #[test]
    fn one_client_may_come_so_often() {
        let (clients, now) = (clients(None, Some(3.0)), Instant::now());
        let come = |after: f64| {
            Clients::enter(&clients, "10.0.0.1".parse().unwrap(), now + Duration::from_secs_f64(after))
                .is_ok()
        };
        assert_eq!([0.0, 0.0, 0.0, 0.0, 0.1].map(come), [true, true, true, false, false]);
        assert_eq!([0.5, 0.6, 10.0, 10.0, 10.0, 10.0].map(come), [true, false, true, true, true, false]);
    }

    #[test]
    fn no_more_than_so_many_are_known_and_those_with_connections_stay() {
        let (clients, now) = (clients(Some(1), Some(0.001)), Instant::now());
        let enter = |number: u32| {
            let late = now + Duration::from_micros(u64::from(number) * 10);
            Clients::enter(&clients, IpAddr::V4(number.into()), late)
        };
        let stays = enter(0).unwrap();
        for number in 1..KNOWN as u32 + 100 {
            drop(enter(number));
        }
        assert_eq!(clients.lock().of.len(), KNOWN);
        assert_eq!(enter(0).unwrap_err(), Refusal::TooMany);
        drop(stays);
    }
}
