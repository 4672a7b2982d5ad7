//! Limits of how much is carried in a time: buckets that fill at a rate, of a connection and of those that share one.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};
use towpath_config::{Bandwidth, Flows};

use crate::visitor::visitor;

/// A bucket holds what its rate brings in this time, so that a burst after a pause is short.
const BURST: Duration = Duration::from_millis(100);

/// A grant is what its rate brings in this time, within these bounds: smaller ones would cost more than they carry, larger
/// ones would have the others wait.
const GRANT: Duration = Duration::from_millis(10);
const GRANT_BYTES: (f64, f64) = (1024.0, 64.0 * 1024.0);

/// Clients whose buckets are remembered; beyond it one that has no connection makes room.
const KNOWN: usize = 65_536;

/// Clients whose buckets are full again are looked for at most so often.
const SWEEP_GAP: Duration = Duration::from_secs(1);

/// Bytes that may be carried now; what is taken beyond it is owed.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    fill: Mutex<Fill>,
    /// How many connections wait for it, each for its turn.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Fill {
    bytes: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u64) -> Self {
        let rate = rate as f64;
        let bytes = Self::full(rate);
        Self { rate, fill: Mutex::new(Fill { bytes, at: Instant::now() }), waiting: AtomicUsize::new(0) }
    }

    fn full(rate: f64) -> f64 {
        (rate * BURST.as_secs_f64()).max(GRANT_BYTES.0)
    }

    fn grant(&self) -> f64 {
        (self.rate * GRANT.as_secs_f64()).clamp(GRANT_BYTES.0, GRANT_BYTES.1)
    }

    /// Adds `bytes`, which may be negative, and returns what is in it then.
    fn add(&self, bytes: f64) -> f64 {
        let mut fill = self.fill.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let filled = fill.bytes + (now - fill.at).as_secs_f64() * self.rate;
        *fill = Fill { bytes: filled.min(Self::full(self.rate)) + bytes, at: now };
        fill.bytes
    }

    /// How long until a connection that joins those that wait may have its grant, if the bucket has `bytes` now. One that
    /// has waited its time, in vain, is the next.
    fn pause(&self, bytes: f64, is_next: bool) -> Duration {
        let before = if is_next { 0.0 } else { self.waiting.load(Relaxed) as f64 };
        let missing = (self.grant() * (before + 1.0) - bytes).max(0.0);
        Duration::from_secs_f64(missing / self.rate).max(Duration::from_millis(1))
    }

    fn is_full(&self) -> bool {
        self.add(0.0) >= Self::full(self.rate)
    }
}

/// A connection's wait for a bucket.
#[derive(Debug)]
struct Turn {
    bucket: Arc<Bucket>,
    sleep: Pin<Box<Sleep>>,
}

impl Turn {
    fn new(bucket: &Arc<Bucket>, bytes: f64, is_next: bool) -> Self {
        let sleep = Box::pin(sleep(bucket.pause(bytes, is_next)));
        bucket.waiting.fetch_add(1, Relaxed);
        Self { bucket: bucket.clone(), sleep }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.bucket.waiting.fetch_sub(1, Relaxed);
    }
}

/// The buckets of one direction.
#[derive(Debug, Default)]
struct Lane {
    buckets: Vec<Arc<Bucket>>,
    turn: Option<Turn>,
}

