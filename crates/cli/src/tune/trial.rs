//! Ways that are measured: each is an instance of its own in this process, with a listener on 127.0.0.1.

use std::cell::Cell;
use std::time::Instant;

use towpath_control::Instance;

use super::candidates::Via;
use super::fetch::{Fetched, Trouble};
use super::ledger::Ledger;
use super::plan::{GROWTH, Plan};
use super::target::Target;
use crate::exit::Failure;
use crate::port::Port;
use crate::shorthand;

/// What is fetched first.
pub(super) const FIRST_BYTES: u64 = 256 * 1024;

/// What is carried at least, and sent first, which cannot be broken off when it takes too long.
const LEAST_BYTES: u64 = 16 * 1024;

/// So many times at most before it is measured.
const WARMING: usize = 13;

/// What is measured, and for how long.
pub(super) struct Trial {
    pub(super) target: Target,
    pub(super) is_upload: bool,
    /// What is sent.
    pub(super) body: Vec<u8>,
    /// How often each change is measured.
    pub(super) pairs: usize,
    pub(super) plan: Plan,
    pub(super) ledger: Ledger,
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
        let first = if self.is_upload { LEAST_BYTES } else { FIRST_BYTES };
        Ok(Way { trial: self, port, instance, finds_lanes, bytes: Cell::new(first) })
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
        let Trial { plan, ledger, .. } = self.trial;
        for _ in 0..WARMING {
            let is_enough = self.sample()?.time >= plan.sample.time / 2;
            if is_enough || self.bytes.get() >= plan.sample.bytes || ledger.is_spent() {
                break;
            }
        }
        // Else the one that has had the longest time for it would be the fastest.
        let (begun, before) = (Instant::now(), ledger.carried());
        while self.finds_lanes && begun.elapsed() < GROWTH && !ledger.is_spent() {
            if ledger.carried() - before >= plan.growth.bytes {
                ledger.growth_was_short();
                break;
            }
            self.sample()?;
        }
        Ok(())
    }

    /// One measurement, of as much as should take the time of one.
    pub(super) fn sample(&self) -> Result<Fetched, Trouble> {
        let Trial { target, is_upload, body, plan, ledger, .. } = self.trial;
        let (address, bytes) = (self.port.address(), self.bytes.get());
        let fetched = match is_upload {
            true => target.send(address, bytes, body, ledger)?,
            false => target.fetch(address, bytes, plan.sample.bytes, plan.sample.time * 2, ledger)?,
        };
        // Not too much more each time: what a way lets through for a moment is not what it carries.
        let expected = (fetched.rate() * plan.sample.time.as_secs_f64()) as u64;
        self.bytes.set(expected.min(2 * bytes).min(plan.sample.bytes).max(LEAST_BYTES));
        Ok(fetched)
    }

    pub(super) fn stop(self) -> Result<(), Failure> {
        Ok(self.instance.stop()?)
    }
}
