//! `cargo xtask bench`: to come.

use anyhow::{Result, bail};

use crate::packages;

/// Measure towpath against HAProxy, nginx, a Go forwarder and the direct path
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<()> {
    packages::install_missing(packages::FOR_BENCH)?;
    bail!("bench is still to come")
}
