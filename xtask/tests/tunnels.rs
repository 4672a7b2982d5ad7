//! Both ends of a tunnel in network namespaces, over links that lose, shape and part.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;
use serde_json::Value;

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// What arrives of a transfer of so many seconds over these links, in Mb/s behind its start: through a tunnel if there is a URL.
fn haul(links: &[&str], to: &str, url: Option<&str>) -> f64 {
    assert!(geteuid().is_root(), "this test makes network namespaces, so it needs rights: run it as root");
    let towpath = Path::new(XTASK).with_file_name("towpath");
    assert!(towpath.exists(), "build towpath first: cargo build -p towpath");
    let mut command = Command::new(XTASK);
    command.arg("wan").args(links).args(["--", XTASK, "haul", "--what", "noise", "--to", to]);
    command.args(["--seconds", "6"]);
    match url {
        Some(url) => drop(command.arg("--towpath").arg(towpath).args(["--url", url])),
        None => drop(command.args(["--congestion", "cubic"])),
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    let report: Value =
        serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
    report["settled_mbit"].as_f64().unwrap()
}

#[test]
fn a_way_that_loses_one_in_a_hundred_carries_many_times_as_much() {
    let links = ["--rate", "200mbit", "--rtt", "100ms", "--loss", "1%"];
    let straight = haul(&links, "10.77.0.2:5201", None);
    let tunnel = haul(&links, "10.77.0.2:5201", Some("towpath://10.77.0.2:7000?lanes=auto&compress=off"));
    assert!(tunnel >= 8.0 * straight, "{tunnel:.1} and {straight:.1} Mb/s");
}

#[test]
fn two_links_carry_more_than_the_better_one_could() {
    let links = ["--rtt", "50ms", "--link", "rate=10mbit", "--link", "rate=20mbit"];
    let url = "towpath://10.77.0.2:7000,10.77.1.2:7000?lanes=4&compress=off&bind=10.77.0.1,10.77.1.1";
    let both = haul(&links, "10.77.1.2:5201", Some(url));
    assert!(both > 21.0, "{both:.1} Mb/s of 10 and 20");
}
