//! Other processes.

use rustix::process::{Pid, Signal, kill_process_group};

/// Kills all processes of the group whose leader has, or had, this id. A group that is gone is none.
pub fn kill_group(leader: u32) {
    if let Some(leader) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(leader, Signal::KILL);
    }
}
