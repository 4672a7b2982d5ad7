//! Any text is a destination or none, and what is one prints back as itself.

#![no_main]

#[path = "../../crates/wire/tests/invariants/mod.rs"]
#[allow(dead_code, reason = "each target has its own")]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| invariants::destination::hold(input));
