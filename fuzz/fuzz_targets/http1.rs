//! Any bytes are HTTP/1, not yet or never, however they come, and the same of them passes a gate.

#![no_main]

#[path = "../../crates/wire/tests/invariants/mod.rs"]
#[allow(dead_code, reason = "each target has its own")]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| invariants::http1::hold(input));
