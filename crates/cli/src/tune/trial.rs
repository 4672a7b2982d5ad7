//! Ways that are measured: each is an instance of its own in this process, with a listener on 127.0.0.1.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use towpath_control::Instance;

use super::candidates::Via;
use super::fetch::{Fetched, Trouble};
use super::target::Target;
use crate::exit::Failure;
use crate::port::Port;
use crate::shorthand;

/// What is carried first, and at least.
pub(super) const FIRST_BYTES: u64 = 256 * 1024;

/// So many times at most before it is measured.
const WARMING: usize = 10;

/// What is measured, and for how long.
pub(super) struct Trial {
    pub(super) target: Target,
    pub(super) is_upload: bool,
    /// What is sent.
    pub(super) body: Vec<u8>,
    /// Of each sample.
    pub(super) sample: Duration,
    /// How long something is carried first where the number of lanes is found out meanwhile.
    pub(super) growth: Duration,
    /// Bytes that one sample may carry.
    pub(super) sample_bytes: u64,
    /// How often each change is measured.
    pub(super) pairs: usize,
    /// Bytes that may be carried in all, and until when.
    pub(super) amount: u64,
    pub(super) end: Instant,
    /// Bytes that were carried.
    pub(super) carried: Cell<u64>,
    /// Somebody wants it to end.
    pub(super) is_interrupted: Arc<AtomicBool>,
}

/// A way to the target.
pub(super) struct Way<'a> {
    trial: &'a Trial,
    port: Port,
    instance: Instance,
    finds_lanes: bool,
    /// How much the next measurement carries.
    bytes: Cell<u64>,
}

impl Trial {
    /// Whether the time, or the amount, is over, or somebody wants it to be.
    pub(super) fn is_spent(&self) -> bool {
        self.is_interrupted() || self.carried.get() >= self.amount || Instant::now() >= self.end
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Relaxed)
    }

    /// The way through a tunnel; without one it is straight.
    pub(super) fn start(&self, via: Option<&Via>) -> Result<Way<'_>, Failure> {
        let hops = via.map(Via::hops).unwrap_or_default();
        let port = Port::reserve()?;
        let config = shorthand::parse(&format!(
            "workers = 1\n\n[log]\nrecords = false\n\n\
             [[listener]]\nname = \"tune\"\nbind = \"{}\"\nmode = \"tcp\"\npool = \"target\"\n\n{}",
            port.address(),
            self.pool(&hops)
        ))?;
        towpath_control::check(&config)?;
        let instance = Instance::start(config)?;
        let finds_lanes = via.is_some_and(Via::finds_lanes);
        Ok(Way { trial: self, port, instance, finds_lanes, bytes: Cell::new(FIRST_BYTES) })
    }

    /// The pool that leads to the target through a tunnel, as a file has it.
    pub(super) fn pool_through(&self, via: &Via) -> String {
        self.pool(&via.hops())
    }

    fn pool(&self, hops: &[String]) -> String {
        let mut text = "[[pool]]\nname = \"target\"\n".to_owned();
        if !hops.is_empty() {
            let quoted: Vec<String> = hops.iter().map(|hop| shorthand::quoted(hop)).collect();
            shorthand::key("via", format!("[{}]", quoted.join(", ")), &mut text);
        }
        shorthand::key("backend", format!("[{}]", shorthand::quoted(&self.target.authority)), &mut text);
        text
    }
}

impl Way<'_> {
    /// Opens the tunnel and its lanes, and finds out roughly what it carries.
    pub(super) fn warm_up(&self) -> Result<(), Trouble> {
        for _ in 0..WARMING {
            let is_enough = self.sample()?.time >= self.trial.sample / 2;
            if is_enough || self.bytes.get() >= self.trial.sample_bytes || self.trial.is_spent() {
                break;
            }
        }
        // Else the one that has had the longest time for it would be the fastest.
        let begun = Instant::now();
        while self.finds_lanes && begun.elapsed() < self.trial.growth && !self.trial.is_spent() {
            self.sample()?;
        }
        Ok(())
    }

    /// One measurement, of as much as should take the time of one.
    pub(super) fn sample(&self) -> Result<Fetched, Trouble> {
        let Trial { target, is_upload, body, sample, sample_bytes, carried, .. } = self.trial;
        let (address, bytes) = (self.port.address(), self.bytes.get());
        let may_go_on = || !self.trial.is_interrupted();
        let fetched = match is_upload {
            true => target.send(address, bytes, body, may_go_on)?,
            false => target.fetch(address, bytes, *sample * 2, may_go_on)?,
        };
        carried.set(carried.get() + fetched.bytes);
        // Not too much more each time: what a way lets through for a moment is not what it carries.
        let expected = (fetched.rate() * sample.as_secs_f64()) as u64;
        self.bytes.set(expected.clamp(FIRST_BYTES, 2 * bytes).min(*sample_bytes).max(FIRST_BYTES));
        Ok(fetched)
    }

    pub(super) fn stop(self) -> Result<(), Failure> {
        Ok(self.instance.stop()?)
    }
}
