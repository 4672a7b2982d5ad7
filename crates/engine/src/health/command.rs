//! A check by a program: exit code 0 is good.

use std::io;
use std::process::Stdio;

use tokio::process::Command;
use towpath_sys::process::kill_group;

use super::{CheckError, Door};

/// Runs the program without a shell. What it has left running when it ends, or when the check times out, is killed.
pub(super) async fn ask(argv: &[String], door: Door<'_>) -> Result<(), CheckError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(CheckError::Bad("no command".to_owned()));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match door {
        Door::Tcp(address) => {
            command.env("TOWPATH_ADDRESS", address.ip().to_string());
            command.env("TOWPATH_PORT", address.port().to_string());
        }
        Door::Unix(path) => drop(command.env("TOWPATH_ADDRESS", path)),
        Door::Name(name, port) => {
            command.env("TOWPATH_ADDRESS", name.as_str()).env("TOWPATH_PORT", port.to_string());
        }
    }
    let cannot_run = |error: io::Error| CheckError::Bad(format!("cannot run {program}: {error}"));
    let mut child = command.process_group(0).spawn().map_err(cannot_run)?;
    let _group = Group(child.id());
    let status = child.wait().await.map_err(cannot_run)?;
    if status.success() { Ok(()) } else { Err(CheckError::Bad(format!("{program}: {status}"))) }
}

/// The process group of a program, killed when this is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            kill_group(leader);
        }
    }
}
