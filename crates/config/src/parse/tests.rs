//! Parsing: the model of small files, hostile texts, and what follows from a mistake and what must not.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use towpath_wire::addr::Listen;

use super::parse;
use crate::{
    Action, Balance, Coding, FILE_BYTES_MAX, HashKey, HttpOut, PathMatch, RequestKey, RequestRate, Rewrite,
};

const LEAST: &str = r#"
[[listener]]
name = "a"
bind = ":80"
pool = "p"

[[pool]]
name = "p"
backend = "10.0.0.1:80"
"#;

fn messages(text: &str) -> Vec<String> {
    let mistakes = parse(text, "a.toml").expect_err("it has mistakes");
    mistakes.items().iter().map(|mistake| mistake.message.clone()).collect()
}

#[test]
fn the_least_file_has_the_defaults() {
    let config = parse(LEAST, "a.toml").unwrap();
    assert_eq!(config.workers, None);
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.relay.splice_after_bytes, Some(128 << 10));
    let listener = &config.listeners[0];
    assert_eq!(listener.bind, [":80".parse::<Listen>().unwrap()]);
    assert!(std::sync::Arc::ptr_eq(&listener.pool, &config.pools[0]));
    let keepalive = listener.socket.keepalive.unwrap();
    assert_eq!(
        (keepalive.idle, keepalive.interval, keepalive.count),
        (Duration::from_secs(60), Duration::from_secs(10), 6)
    );
    assert_eq!((listener.idle_timeout, listener.socket.user_timeout), (None, None));
}

#[test]
fn routes_have_all_rules_that_hold_for_them() {
    let config = parse(include_str!("../../tests/fixtures/valid/http.toml"), "http.toml").unwrap();
    let http = config.listeners[0].http.as_ref().unwrap();
    assert!(!config.listeners[0].refuses_rest && http.trusted.len() == 1 && http.trace);
    assert_eq!((http.header_timeout, http.header_bytes_max), (Duration::from_secs(5), 8 << 10));
    assert_eq!((http.request_id.as_deref(), http.via.as_deref()), (Some("x-request-id"), Some("gate")));
    let [api, health, users, old, www] = &http.routes[..] else { panic!("{:?}", http.routes) };

    assert_eq!(api.path, PathMatch::Prefix("/api".to_owned()), "as servers read it");
    assert_eq!(api.rules.rewrite, Some(Rewrite::Prefix("/api".to_owned(), String::new())));
    let Action::Pools(pools) = &api.action else { panic!("{:?}", api.action) };
    let shares: Vec<_> = pools.iter().map(|(pool, weight)| (&*pool.name, *weight)).collect();
    assert_eq!(shares, [("api", 95), ("canary", 5)]);
    let edits: Vec<_> = api.rules.request_fields.iter().map(|edit| format!("{edit:?}")).collect();
    let wanted = [
        r#"Remove("cookie")"#,
        r#"Set("x-client", "{client}")"#,
        r#"Set("x-id", "{request_id}")"#,
        r#"Add("via-note", "a")"#,
    ];
    assert_eq!(edits, wanted);
    assert_eq!(api.rules.rate, Some(RequestRate { per_second: 0.5, burst: 5 }));
    assert_eq!((api.rules.body_bytes_max, api.rules.request_timeout), (None, None));
    assert_eq!((api.rules.allow.len(), api.rules.deny.len(), api.rules.users.len()), (1, 1, 1));

    assert_eq!((health.rules.users.len(), health.rules.rate), (0, None));
    assert_eq!(health.rules.compress, [Coding::Zstd, Coding::Brotli, Coding::Gzip]);
    assert_eq!(users.rules.users[0].name, "bob");
    assert_eq!(users.rules.rate, Some(RequestRate { per_second: 100.0, burst: 100 }));
    assert_eq!(users.rules.body_timeout, Duration::from_secs(60));
    assert_eq!(old.rules.rewrite, Some(Rewrite::Prefix("/old".to_owned(), String::new())));
    assert!(matches!(www.action, Action::Redirect { status: 308, .. }));

    let named: Vec<_> = http.pools().map(|pool| &*pool.name).collect();
    assert_eq!(named, ["api", "canary", "shadow", "api", "web"]);
    let redirect = &config.listeners[1];
    assert!(redirect.refuses_rest && redirect.pool.backends.is_empty());
}

