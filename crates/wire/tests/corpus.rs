//! Plays what the fuzzer is started with, and what it once found, without the fuzzer.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod invariants;

use std::fs;
use std::path::Path;

use invariants::{client_hello, destination, http1, sniff, socks, tunnel};

/// Holds all files of a corpus against what must be so.
fn play(name: &str, hold: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        hold(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count >= 12, "the corpus {name} is gone");
}

#[test]
fn client_hellos_are_read_however_they_come() {
    play("client_hello", client_hello::hold);
}

#[test]
fn destinations_print_back() {
    play("destination", destination::hold);
}

#[test]
fn requests_pass_however_they_come() {
    play("http1", http1::hold);
}

#[test]
fn messages_of_socks_are_read_however_they_come() {
    play("socks", socks::hold);
}

#[test]
fn protocols_are_told_however_they_come() {
    play("sniff", sniff::hold);
}

#[test]
fn frames_of_tunnels_are_read_however_they_come() {
    play("tunnel", tunnel::hold);
}
