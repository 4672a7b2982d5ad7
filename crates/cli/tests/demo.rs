//! `towpath demo` loses no request while its backends stop and come back.

use std::process::{Command, Output};

/// The first number of the line of the summary that starts with `name`.
fn figure(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let whole = value.map(|value| value.trim_start().replace(',', ""));
    let digits = whole.map(|whole| whole.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number of {name} in\n{text}"))
}

#[test]
fn no_request_fails_while_backends_stop_and_come_back() {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_towpath")).args(["demo", "--seconds", "8"]).output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&stderr));
    assert_eq!(figure(&text, "requests failed"), 0, "{text}");
    assert!(figure(&text, "backend stops") >= 2, "{text}");
    for backend in ["backend 1", "backend 2", "backend 3"] {
        assert!(figure(&text, backend) > 0, "{text}");
    }
    assert!(!text.contains('\x1b'), "escape codes in a pipe: {text:?}");
    assert!(text.lines().filter(|line| line.contains("] ")).count() >= 5, "no line a second: {text}");
}
