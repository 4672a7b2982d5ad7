//! Any first bytes are of one protocol, or can still become one, however they come.

#![no_main]

#[path = "../../crates/wire/tests/invariants/mod.rs"]
#[allow(dead_code, reason = "each target has its own")]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| invariants::sniff::hold(input));
