//! `towpath`: forwards TCP.

mod args;
mod commands;
mod demo;
mod exit;
mod log;
mod passwd;
mod port;
mod shorthand;
mod sockets;
mod tune;
mod tunnel;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: towpath_control::memory::Allocator = towpath_control::memory::Allocator;

fn main() -> ExitCode {
    let args = args::parse();
    match commands::run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
