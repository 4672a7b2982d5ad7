//! Ways that are measured: each is an instance of its own in this process, with a listener on 127.0.0.1.

use std::cell::Cell;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use towpath_control::Instance;

use super::candidates::{Change, Url};
use super::fetch::{Fetched, Target};
use crate::exit::Failure;
use crate::shorthand;

/// What is carried first, and at least.
const FIRST_BYTES: u64 = 256 * 1024;

/// So many times at most before it is measured.
const WARMING: usize = 10;

/// What is measured, and for how long.
pub(super) struct Trial {
    pub(super) target: Target,
    pub(super) is_upload: bool,
    /// Of each sample.
    pub(super) sample: Duration,
    /// Bytes that may be carried in all, and until when.
    pub(super) amount: u64,
    pub(super) end: Instant,
    /// All hops, the last of which is the tunnel.
    pub(super) hops: Vec<String>,
}

/// A way to the target.
pub(super) struct Way<'a> {
    trial: &'a Trial,
    listen: SocketAddr,
    instance: Instance,
    /// How much the next measurement carries.
    bytes: Cell<u64>,
}

/// Why a way cannot be measured.
#[derive(Debug)]
pub(super) struct Trouble(std::io::Error);

impl fmt::Display for Trouble {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl Trial {
    /// Whether the time, or the amount, is over.
    pub(super) fn is_spent(&self, bytes: u64) -> bool {
        bytes >= self.amount || Instant::now() >= self.end
    }

    /// The way through the tunnel of this URL, which came about by a change.
    pub(super) fn start(&self, url: &Url, change: Option<&Change>) -> Result<Way<'_>, Failure> {
        self.start_over(&self.hops_with(url)).map_err(|failure| match (failure, change) {
            (Failure::Usage(message), Some(change)) => Failure::Usage(format!("{change}: {message}")),
            (failure, _) => failure,
        })
    }

    /// All hops, with this tunnel as the last.
    pub(super) fn hops_with(&self, url: &Url) -> Vec<String> {
        let before = &self.hops[..self.hops.len().saturating_sub(1)];
        before.iter().cloned().chain([url.to_string()]).collect()
    }

    /// The way without any hop.
    pub(super) fn start_direct(&self) -> Result<Way<'_>, Failure> {
        self.start_over(&[])
    }

    fn start_over(&self, hops: &[String]) -> Result<Way<'_>, Failure> {
        // Free a moment ago, and taken again at once.
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = shorthand::parse(&format!(
            "workers = 1\n\n[log]\nrecords = false\n\n\
             [[listener]]\nname = \"tune\"\nbind = \"{listen}\"\nmode = \"tcp\"\npool = \"target\"\n\n{}",
            self.pool(hops)
        ))?;
        towpath_control::check(&config)?;
        let instance = Instance::start(config)?;
        Ok(Way { trial: self, listen, instance, bytes: Cell::new(FIRST_BYTES) })
    }

    /// The pool that leads to the target over these hops, as a file has it.
    pub(super) fn pool(&self, hops: &[String]) -> String {
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
            if self.sample()?.time >= self.trial.sample / 2 {
                break;
            }
        }
        Ok(())
    }

    /// One measurement, of as much as should take the time of one.
    pub(super) fn sample(&self) -> Result<Fetched, Trouble> {
        let Trial { target, is_upload, sample, .. } = self.trial;
        let bytes = self.bytes.get();
        let carried = match is_upload {
            true => target.send(self.listen, bytes),
            false => target.fetch(self.listen, bytes, *sample * 2),
        };
        let carried = carried.map_err(Trouble)?;
        // Not too much more each time: what a way lets through for a moment is not what it carries.
        let expected = (carried.rate() * sample.as_secs_f64()) as u64;
        self.bytes.set(expected.clamp(FIRST_BYTES, 2 * bytes));
        Ok(carried)
    }

    pub(super) fn stop(self) -> Result<(), Failure> {
        Ok(self.instance.stop()?)
    }
}