#[test]
fn pools_say_how_they_send_requests() {
    let config = parse(include_str!("../../tests/fixtures/valid/http.toml"), "http.toml").unwrap();
    let [web, api, canary, shadow] = &config.pools[..] else { panic!("{:?}", config.pools) };
    assert_eq!(web.http, HttpOut::default());
    assert_eq!(api.http.retry_on, [(502, 502), (503, 503), (520, 599)]);
    assert!(api.http.is_h2 && (api.http.retry_budget - 0.1).abs() < 1e-9);
    assert_eq!(api.http.sticky.as_ref().map(|sticky| &*sticky.cookie), Some("towpath"));
    let keys = [&api.http.hash, &canary.http.hash, &shadow.http.hash].map(|key| key.clone().unwrap());
    let wanted =
        [RequestKey::Field("x-user".to_owned()), RequestKey::Cookie("Session".to_owned()), RequestKey::Path];
    assert_eq!(keys, wanted);
    assert!([api, canary, shadow].iter().all(|pool| pool.balance == Balance::Hash(HashKey::Request)));
}

#[test]
fn a_secret_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let text = |path: &std::path::Path| {
        LEAST.replace("bind", "mode = \"http\"\nbind")
            + &format!("sticky = {{ cookie = \"c\", secret_file = {:?} }}", path.display().to_string())
    };
    std::fs::write(&path, "0123456789abcdef\nmore").unwrap();
    let config = parse(&text(&path), "a.toml").unwrap();
    let sticky = config.pools[0].http.sticky.as_ref().unwrap();
    assert_eq!(sticky.secret.reveal(), "0123456789abcdef");
    std::fs::write(&path, "short").unwrap();
    assert!(messages(&text(&path))[0].ends_with("has no secret of at least 16 bytes"));
}

