//! Any bytes are a message of SOCKS, not yet one or none, however they come.

#![no_main]

#[path = "../../crates/wire/tests/invariants/mod.rs"]
#[allow(dead_code, reason = "each target has its own")]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| invariants::socks::hold(input));
