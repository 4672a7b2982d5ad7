//! Cookies come back and lead to the same backend.

use proptest::prelude::*;
use towpath_config::Secret;

use super::*;

fn key(secret: &str) -> StickyKey {
    named("tp", secret)
}

fn named(name: &str, secret: &str) -> StickyKey {
    StickyKey::new(&Sticky { cookie: name.to_owned(), secret: Secret::new(secret), max_age: None })
}

fn fields(values: &[&str]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for value in values {
        fields.append(COOKIE, HeaderValue::from_str(value).unwrap());
    }
    fields
}

fn left(fields: &HeaderMap) -> Vec<String> {
    let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec()).unwrap();
    fields.get_all(COOKIE).into_iter().map(text).collect()
}

/// The `name=value` of what is set.
fn pair(key: &StickyKey, target: &str) -> String {
    let set = key.write(&key.tag(target), false).unwrap();
    set.to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn a_cookie_comes_back_and_fits_its_backend_alone() {
    let (before, after) = (key("s"), key("s"));
    let tag =
        after.read(&fields(&["a=b; c", &format!("d=;{} ; e=f", pair(&before, "10.0.0.1:80"))])).unwrap();
    assert!(tag.is(&after.tag("10.0.0.1:80")), "another process with the same secret knows it");
    for other in [
        after.tag("10.0.0.2:80"),
        after.tag(""),
        key("t").tag("10.0.0.1:80"),
        named("tq", "s").tag("10.0.0.1:80"),
    ] {
        assert!(!tag.is(&other));
    }
}

#[test]
fn its_value_never_changes_and_tells_nothing() {
    // HMAC-SHA-256 with the key "s" of "tp", a zero and "10.0.0.1:80", by another library.
    assert_eq!(pair(&key("s"), "10.0.0.1:80"), "tp=JtfcUWCCCAlHxGTw50muxA");
}

#[test]
fn its_attributes_are_those_of_a_session() {
    let mut key = key("s");
    let write = |key: &StickyKey, is_https| {
        let value = key.write(&key.tag("a"), is_https).unwrap();
        value.to_str().unwrap().split_once(';').unwrap().1.to_owned()
    };
    assert_eq!(write(&key, false), " Path=/; HttpOnly; SameSite=Lax");
    key.max_age = Some(Duration::from_secs(90));
    assert_eq!(write(&key, true), " Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=90");
    key.max_age = Some(Duration::from_millis(1));
    assert_eq!(write(&key, false), " Path=/; HttpOnly; SameSite=Lax; Max-Age=1");
    assert!(named("a\n", "s").write(&key.tag("a"), false).is_none());
}

#[test]
fn what_cannot_be_ours_is_passed_over() {
    let key = key("s");
    let ours = pair(&key, "a");
    let find = |values: &[&str]| key.read(&fields(values)).map(|tag| tag.is(&key.tag("a")));
    let found = format!("tp=; tp=\"x\"; tp; TP=x; xtp=1; tp={}; {ours}; tp=x", "-".repeat(22));
    assert_eq!(find(&[&found]), Some(true), "a last digit with bits to spare is not valid");
    assert_eq!(
        find(&[&format!("tp={}A; {ours}", "A".repeat(21))]),
        Some(false),
        "it may be of another process"
    );
    for none in ["", "tp", "tp=", "tp=AAAA", "sid=1; tq=2", &format!("{ours}A"), &format!("TP{}", &ours[2..])]
    {
        assert_eq!(find(&[none]), None, "{none}");
    }
}

#[test]
fn cookies_are_found_by_name() {
    let all = fields(&["a=1; b=\"2\";c= 3=4 ; =5", "a=6; d", "A=7"]);
    let find = |name: &str| cookie(&all, name).map(|value| str::from_utf8(value).unwrap());
    assert_eq!(
        ["a", "b", "c", "d", "A", "e", ""].map(find),
        [Some("1"), Some("\"2\""), Some("3=4"), None, Some("7"), None, Some("5")]
    );
}

#[test]
fn ours_is_taken_out_and_others_stay() {
    for (came, wanted) in [
        (&["tp=1"][..], &[][..]),
        (&["tp=1; tp=2;"], &[]),
        (&["a=1; tp=2; b=3"], &["a=1; b=3"]),
        (&["a=1;tp=2", "b=tp=3;  c", "tp=4"], &["a=1", "b=tp=3;  c"]),
        (&["TP=1; xtp=2; tpx=3; tp"], &["TP=1; xtp=2; tpx=3; tp"]),
        (&["é=1; tp=2"], &["é=1"]),
        (&[], &[]),
    ] {
        let mut fields = fields(came);
        strip(&mut fields, "tp");
        assert_eq!(left(&fields), wanted, "{came:?}");
    }
}

#[test]
fn crumbs_become_one_field() {
    for (came, wanted) in
        [(&["a=1", "b=2; c=3", "d"][..], &["a=1; b=2; c=3; d"][..]), (&["a=1"], &["a=1"]), (&[], &[])]
    {
        let mut fields = fields(came);
        join(&mut fields);
        assert_eq!(left(&fields), wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_ours_is_left_and_nothing_else_is_lost(values in prop::collection::vec("((tp|tq|a|)(=[a-b= ]{0,3})?;? ?){0,4}", 0..3)) {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let mut fields = fields(&values);
        strip(&mut fields, "tp");
        prop_assert!(cookie(&fields, "tp").is_none());
        let split = |value: &str| value.split(';').map(|crumb| crumb.trim().to_owned()).collect::<Vec<_>>();
        let of_others = |crumb: &String| !crumb.is_empty() && crumb.split_once('=').is_none_or(|(name, _)| name.trim() != "tp");
        let before: Vec<_> = values.iter().flat_map(|value| split(value)).filter(of_others).collect();
        let after: Vec<_> = left(&fields).iter().flat_map(|value| split(value)).filter(|crumb| !crumb.is_empty()).collect();
        prop_assert_eq!(before, after);
    }
}
