//! The line before the hashes: few are checked at a time, and few wait, so that logins do not take all processors.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Hashes that are checked at a time.
const AT_WORK: usize = 2;
/// Those that wait besides.
const WAITING: usize = 64;
/// Most of either that one client has, so that there is room for others.
pub(super) const OF_ONE_CLIENT: usize = 16;
/// All that fit in.
pub(super) const ALL: usize = AT_WORK + WAITING;

/// Logins whose hash is checked, and those that wait for it.
pub(super) struct Line {
    inside: Mutex<Inside>,
    at_work: Arc<Semaphore>,
    runs: AtomicU64,
}

#[derive(Default)]
struct Inside {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

impl Line {
    pub(super) fn new() -> Self {
        Self { inside: Mutex::default(), at_work: Arc::new(Semaphore::new(AT_WORK)), runs: AtomicU64::new(0) }
    }

    /// A place at the end, if there is one for `client`.
    pub(super) fn join(this: &Arc<Self>, client: Option<IpAddr>) -> Option<Place> {
        let mut inside = this.lock();
        if inside.all >= ALL {
            return None;
        }
        if let Some(client) = client {
            let own = inside.of.entry(client).or_default();
            if *own >= OF_ONE_CLIENT {
                return None;
            }
            *own += 1;
        }
        inside.all += 1;
        Some(Place { line: this.clone(), client })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many hashes were checked so far.
    #[cfg(test)]
    pub(super) fn runs(&self) -> u64 {
        self.runs.load(Relaxed)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({} of {})", self.lock().all, self.runs.load(Relaxed))
    }
}

/// A place in the line, free again when this is dropped.
pub(super) struct Place {
    line: Arc<Line>,
    client: Option<IpAddr>,
}

impl Place {
    /// Waits for its turn.
    pub(super) async fn turn(self) -> Result<Turn, AcquireError> {
        let permit = self.line.at_work.clone().acquire_owned().await?;
        self.line.runs.fetch_add(1, Relaxed);
        Ok(Turn { _permit: permit, _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.line.lock();
        inside.all -= 1;
        if let Some(client) = self.client
            && let Some(own) = inside.of.get_mut(&client)
        {
            *own -= 1;
            if *own == 0 {
                inside.of.remove(&client);
            }
        }
    }
}

/// The right to check a hash, until this is dropped.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_takes_a_part_of_the_line_and_all_have_an_end() {
        let line = Arc::new(Line::new());
        let ip = |number: u32| Some(IpAddr::V4(number.into()));
        let mut places: Vec<Place> = (0..OF_ONE_CLIENT).map(|_| Line::join(&line, ip(1)).unwrap()).collect();
        assert!(Line::join(&line, ip(1)).is_none());
        places.push(Line::join(&line, ip(2)).unwrap());
        places.extend((places.len()..ALL).map(|_| Line::join(&line, None).unwrap()));
        assert!(Line::join(&line, ip(2)).is_none() && Line::join(&line, None).is_none());
        places.remove(0);
        assert!(Line::join(&line, ip(1)).is_some());
        places.clear();
        assert!(line.lock().all == 0 && line.lock().of.is_empty());
    }
}