#[test]
fn values_reach_the_model() {
    let config = parse(include_str!("../../tests/fixtures/valid/full.toml"), "full.toml").unwrap();
    assert_eq!(config.workers.map(usize::from), Some(16));
    assert_eq!(config.drain_timeout, Duration::from_secs(90));
    assert_eq!(config.dns.servers.len(), 5);
    assert!(config.dns.servers.iter().all(|server| matches!(server.port(), 53 | 5353)));
    assert_eq!(config.relay.splice_after_bytes, None);
    assert_eq!((config.relay.buffer_bytes, config.relay.pipe_bytes), (16 << 20, 4096));
    let listener = &config.listeners[0];
    assert_eq!(listener.accept_rate, Some(0.5));
    assert_eq!(listener.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(listener.socket.keepalive.map(|keepalive| keepalive.count), Some(127));
    assert!(!listener.socket.nodelay);
    assert_eq!(config.pools[1].backends.len(), 2);
}

#[test]
fn what_follows_from_a_mistake_is_not_one() {
    // The only backend is unreadable: the pool is not also empty, and its listener has a pool.
    let text = LEAST.replace("10.0.0.1:80", "10.0.0.1");
    assert_eq!(messages(&text), ["`10.0.0.1` names no port"]);
    // The name of the pool is unreadable: its listener does not also name an unknown one.
    let text = LEAST.replace("[[pool]]\nname = \"p\"", "[[pool]]\nname = \"p!\"");
    assert_eq!(messages(&text), ["the name `p!` has a `!` in it"]);
    // The table of the pool is misspelt.
    assert_eq!(messages(&LEAST.replace("[[pool]]", "[[pol]]")), ["unknown key `pol`"]);
    // The header of the pool is torn.
    assert_eq!(messages(&LEAST.replace("[[pool]]", "[[pool]")), ["this table header is not closed"]);
    // The line of a required key is torn.
    assert_eq!(messages(&LEAST.replace("bind = \":80\"", "bind \":80\"")), ["this key has no value"]);
}

#[test]
fn a_torn_line_hides_only_what_it_must() {
    let text =
        LEAST.replace("pool = \"p\"", "pool = \"q\"") + "balance = round_robin\n[[listener]]\nname = \"b\"\n";
    let expected = [
        "there is no pool named `q`",
        "this string has no quotes",
        "this [[listener]] has no `bind`",
        "this [[listener]] has no `pool`",
    ];
    assert_eq!(messages(&text), expected);
}

#[test]
fn lines_and_columns_count_characters() {
    let mistakes = parse("\u{feff}# é\r\n\tlog = { \"ü\" = 1, format = \"x\" }\r\n", "a.toml").unwrap_err();
    let places: Vec<_> = mistakes.items().iter().map(|item| (item.line, item.column)).collect();
    assert_eq!(places, [(0, 0), (2, 10), (2, 28)]);
}

#[test]
fn the_report_is_bounded() {
    let text = (0..5000).map(|key| format!("k{key} = 1\n")).collect::<String>();
    let mistakes = parse(&text, "a.toml").unwrap_err();
    assert_eq!(mistakes.items().len(), 50);
    assert!(mistakes.more() > 0);
    assert!(mistakes.to_string().contains("more"));
    assert!(mistakes.render(false).contains("or more; the first 50 are shown"));
}

#[test]
fn hostile_texts_give_mistakes_in_time() {
    // Without optimisation the parser alone would need seconds for the largest.
    let bytes = if cfg!(debug_assertions) { FILE_BYTES_MAX / 16 } else { FILE_BYTES_MAX } - 32;
    let mib = |pattern: &str| pattern.repeat(bytes / pattern.len());
    let with = |start: &str, pattern: &str| format!("{start}{}", mib(pattern));
    let texts = [
        mib("["),
        mib("]"),
        mib("="),
        mib("\""),
        mib("\0"),
        mib("\r"),
        mib("a."),
        mib("a = 1\n"),
        mib("[a]\n"),
        with("a=", "["),
        with("a=", "{"),
        with("a=[", ","),
        with("listener=[", "{},") + "]",
        with("listener=[", "[],"),
        with("a=[\"a\"\n", "b=[1,2]\n"),
        with("a={b=1\n", "b=1\n"),
        with("a='''", "b\n"),
        with("[[listener]]\nbind=[", "\":80\","),
    ];
    for text in texts {
        let start = Instant::now();
        let mistakes = parse(&text, "a.toml").expect_err("it has mistakes");
        assert!(mistakes.render(true).len() < 100_000);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?} for {:?}…", start.elapsed(), &text[..20]);
    }
}

#[test]
fn a_text_beyond_the_limit_is_not_parsed() {
    assert!(messages(&"#".repeat(FILE_BYTES_MAX))[0].contains("no [[listener]]"));
    assert!(messages(&"#".repeat(FILE_BYTES_MAX + 1))[0].contains("more than the limit"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        if let Err(mistakes) = parse(&text, "a.toml") {
            mistakes.render(true);
        }
    }

    /// Real files with pieces cut out, doubled or exchanged.
    #[test]
    fn no_damage_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..40_usize, "[\\[\\]{}=\",.\n# a1:é'\\\\-]{0,6}"), 1..8),
    ) {
        let mut text = include_str!("../../tests/fixtures/valid/full.toml").to_owned();
        for (at, cut, new) in edits {
            let start = crate::error::boundary(&text, at.index(text.len()));
            let end = crate::error::boundary(&text, start + cut).max(start);
            text.replace_range(start..end, &new);
        }
        if let Err(mistakes) = parse(&text, "a.toml") {
            prop_assert!(!mistakes.items().is_empty());
            mistakes.render(false);
        }
    }
}
