//! Any first bytes are of one protocol, or can still become one, however they come.

use towpath_wire::sniff::{Sniffed, sniff};

/// Panics when something does not hold for `input`.
pub(crate) fn hold(input: &[u8]) {
    let whole = sniff(input);
    for cut in 0..input.len().min(2048) {
        let part = sniff(&input[..cut]);
        assert!(part == Sniffed::Incomplete || part == whole, "{part:?} and then {whole:?}");
    }
}
