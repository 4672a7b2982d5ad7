//! Makes those wait who guess: after some wrong logins in a row, each answer to the client takes longer than the last.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// So many wrong logins in a row cost no time.
const FREE: u32 = 3;
/// The first wait, which doubles with each wrong login.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// A client is forgotten so long after its last wrong login.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// Most clients that are remembered; the one whose last wrong login is the oldest goes.
pub(super) const REMEMBERED: usize = 8192;
/// Most logins of one client that wait at a time.
const WAITING_MAX: usize = 4;

/// The clients that had wrong logins. All workers share it.
pub(super) struct BackOff {
    guessers: Mutex<LruCache<IpAddr, Guesser>>,
    /// How many there are: where there are none, nobody needs the lock.
    count: AtomicUsize,
}

struct Guesser {
    wrong: u32,
    last: Instant,
    waiting: usize,
}

/// A client has as many logins waiting as it may.
#[derive(Debug)]
pub(super) struct Full;

impl BackOff {
    pub(super) fn new() -> Self {
        Self { guessers: Mutex::new(LruCache::unbounded()), count: AtomicUsize::new(0) }
    }

    /// Whether a login of `client` has to wait, and how long. It has to before anything of it is looked at: else one that
    /// does not stay for the answer would learn from its time.
    pub(super) fn enter(this: &Arc<Self>, client: IpAddr, now: Instant) -> Result<Option<Wait>, Full> {
        if this.count.load(Relaxed) == 0 {
            return Ok(None);
        }
        let mut guessers = this.lock();
        let Some(guesser) = guessers.peek_mut(&client) else { return Ok(None) };
        let Some(time) = guesser.wait(now) else { return Ok(None) };
        if guesser.waiting >= WAITING_MAX {
            return Err(Full);
        }
        guesser.waiting += 1;
        Ok(Some(Wait { back_off: this.clone(), client, time }))
    }

    /// Takes down whether a login of `client` was right.
    pub(super) fn note(&self, client: IpAddr, is_right: bool, now: Instant) {
        if is_right && self.count.load(Relaxed) == 0 {
            return;
        }
        let mut guessers = self.lock();
        if is_right {
            if let Some(guesser) = guessers.peek_mut(&client) {
                guesser.wrong = 0;
                if guesser.waiting == 0 {
                    guessers.pop(&client);
                }
            }
        } else {
            let new = || Guesser { wrong: 0, last: now, waiting: 0 };
            let guesser = guessers.get_or_insert_mut(client, new);
            guesser.wrong = if guesser.is_forgotten(now) { 1 } else { guesser.wrong.saturating_add(1) };
            guesser.last = now;
            if guessers.len() > REMEMBERED {
                guessers.pop_lru();
            }
        }
        self.count.store(guessers.len(), Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<IpAddr, Guesser>> {
        self.guessers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Guesser {
    fn wait(&self, now: Instant) -> Option<Duration> {
        let doublings = self.wrong.checked_sub(FREE).filter(|_| !self.is_forgotten(now))?;
        let wait = FIRST_WAIT.saturating_mul(2u32.saturating_pow(doublings));
        Some(wait.min(LONGEST_WAIT))
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= MEMORY
    }
}

impl fmt::Debug for BackOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackOff({})", self.count.load(Relaxed))
    }
}

/// A login that has to wait, one less when this is dropped.
#[derive(Debug)]
pub(super) struct Wait {
    back_off: Arc<BackOff>,
    client: IpAddr,
    pub(super) time: Duration,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut guessers = self.back_off.lock();
        let Some(guesser) = guessers.peek_mut(&self.client) else { return };
        // Not below zero where the client was forgotten and came back meanwhile.
        guesser.waiting = guesser.waiting.saturating_sub(1);
        if guesser.wrong == 0 && guesser.waiting == 0 {
            guessers.pop(&self.client);
            self.back_off.count.store(guessers.len(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn wait(back_off: &Arc<BackOff>, client: IpAddr, now: Instant) -> Option<u128> {
        BackOff::enter(back_off, client, now).unwrap().map(|wait| wait.time.as_millis())
    }

    #[test]
    fn waits_double_and_are_forgotten() {
        let (back_off, now) = (Arc::new(BackOff::new()), Instant::now());
        let waits: Vec<u128> = (0..40)
            .map(|_| {
                let time = wait(&back_off, ip(1), now).unwrap_or(0);
                back_off.note(ip(1), false, now);
                time
            })
            .collect();
        assert_eq!(waits[..10], [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(waits[39], 8000);
        assert_eq!(wait(&back_off, ip(2), now), None);
        assert_eq!(wait(&back_off, ip(1), now + MEMORY - Duration::from_millis(1)), Some(8000));
        assert_eq!(wait(&back_off, ip(1), now + MEMORY), None);
        back_off.note(ip(1), false, now + MEMORY);
        assert_eq!(wait(&back_off, ip(1), now + MEMORY), None, "it begins anew");
    }

    #[test]
    fn a_right_login_ends_it() {
        let (back_off, now) = (Arc::new(BackOff::new()), Instant::now());
        (0..5).for_each(|_| back_off.note(ip(1), false, now));
        assert_eq!(wait(&back_off, ip(1), now), Some(1000));
        back_off.note(ip(1), true, now);
        assert_eq!((wait(&back_off, ip(1), now), back_off.len()), (None, 0));
    }

    #[test]
    fn so_many_of_one_client_wait_at_a_time() {
        let (back_off, now) = (Arc::new(BackOff::new()), Instant::now());
        for client in [ip(1), ip(2)] {
            (0..FREE).for_each(|_| back_off.note(client, false, now));
        }
        let mut waits: Vec<_> =
            (0..4).map(|_| BackOff::enter(&back_off, ip(1), now).unwrap().unwrap()).collect();
        assert!(BackOff::enter(&back_off, ip(1), now).is_err());
        assert!(BackOff::enter(&back_off, ip(2), now).is_ok());
        waits.pop();
        assert!(BackOff::enter(&back_off, ip(1), now).is_ok());
        back_off.note(ip(1), true, now);
        assert_eq!(back_off.len(), 2, "three still wait");
        drop(waits);
        assert_eq!((back_off.len(), back_off.count.load(Relaxed)), (1, 1));
    }

    #[test]
    fn the_oldest_makes_room() {
        let (back_off, now) = (Arc::new(BackOff::new()), Instant::now());
        for client in [1, 2, 1].into_iter().chain(3..=REMEMBERED as u32 + 1) {
            (0..FREE).for_each(|_| back_off.note(ip(client), false, now));
            wait(&back_off, ip(2), now); // which does not make it any younger
        }
        assert_eq!(back_off.len(), REMEMBERED);
        assert_eq!((wait(&back_off, ip(1), now), wait(&back_off, ip(2), now)), (Some(2000), None));
    }
}
