//! Logins that were right a short time ago, and those that are being found out: hashes are slow on purpose.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;
use lru::LruCache;
use tokio::sync::watch;
use tokio::time::Instant;

/// Most logins that are known; the one that was used longest ago goes.
pub(super) const KNOWN: usize = 1024;
/// A login is known for so long after it was found out.
pub(super) const FRESH: Duration = Duration::from_secs(5 * 60);

/// Stands for a name and its password, of which it tells nothing without the key.
type Tag = [u8; 32];

/// The logins of a listener. All workers share it, and lock it once for each.
pub(super) struct Cache {
    /// New for each process.
    key: Key,
    logins: Mutex<Logins>,
}

struct Logins {
    right: LruCache<Tag, Right>,
    underway: HashMap<Tag, watch::Receiver<Found>>,
}

struct Right {
    user: Arc<str>,
    until: Instant,
}

#[derive(Clone)]
enum Found {
    NotYet,
    Wrong,
    Right(Arc<str>),
}

/// What is known of a login.
pub(super) enum Known {
    /// It is right, and this user's.
    Right(Arc<str>),
    /// Somebody else is finding that out.
    Underway(Underway),
    /// Nothing: it is for the caller to find out.
    Nothing(Finding),
}

impl Cache {
    pub(super) fn new() -> Self {
        let Ok(key) = Key::generate(HMAC_SHA256, &SystemRandom::new()) else {
            unreachable!("aws-lc aborts where the system has no random bytes")
        };
        let logins = Logins { right: LruCache::unbounded(), underway: HashMap::new() };
        Self { key, logins: Mutex::new(logins) }
    }

    /// What is known of a name and its password.
    pub(super) fn look_up(this: &Arc<Self>, name: &[u8], password: &[u8], now: Instant) -> Known {
        let tag = this.tag(name, password);
        let mut logins = this.lock();
        match logins.right.get(&tag) {
            Some(right) if now < right.until => return Known::Right(right.user.clone()),
            Some(_) => drop(logins.right.pop(&tag)),
            None => {}
        }
        if let Some(found) = logins.underway.get(&tag) {
            return Known::Underway(Underway(found.clone()));
        }
        let (sender, receiver) = watch::channel(Found::NotYet);
        logins.underway.insert(tag, receiver);
        Known::Nothing(Finding { cache: this.clone(), tag, sender, is_settled: false })
    }

    fn tag(&self, name: &[u8], password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&name.len().to_be_bytes());
        context.update(name);
        context.update(password);
        let mut tag = Tag::default();
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn lock(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        let logins = self.lock();
        (logins.right.len(), logins.underway.len())
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({})", self.lock().right.len())
    }
}

/// A login that somebody else is finding out.
pub(super) struct Underway(watch::Receiver<Found>);

impl Underway {
    /// Waits until it is known whose login it is, if anybody's. Fails if the other one gave up.
    pub(super) async fn found(mut self) -> Result<Option<Arc<str>>, GaveUp> {
        let found = self.0.wait_for(|found| !matches!(found, Found::NotYet)).await;
        match found.as_deref() {
            Ok(Found::Right(user)) => Ok(Some(user.clone())),
            Ok(Found::Wrong) => Ok(None),
            Ok(Found::NotYet) | Err(_) => Err(GaveUp),
        }
    }
}

/// Whoever was finding out is gone.
#[derive(Debug)]
pub(super) struct GaveUp;

/// A login for the holder to find out; others wait for it, until this is dropped.
pub(super) struct Finding {
    cache: Arc<Cache>,
    tag: Tag,
    sender: watch::Sender<Found>,
    is_settled: bool,
}

impl Finding {
    /// Tells those who wait whose login it is, and keeps it in mind if it is right.
    pub(super) fn settle(mut self, user: Option<Arc<str>>, now: Instant) {
        self.is_settled = true;
        let mut logins = self.cache.lock();
        // Both under one lock, or one who comes in between would find it out again.
        logins.underway.remove(&self.tag);
        if let Some(user) = user.clone() {
            logins.right.put(self.tag, Right { user, until: now + FRESH });
            if logins.right.len() > KNOWN {
                logins.right.pop_lru();
            }
        }
        drop(logins);
        self.sender.send_replace(user.map_or(Found::Wrong, Found::Right));
    }
}

impl Drop for Finding {
    fn drop(&mut self) {
        // Once it is settled the place may be another's.
        if !self.is_settled {
            self.cache.lock().underway.remove(&self.tag);
        }
    }
}
