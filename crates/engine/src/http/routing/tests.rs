//! Routes, paths and lots.

use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use towpath_config::{Action, ForwardedFields, HostPattern, Pattern, RecordFormat};

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern { regex: text.parse().unwrap() }
}

fn any() -> HttpRoute {
    HttpRoute {
        hosts: Vec::new(),
        path: PathMatch::Any,
        methods: Vec::new(),
        fields: Vec::new(),
        action: Action::Pools(Vec::new()),
        rules: Rules::default(),
    }
}

fn http(routes: Vec<HttpRoute>) -> Http {
    Http {
        routes,
        rules: Rules::default(),
        trusted: Vec::new(),
        forwarded: ForwardedFields { x_forwarded: true, standard: true },
        via: None,
        header_timeout: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(75),
        header_bytes_max: 32 * 1024,
        request_id: None,
        trace: false,
        record_format: RecordFormat::Own,
    }
}

fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    let mut fields = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        fields.append(name, value);
    }
    fields
}

fn has(route: HttpRoute, method: &str, host: &str, path: &str, pairs: &[(&str, &str)]) -> bool {
    let http = http(vec![route]);
    find(&http, &method.parse().unwrap(), host, path, &fields(pairs)).is_some()
}

#[test]
fn a_prefix_ends_where_a_segment_does() {
    let has = |prefix: &str, path: &str| {
        has(HttpRoute { path: PathMatch::Prefix(prefix.to_owned()), ..any() }, "GET", "h", path, &[])
    };
    for path in ["/api", "/api/", "/api/x", "/api//x"] {
        assert!(has("/api", path), "{path}");
    }
    for path in ["/", "/apix", "/ap", "/API", "/x/api", "*", ""] {
        assert!(!has("/api", path), "{path}");
    }
    assert_eq!(
        ["/api", "/api/", "/api/x", "/apix"].map(|path| has("/api/", path)),
        [false, true, true, false]
    );
    assert_eq!(["/", "/x", "*"].map(|path| has("/", path)), [true, true, false]);
}

#[test]
fn each_condition_counts() {
    let exact = HttpRoute { path: PathMatch::Exact("/a".to_owned()), ..any() };
    assert!(has(exact.clone(), "GET", "h", "/a", &[]));
    assert!(!has(exact, "GET", "h", "/a/", &[]));
    let odd = HttpRoute { path: PathMatch::Pattern(pattern(r"^/u/\d+$")), ..any() };
    assert!(has(odd.clone(), "GET", "h", "/u/12", &[]));
    assert!(!has(odd, "GET", "h", "/u/x", &[]));
    let hosts = vec![HostPattern::Exact("a.example".to_owned()), HostPattern::Below(".b.example".to_owned())];
    let hosts = HttpRoute { hosts, ..any() };
    let has_host = |host| has(hosts.clone(), "GET", host, "/", &[]);
    assert_eq!(["a.example", "x.b.example", "b.example", ""].map(has_host), [true, true, false, false]);
    let post = HttpRoute { methods: vec!["POST".to_owned(), "PURGE".to_owned()], ..any() };
    let has_method = |method| has(post.clone(), method, "h", "/", &[]);
    assert_eq!(["POST", "PURGE", "GET", "post"].map(has_method), [true, true, false, false]);
}

#[test]
fn all_fields_must_be_there_in_one_value_each() {
    let wanted =
        |name: &str, value: Option<&str>| FieldMatch { name: name.to_owned(), value: value.map(pattern) };
    let route = HttpRoute { fields: vec![wanted("x-a", None), wanted("x-b", Some("^(1|2)$"))], ..any() };
    let has = |pairs: &[(&str, &str)]| has(route.clone(), "GET", "h", "/", pairs);
    assert!(has(&[("x-a", ""), ("x-b", "2")]));
    assert!(has(&[("x-a", "é"), ("x-b", "3"), ("x-b", "1")]));
    assert!(!has(&[("x-a", "")]));
    assert!(!has(&[("x-b", "1")]));
    assert!(!has(&[("x-a", ""), ("x-b", "12")]));
    let mut bytes = fields(&[("x-a", "")]);
    bytes.insert("x-b", HeaderValue::from_bytes(b"\xff").unwrap());
    assert!(find(&http(vec![route]), &Method::GET, "h", "/", &bytes).is_none());
}

#[test]
fn the_first_that_fits_decides() {
    let prefix = |prefix: &str| HttpRoute { path: PathMatch::Prefix(prefix.to_owned()), ..any() };
    let http = http(vec![prefix("/a/b"), prefix("/a"), prefix("/a/c")]);
    let at = |path: &str| {
        let found = find(&http, &Method::GET, "h", path, &HeaderMap::new());
        found.map(|(place, _)| place)
    };
    assert_eq!(["/a/b", "/a/c", "/b"].map(at), [Some(0), Some(1), None]);
}

#[test]
fn paths_of_two_meanings_are_not_written_anew() {
    let alike = |rewrite: Rewrite, path: &str| {
        let rules = Rules { rewrite: Some(rewrite), ..Rules::default() };
        is_rewritten_alike(&rules, path, &path::plain(path).unwrap())
    };
    let api = || Rewrite::Prefix("/api".to_owned(), String::new());
    for path in [
        "/api/x",
        "/api//x",
        "/api/a;id=1/b",
        "/api/%61",
        "/api/a%2fb",
        "/api/x/../y",
        "/x//y",
        "/api/%c3%a9",
    ] {
        assert!(alike(api(), path), "{path}");
    }
    for path in ["/%61pi/x", "//api/x", "/api;x/y", "/x/../api/y", "/api/../x", "/api/x/../../api/y"] {
        assert!(!alike(api(), path), "{path}");
    }
    let pattern = || Rewrite::Pattern(pattern("^/api"), String::new());
    assert_eq!(["/api/x", "/api/%c3%a9", "/api//x"].map(|path| alike(pattern(), path)), [true, true, false]);
}

