//! `towpath`: forwards TCP.

mod args;
mod commands;
mod demo;
mod exit;
mod log;
mod shorthand;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match commands::run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
