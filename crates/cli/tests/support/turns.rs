//! Tests that measure run alone; the others share the machine.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// A place on the machine, held until it is dropped; across processes, as test runners start one for each test.
pub(crate) struct Turn(#[expect(dead_code, reason = "closing it ends the turn")] File);

impl Turn {
    /// Waits until no test measures.
    pub(crate) fn shared() -> Self {
        Self::take(FlockOperation::LockShared)
    }

    /// Waits until no other test of the binary runs, and keeps others waiting.
    pub(crate) fn alone() -> Self {
        Self::take(FlockOperation::LockExclusive)
    }

    fn take(operation: FlockOperation) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("turns");
        let file = File::options().create(true).append(true).open(&path).expect("the lock of the tests");
        flock(&file, operation).expect("flock");
        Self(file)
    }
}
