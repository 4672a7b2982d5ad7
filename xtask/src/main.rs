//! The project's chores: `cargo xtask test`, `tidy`, `bench` and `wan`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod haul;
mod packages;
mod test;
mod tidy;
mod tools;
mod wan;

/// The project's chores
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run every check and every test, as CI does
    Test(test::Args),
    /// Check the house rules: layers between crates and stages, lengths, words, unsafe
    Tidy,
    /// Measure towpath against HAProxy, nginx, a Go forwarder and the direct path
    Bench(bench::Args),
    #[command(hide = true)]
    Haul(haul::Args),
    #[command(hide = true)]
    Take(haul::TakerArgs),
    /// Join two network namespaces by links with a rate, a delay, a queue and losses
    Wan(wan::Args),
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                            everything that CI runs
  cargo xtask test --nightly --no-install     the longer forms, with no package installed
  cargo xtask tidy                            the house rules alone, in a second
  cargo xtask bench                           all kinds, all contenders, about 19 minutes
  cargo xtask bench request64 bulk1 --quick   a first look at two kinds
  cargo xtask bench --only nginx,go connect   chosen contenders
  cargo xtask bench --save                    keep the figures in docs/bench.json and docs/bench.svg
  cargo xtask bench http1k h2to1k --save      the same for two kinds; those of the others stay
  cargo xtask bench wan                       tunnels over long ways, as root, about 15 minutes
  cargo xtask wan --loss 0.1% -- sh           a shell on the near side of 200 Mb/s, 100 ms and losses";

fn main() -> ExitCode {
    let outcome = match Args::parse().chore {
        Chore::Test(args) => test::run(&args).map(|()| ExitCode::SUCCESS),
        Chore::Tidy => tidy::run(&root()).map(|()| ExitCode::SUCCESS),
        Chore::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
        Chore::Haul(args) => haul::run(&args).map(|()| ExitCode::SUCCESS),
        Chore::Take(args) => haul::take(&args).map(|()| ExitCode::SUCCESS),
        Chore::Wan(args) => wan::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