fn prefix(old: &str, new: &str, path: &str) -> Option<String> {
    let rewrite = Some(Rewrite::Prefix(old.to_owned(), new.to_owned()));
    rewrite_by(rewrite, path)
}

fn rewrite_by(rewrite: Option<Rewrite>, path: &str) -> Option<String> {
    super::rewrite(&Rules { rewrite, ..Rules::default() }, path)
}

#[test]
fn prefixes_are_stripped_and_replaced() {
    for (old, new, path, wanted) in [
        ("/api", "", "/api/x?y=/api", Some("/x?y=/api")),
        ("/api", "", "/api", Some("/")),
        ("/api", "", "/api?x", Some("/?x")),
        ("/api", "", "/apix", None),
        ("/api", "/v2", "/api/x", Some("/v2/x")),
        ("/api", "/v2/", "/api/x", Some("/v2/x")),
        ("/api/", "/", "/api/x", Some("/x")),
        ("/api/", "", "/api/x", Some("/x")),
        ("/api/", "/v2", "/api/x", Some("/v2/x")),
        ("/api/", "/v2", "/api/", Some("/v2")),
        ("/", "/v2", "/x", Some("/v2/x")),
        ("/", "/v2/", "/x", Some("/v2/x")),
        ("/api", "v2", "/api/x", Some("/v2/x")),
        ("/api", "", "/api//evil.example/", Some("/evil.example/")),
        ("/api", "/a b", "/api/é?é", Some("/a%20b/%C3%A9?é")),
        ("/api", "", "/api/%2fx%", Some("/%2fx%")),
        ("/", "/v2", "*", None),
    ] {
        assert_eq!(prefix(old, new, path).as_deref(), wanted, "{old} -> {new} in {path}");
    }
    assert_eq!(rewrite_by(None, "/api"), None);
}

#[test]
fn patterns_put_groups_in_place() {
    let by = |old: &str, new: &str, path: &str| {
        rewrite_by(Some(Rewrite::Pattern(pattern(old), new.to_owned())), path)
    };
    for (old, new, path, wanted) in [
        (r"^/u/(\d+)/(.*)$", "/$2/of/${1}", "/u/7/mail?a=b", Some("/mail/of/7?a=b")),
        ("a", "b", "/a/a", Some("/b/a")),
        ("x", "y", "/a?x", None),
        ("^/(.*)$", "$1", "/a", Some("/a")),
        ("^.*$", "", "/a?q", Some("/?q")),
        (r"^/u/(\d+)$", "/u?id=$1", "/u/7?a=b", Some("/u?id=7&a=b")),
        (r"^/u/(\d+)$", "/u?", "/u/7?a=b", Some("/u?a=b")),
        ("^/x", "/\r\nSet-Cookie: a#\u{0}", "/x", Some("/%0D%0ASet-Cookie:%20a%23%00")),
    ] {
        assert_eq!(by(old, new, path).as_deref(), wanted, "{old} -> {new} in {path}");
    }
}

#[test]
fn pools_get_their_shares() {
    let text =
        ["a", "b", "c"].map(|name| format!("[[pool]]\nname = '{name}'\nbackend = '127.0.0.1:1'\n")).concat();
    let text = format!("[[listener]]\nname = 'l'\nbind = '127.0.0.1:2'\npool = 'a'\n{text}");
    let config = towpath_config::parse(&text, "test").unwrap();
    let weighted =
        |weights: &[u32]| config.pools.iter().cloned().zip(weights.iter().copied()).collect::<Vec<_>>();
    let shares = |weights: &[u32]| {
        let pools = weighted(weights);
        let mut shares = vec![0; pools.len()];
        for lot in (0..1000).map(|lot| lot * (u32::MAX / 1000) + 2_000_000) {
            let chosen = choose(&pools, lot).unwrap();
            shares[pools.iter().position(|(pool, _)| pool.name == chosen.name).unwrap()] += 1;
        }
        shares
    };
    assert_eq!(shares(&[9, 1]), [900, 100]);
    assert_eq!(shares(&[0, 1, 1]), [0, 500, 500]);
    assert_eq!(shares(&[u32::MAX, u32::MAX]), [500, 500]);
    assert_eq!(shares(&[0, 0]), [1000, 0]);
    assert_eq!(choose(&weighted(&[1, 1, 0]), u32::MAX).unwrap().name.as_ref(), "b");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_rules_a_path_comes_out(
        old in "/[a-b/]{0,3}", new in "\\PC{0,6}|[/?\\\\\r\n]{0,4}", path in "/[a-b/%.]{0,9}(\\?[a-b?/]{0,4})?",
    ) {
        let old = pattern(&format!("^{old}"));
        for rewrite in [
            Rewrite::Prefix(old.regex.as_str()[1..].to_owned(), new.clone()),
            Rewrite::Pattern(old, new.replace('$', "$$")),
        ] {
            if let Some(new) = rewrite_by(Some(rewrite), &path) {
                prop_assert!(new.starts_with('/') && !new.starts_with("//"), "{new:?}");
                prop_assert!(new.bytes().all(|byte| byte.is_ascii_graphic()), "{new:?}");
                let uri: Uri = new.parse().unwrap();
                prop_assert_eq!(uri.path_and_query().unwrap().as_str(), &new);
                if let Some((_, query)) = path.split_once('?') {
                    prop_assert!(new.ends_with(query), "{new:?}");
                }
            }
        }
    }
}
