//! Arrows that are allowed, and arrows that must be found.

use super::super::sample;
use super::*;

fn dependencies(list: &[(&str, &str)]) -> Vec<Dependency> {
    let parse = |(name, kind): &(&str, &str)| {
        let kind = if *kind == "normal" { "null".to_owned() } else { format!("\"{kind}\"") };
        let text = format!(
            r#"{{"name":"{name}","req":"*","kind":{kind},"optional":false,
                "uses_default_features":true,"features":[]}}"#
        );
        serde_json::from_str(&text).expect("a dependency as cargo metadata prints it")
    };
    list.iter().map(parse).collect()
}

fn wrong(name: &str, list: &[(&str, &str)]) -> Vec<String> {
    wrong_arrows(name, &dependencies(list)).into_iter().map(|(name, _)| name).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn crates_know_only_those_below() {
    assert_eq!(wrong("towpath", &[("towpath-control", "normal"), ("towpath-engine", "normal")]), NONE);
    assert_eq!(wrong("towpath-engine", &[("towpath-sys", "normal"), ("tokio", "normal")]), NONE);
    assert_eq!(wrong("towpath-config", &[("towpath-engine", "normal")]), ["towpath-engine"]);
    assert_eq!(wrong("towpath-wire", &[("towpath-sys", "normal")]), ["towpath-sys"]);
    assert_eq!(wrong("towpath-sys", &[("towpath-wire", "dev")]), ["towpath-wire"]);
    assert_eq!(wrong("towpath-extra", &[]), ["name"]);
}

#[test]
fn crates_keep_what_they_promise() {
    assert_eq!(wrong("towpath-wire", &[("tokio", "normal"), ("thiserror", "normal")]), ["tokio"]);
    assert_eq!(wrong("towpath-wire", &[("fastrand", "dev")]), NONE);
    assert_eq!(wrong("towpath-engine", &[("serde", "normal"), ("axum", "build")]), ["serde", "axum"]);
    assert_eq!(wrong("towpath-control", &[("serde", "normal"), ("axum", "normal")]), NONE);
}

fn stage_sample(file: &str, text: &str) -> usize {
    sample(&format!("crates/engine/src/{file}"), text, stages).len()
}

#[test]
fn stages_do_not_know_each_other() {
    let bad = [
        "use crate::relay::Relay;",
        "use crate::{flow::Flow, relay};",
        "fn f() { crate::relay::run() }",
        "fn f(_: &crate::relay::Relay) {}",
        "fn f() { select! { _ = crate::relay::run() => {} } }",
        "fn f() { record!(by: crate::relay::NAME) }",
        "use super::relay;",
        "mod inner { use super::super::relay; }",
        "use crate::conn::Conn;",
    ];
    for text in bad {
        assert_eq!(stage_sample("inbound/mod.rs", text), 1, "{text}");
    }
    let good = [
        "use crate::{flow::Flow, error, worker::Worker};\nuse crate::inbound::socks5;",
        "use super::sniff;\nuse relay::Relay;\nuse towpath_wire::tunnel;",
        "#[cfg(test)]\nmod tests { use crate::relay; }",
    ];
    for text in good {
        assert_eq!(stage_sample("inbound/socks5.rs", text), 0, "{text}");
    }
    assert_eq!(stage_sample("inbound/tests.rs", bad[0]), 0);
}

#[test]
fn only_the_stories_join_stages() {
    let two = "use crate::{inbound, relay};";
    for file in ["conn.rs", "http/mod.rs", "lib.rs", "worker.rs", "listen/accept.rs"] {
        assert_eq!(stage_sample(file, two), 0, "{file}");
    }
    assert_eq!(stage_sample("http/body.rs", two), 1);
    assert_eq!(stage_sample("http/body.rs", "use crate::relay;"), 0);
    assert_eq!(stage_sample("flow.rs", two), 1);
    assert_eq!(stage_sample("flow.rs", "use crate::{error, relay, relay::Side};"), 0);
}

#[test]
fn other_crates_have_no_stages() {
    assert_eq!(sample("crates/control/src/admin.rs", "use crate::{inbound, relay};", stages), NONE);
}