impl Lane {
    fn poll_grant(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut is_next = false;
        loop {
            if let Some(turn) = &mut self.turn {
                ready!(turn.sleep.as_mut().poll(cx));
                self.turn = None;
                is_next = true;
            }
            let mut least = GRANT_BYTES.1;
            let short = self.buckets.iter().find_map(|bucket| {
                let bytes = bucket.add(0.0);
                least = least.min(bucket.grant());
                (bytes < bucket.grant()).then_some((bucket, bytes))
            });
            match short {
                Some((bucket, bytes)) => self.turn = Some(Turn::new(bucket, bytes, is_next)),
                None if self.buckets.is_empty() => return Poll::Ready(usize::MAX),
                None => return Poll::Ready(least as usize),
            }
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

    /// Whether it is these limits that the connection waits for.
    pub(crate) fn is_waiting(&self) -> bool {
        self.up.turn.is_some() || self.down.turn.is_some()
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
    clients: Mutex<Clients>,
}

/// The buckets of each client that has carried something of late.
#[derive(Debug, Default)]
struct Clients {
    of: HashMap<IpAddr, Pair>,
    swept: Option<Instant>,
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

    /// Whether nobody uses it, and nothing is owed.
    fn is_at_rest(&self) -> bool {
        [&self.up, &self.down]
            .into_iter()
            .flatten()
            .all(|bucket| Arc::strong_count(bucket) == 1 && bucket.is_full())
    }

    fn is_used(&self) -> bool {
        [&self.up, &self.down].into_iter().flatten().any(|bucket| Arc::strong_count(bucket) > 1)
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
        let is_each_limited = self.wanted.per_client != Flows::default();
        let of_client = client.filter(|_| is_each_limited).map(|client| self.of_client(visitor(client)));
        let own = Pair::new(self.wanted.per_connection);
        let (mut up, mut down) = (Lane::default(), Lane::default());
        for pair in [Some(&own), Some(&self.in_all), of_client.as_ref()].into_iter().flatten() {
            up.buckets.extend(pair.up.clone());
            down.buckets.extend(pair.down.clone());
        }
        Box::new(Throttle { up, down })
    }

    /// The buckets that the connections of one client share. They are remembered until they are full again, so that
    /// connecting anew brings nothing.
    fn of_client(&self, client: IpAddr) -> Pair {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = clients.of.get(&client) {
            return pair.clone();
        }
        if clients.swept.is_none_or(|then| then.elapsed() >= SWEEP_GAP) {
            clients.swept = Some(Instant::now());
            clients.of.retain(|_, pair| !pair.is_at_rest());
        }
        if clients.of.len() >= KNOWN {
            let leaves = clients.of.iter().find(|(_, pair)| !pair.is_used()).map(|(client, _)| *client);
            leaves.and_then(|client| clients.of.remove(&client));
        }
        clients.of.entry(client).or_insert_with(|| Pair::new(self.wanted.per_client)).clone()
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

    #[tokio::test(start_paused = true)]
    async fn to_connect_anew_brings_nothing() {
        let flows = Flows { up: None, down: Some(100_000) };
        let speeds = Speeds::new(&Bandwidth { per_client: flows, ..Bandwidth::default() }).unwrap();
        let (start, mut carried) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(10) {
            let mut throttle = speeds.throttle(Some("10.0.0.1".parse().unwrap()));
            let grant = poll_fn(|cx| throttle.poll_down(cx)).await as u64;
            throttle.pay(0, grant);
            carried += grant;
        }
        assert!((980_000..=1_050_000).contains(&carried), "{carried}");
        assert_eq!(speeds.clients.lock().unwrap().of.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_share_a_bucket_get_useful_grants_and_equal_shares() {
        let speeds = Arc::new(Speeds::new(&wanted(None, Some(1_000_000))).unwrap());
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let speeds = speeds.clone();
                tokio::spawn(async move {
                    let mut throttle = speeds.throttle(None);
                    let (start, mut carried, mut grants) = (Instant::now(), 0, 0);
                    while start.elapsed() < Duration::from_secs(20) {
                        let grant = poll_fn(|cx| throttle.poll_up(cx)).await as u64;
                        throttle.pay(grant, 0);
                        (carried, grants) = (carried + grant, grants + 1);
                    }
                    (carried, grants)
                })
            })
            .collect();
        let (mut all, mut least, mut grants) = (0, u64::MAX, 0);
        for task in tasks {
            let (carried, count) = task.await.unwrap();
            (all, least, grants) = (all + carried, least.min(carried), grants + count);
        }
        assert!((19_000_000..=21_500_000).contains(&all), "{all}");
        assert!(all / grants >= 1024, "grants of {} bytes", all / grants);
        assert!(least > 100_000, "the least share is {least}");
    }
}
