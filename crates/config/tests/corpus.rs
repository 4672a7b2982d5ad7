//! Plays what the fuzzer is started with, and what it once found, without the fuzzer.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use towpath_wire::addr::{Listen, Target};

fn corpus(name: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let texts: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()).into_owned())
        .collect();
    assert!(texts.len() >= 5, "the corpus {name} is gone");
    texts
}

#[test]
fn addresses_are_read_or_refused_and_print_back() {
    for text in corpus("addr") {
        if let Ok(listen) = text.parse::<Listen>() {
            assert_eq!(listen.to_string().parse::<Listen>().unwrap(), listen);
        }
        if let Ok(target) = text.parse::<Target>() {
            assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
        }
    }
}

#[test]
fn files_are_read_or_their_mistakes_can_be_shown() {
    for text in corpus("config") {
        if let Err(mistakes) = towpath_config::parse(&text, "corpus") {
            assert!(!mistakes.items().is_empty());
            assert!(!mistakes.render(false).is_empty());
        }
    }
}
