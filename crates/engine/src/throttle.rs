//! Limits of how much is carried in a time: buckets that fill at a rate, of a connection and of those that share one.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};
use towpath_config::{Bandwidth, Flows};

/// A bucket holds what its rate brings in this time, so that a burst after a pause is short.
const BURST: Duration = Duration::from_millis(100);

/// And at least so many bytes.
const LEAST_BURST: f64 = 1024.0;

/// At most so many bytes are granted at a time, so that those who share a bucket take turns.
const MOST: f64 = 64.0 * 1024.0;

/// Bytes that may be carried now; what is taken beyond it is owed.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(rate: u64) -> Self {
        let rate = rate as f64;
        let full = (rate * BURST.as_secs_f64()).max(LEAST_BURST);
        Self { rate, state: Mutex::new((full, Instant::now())) }
    }

    /// Adds `bytes`, which may be negative, and returns what is in it then.
    fn add(&self, bytes: f64) -> f64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let full = (self.rate * BURST.as_secs_f64()).max(LEAST_BURST);
        let filled = state.0 + (now - state.1).as_secs_f64() * self.rate;
        *state = (filled.min(full) + bytes, now);
        state.0
    }

    /// How long until something may be carried again.
    fn pause(&self) -> Duration {
        let missing = (LEAST_BURST - self.add(0.0)).max(0.0);
        Duration::from_secs_f64(missing / self.rate).max(Duration::from_millis(1))
    }
}

/// The buckets of one direction.
#[derive(Debug, Default)]
struct Lane {
    buckets: Vec<Arc<Bucket>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Lane {
    fn poll_grant(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.buckets.is_empty() {
            return Poll::Ready(usize::MAX);
        }
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let least = self.buckets.iter().map(|bucket| bucket.add(0.0)).fold(MOST, f64::min);
            if least >= 1.0 {
                return Poll::Ready(least as usize);
            }
            let longest = self.buckets.iter().map(|bucket| bucket.pause()).max().unwrap_or_default();
            self.pause = Some(Box::pin(sleep(longest)));
        }
    }

    fn pay(&self, bytes: u64) {
        for bucket in &self.buckets {
            bucket.add(-(bytes as f64));
        }
    }
}

/// The limits of one connection, each way.
#[derive(Debug)]
pub(crate) struct Throttle {
    up: Lane,
    down: Lane,
    /// What the connections of the client's address share lives as long as one of them.
    _of_client: Option<Arc<Pair>>,
}

impl Throttle {
    /// How many bytes may be read from the client now; no limit is `usize::MAX`.
    pub(crate) fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.up.poll_grant(cx)
    }

    /// The same from the server.
    pub(crate) fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.down.poll_grant(cx)
    }

    /// So many bytes were carried.
    pub(crate) fn pay(&self, up: u64, down: u64) {
        self.up.pay(up);
        self.down.pay(down);
    }
}

/// The limits of a listener, and the buckets that its connections share.
#[derive(Debug)]
pub(crate) struct Speeds {
    wanted: Bandwidth,
    in_all: Pair,
    clients: Mutex<HashMap<IpAddr, Weak<Pair>>>,
}

/// Buckets for both directions.
#[derive(Clone, Debug)]
struct Pair {
    up: Option<Arc<Bucket>>,
    down: Option<Arc<Bucket>>,
}

impl Pair {
    fn new(flows: Flows) -> Self {
        let bucket = |rate: Option<u64>| rate.map(|rate| Arc::new(Bucket::new(rate)));
        Self { up: bucket(flows.up), down: bucket(flows.down) }
    }
}

impl Speeds {
    /// `None` where nothing is limited.
    pub(crate) fn new(wanted: &Bandwidth) -> Option<Self> {
        let is_limited = *wanted != Bandwidth::default();
        is_limited.then(|| Self {
            wanted: wanted.clone(),
            in_all: Pair::new(wanted.in_all),
            clients: Mutex::default(),
        })
    }

    /// The limits of a connection of `client`.
    pub(crate) fn throttle(&self, client: Option<IpAddr>) -> Box<Throttle> {
        let of_client = client.map(|client| self.of_client(client.to_canonical()));
        let own = Pair::new(self.wanted.per_connection);
        let (mut up, mut down) = (Lane::default(), Lane::default());
        for pair in [Some(&own), Some(&self.in_all), of_client.as_deref()].into_iter().flatten() {
            up.buckets.extend(pair.up.clone());
            down.buckets.extend(pair.down.clone());
        }
        Box::new(Throttle { up, down, _of_client: of_client })
    }

    /// The buckets that the connections of one address share, for as long as there are any.
    fn of_client(&self, client: IpAddr) -> Arc<Pair> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = clients.get(&client).and_then(Weak::upgrade) {
            return pair;
        }
        let pair = Arc::new(Pair::new(self.wanted.per_client));
        clients.retain(|_, pair| pair.strong_count() > 0);
        clients.insert(client, Arc::downgrade(&pair));
        pair
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn wanted(per_connection: Option<u64>, in_all: Option<u64>) -> Bandwidth {
        let flows = |rate| Flows { up: rate, down: None };
        Bandwidth { per_connection: flows(per_connection), in_all: flows(in_all), ..Bandwidth::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_over_time_and_the_other_way_is_free() {
        let speeds = Speeds::new(&wanted(Some(100_000), None)).unwrap();
        let mut throttle = speeds.throttle(None);
        let (start, mut carried) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(10) {
            let grant = poll_fn(|cx| throttle.poll_up(cx)).await as u64;
            throttle.pay(grant, grant);
            carried += grant;
        }
        assert!((990_000..=1_020_000).contains(&carried), "{carried}");
        assert_eq!(poll_fn(|cx| throttle.poll_down(cx)).await, usize::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_share_a_bucket_share_its_rate() {
        let speeds = Speeds::new(&wanted(None, Some(100_000))).unwrap();
        let mut both = [speeds.throttle(None), speeds.throttle(None)];
        let (start, mut carried) = (Instant::now(), [0, 0]);
        while start.elapsed() < Duration::from_secs(10) {
            for (throttle, carried) in both.iter_mut().zip(&mut carried) {
                let grant = poll_fn(|cx| throttle.poll_up(cx)).await as u64;
                throttle.pay(grant, 0);
                *carried += grant;
            }
        }
        assert!((980_000..=1_050_000).contains(&(carried[0] + carried[1])), "{carried:?}");
    }
}
