//! Any bytes are frames of a lane or not, however they come, and no frames make a session keep more than it may.

#![no_main]

#[path = "../../crates/wire/tests/invariants/mod.rs"]
#[allow(dead_code, reason = "each target has its own")]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| invariants::tunnel::hold(input));
