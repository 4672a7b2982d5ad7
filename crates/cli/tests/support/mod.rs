//! What the tests of the binary share: towpath as a child, real programs around it, and small pieces of TCP.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

pub(crate) mod data;
pub(crate) mod frames;
pub(crate) mod lines;
pub(crate) mod middle;
pub(crate) mod net;
pub(crate) mod odd;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod proc;
pub(crate) mod proxies;
pub(crate) mod raw_web;
pub(crate) mod services;
pub(crate) mod tools;
pub(crate) mod towpath;
pub(crate) mod tunnel;
pub(crate) mod turns;
pub(crate) mod web;
pub(crate) mod wire;

use std::thread;
use std::time::{Duration, Instant};

/// The deadline of every wait for something that should come at once. A busy machine is slow, a broken program late.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at what no event tells of.
const LOOK: Duration = Duration::from_millis(5);

/// Whether the longer forms of the tests are wanted.
pub(crate) fn nightly() -> bool {
    std::env::var_os("TOWPATH_NIGHTLY").is_some_and(|value| value == "1")
}

/// Looks again and again until `look` finds something, up to [`PATIENCE`]; for what no event tells of.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for_within(PATIENCE, what, look)
}

/// The same with another deadline.
pub(crate) fn wait_for_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {limit:?}");
        // sleep: the gap between two looks; the deadline is above.
        thread::sleep(LOOK);
    }
}

/// A seed for a test's random choices, printed so that a failure can be had again with TOWPATH_SEED.
pub(crate) fn seed() -> u64 {
    let given =
        std::env::var("TOWPATH_SEED").ok().map(|text| text.parse().expect("TOWPATH_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("TOWPATH_SEED={seed}");
    seed
}
