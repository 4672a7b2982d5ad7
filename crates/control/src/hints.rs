//! What to do about an address that cannot be bound.

use std::io;

use towpath_engine::BindError;
use towpath_sys::limits::is_exhausted;

use crate::occupant;

/// The advice for `error`, as half a sentence.
pub(crate) fn bind_hint(error: &BindError) -> String {
    match error {
        BindError::Tcp { error, .. } | BindError::Unix { error, .. } if is_exhausted(error) => {
            "raise the limit of open files (ulimit -n)".to_owned()
        }
        BindError::Tcp { address, error, .. } => match error.kind() {
            io::ErrorKind::AddrInUse => match occupant::describe(address) {
                Some(occupant) if occupant.contains(&format!("(pid {})", std::process::id())) => {
                    "this instance itself listens there until a reload is over; choose another port, or restart it"
                        .to_owned()
                }
                Some(occupant) => format!("{occupant}; stop it or choose another port"),
                None => "something listens there; stop it or choose another port".to_owned(),
            },
            io::ErrorKind::PermissionDenied => format!(
                "ports below 1024 need the capability CAP_NET_BIND_SERVICE: run as root, or \
                 `setcap cap_net_bind_service=+ep` on the towpath binary, or choose a port above {}",
                1023
            ),
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
            _ => "see the listener's `bind`".to_owned(),
        },
        BindError::Unix { error, .. } => match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there; stop it or choose another path".to_owned()
            }
            io::ErrorKind::NotFound => "its directory does not exist; make it first".to_owned(),
            io::ErrorKind::PermissionDenied => "this user may not write to its directory".to_owned(),
            _ => "see the listener's `bind`".to_owned(),
        },
        BindError::NotASocket { .. } => "remove it or choose another path".to_owned(),
        BindError::Resolve { .. } => "listen on an address instead, or on :PORT for all".to_owned(),
    }
}
