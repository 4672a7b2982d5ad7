//! A check by a program: exit code 0 is good.

use std::process::Stdio;

use tokio::process::Command;

use super::{CheckError, Door};

/// Runs the program without a shell. One that is still running when the check times out is killed.
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
    }
    let status =
        command.status().await.map_err(|error| CheckError::Bad(format!("cannot run {program}: {error}")))?;
    if status.success() { Ok(()) } else { Err(CheckError::Bad(format!("{program}: {status}"))) }
}
