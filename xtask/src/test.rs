//! `cargo xtask test`: every check and every test in order, up to the first that fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{packages, root, tidy, tools};

/// Run every check and every test, as CI does
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the longer forms of the tests too (sets TOWPATH_NIGHTLY=1)
    #[arg(long)]
    nightly: bool,
    /// Install no Debian package and no library; tests whose peer is missing will fail
    #[arg(long)]
    no_install: bool,
}

/// Runs everything in order and prints what each step took.
///
/// # Errors
///
/// When a step fails; later steps are not run.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = root();
    let mut steps = Steps::default();
    if !args.no_install {
        steps.run("packages", || packages::install_missing(packages::FOR_TESTS))?;
        steps.run("client libraries", || tools::install_clients(&root))?;
    }
    steps.run("format", || cargo(&root, &["fmt", "--all", "--check"]))?;
    steps.run("clippy", || {
        cargo(&root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
    })?;
    steps.run("tidy", || tidy::run(&root))?;
    steps.run("deny", || deny(&root))?;
    steps.run("release build", || cargo(&root, &["build", "--release", "-p", "towpath"]))?;
    let binary = target_dir(&root)?.join("release/towpath");
    let clients = tools::clients_dir(&root)?;
    let test = |words: &[&str]| {
        let mut command = cargo_command(&root, words);
        command.env("TOWPATH_BIN", &binary).env("TOWPATH_CLIENTS", &clients);
        if args.nightly {
            command.env("TOWPATH_NIGHTLY", "1");
        }
        status_of(&mut command, words)
    };
    if cargo_has("nextest") {
        steps.run("tests", || test(&["nextest", "run", "--workspace", "--no-fail-fast"]))?;
    } else {
        steps.run("tests", || test(&["test", "--workspace", "--all-targets", "--no-fail-fast"]))?;
    }
    steps.run("doc tests", || test(&["test", "--workspace", "--doc"]))?;
    steps.print();
    Ok(())
}

/// The version of cargo-deny that is built where there is none.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// Licences, bans and sources. Advisories need a database from the network, which tests must not depend on.
fn deny(root: &Path) -> Result<()> {
    let check = ["check", "licenses", "bans", "sources"];
    if cargo_has("deny") {
        return cargo(root, &[&["deny"], &check[..]].concat());
    }
    let tools = target_dir(root)?.join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        println!("deny: building {CARGO_DENY} for this checkout, about a minute");
        let mut install = cargo_command(root, &["install", "--locked", "--debug", "--quiet", CARGO_DENY]);
        install.arg("--root").arg(&tools).env("CARGO_PROFILE_DEV_DEBUG", "0");
        status_of(&mut install, &["install", CARGO_DENY])?;
    }
    let status = Command::new(&program).args(check).current_dir(root).status();
    if !status.context("cannot start cargo-deny")?.success() {
        bail!("cargo-deny found what deny.toml forbids");
    }
    Ok(())
}

/// Names and times of the steps so far.
#[derive(Default)]
struct Steps {
    taken: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n==> {name}");
        let start = Instant::now();
        let outcome = step();
        self.taken.push((name, start.elapsed()));
        if outcome.is_err() {
            self.print();
        }
        outcome.with_context(|| format!("test: FAILED at step \"{name}\""))
    }

    fn print(&self) {
        println!();
        for (name, took) in &self.taken {
            println!("{name:<16} {:>7.1} s", took.as_secs_f64());
        }
        let total: Duration = self.taken.iter().map(|(_, took)| *took).sum();
        println!("{:<16} {:>7.1} s", "total", total.as_secs_f64());
    }
}

/// Runs cargo with `words` in `root`.
///
/// # Errors
///
/// When cargo cannot start, or reports a failure.
pub(crate) fn cargo(root: &Path, words: &[&str]) -> Result<()> {
    status_of(&mut cargo_command(root, words), words)
}

fn status_of(command: &mut Command, words: &[&str]) -> Result<()> {
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", words.join(" "));
    }
    Ok(())
}

fn cargo_command(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root);
    // What cargo told xtask about itself would make build scripts run again.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Whether cargo has the subcommand `name`.
fn cargo_has(name: &str) -> bool {
    packages::exists(&format!("cargo-{name}"))
}

/// Where cargo builds.
///
/// # Errors
///
/// When `cargo metadata` fails.
pub(crate) fn target_dir(root: &Path) -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(root).no_deps().exec();
    Ok(metadata.context("cannot ask cargo for the target directory")?.target_directory.into())
}
