//! What backends are told, and whom we believe.

use proptest::prelude::*;

use super::*;

const BOTH: ForwardedFields = ForwardedFields { x_forwarded: true, standard: true };

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        fields.append(*name, HeaderValue::from_static(value));
    }
    fields
}

fn facts(client: &str, is_trusted: bool) -> Facts<'static> {
    let client = client.parse().ok().and_then(Told::new).map(|told| &*Box::leak(Box::new(told)));
    Facts { client, scheme: "https", host: Some("a.example"), is_trusted }
}

fn told(came: &[(&'static str, &'static str)], facts: &Facts<'_>, which: ForwardedFields) -> Vec<String> {
    let mut fields = fields(came);
    apply(&mut fields, facts, which);
    let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut told: Vec<_> = fields.iter().map(line).collect();
    told.sort();
    told
}

const LIES: [(&str, &str); 10] = [
    ("x-forwarded-for", "9.9.9.9"),
    ("x-forwarded-for", "8.8.8.8"),
    ("x-forwarded-proto", "gopher"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-port", "1"),
    ("x-forwarded-server", "evil"),
    ("x-forwarded-prefix", "//evil.example"),
    ("x-real-ip", "9.9.9.9"),
    ("x_forwarded_for", "9.9.9.9"),
    ("forwarded", "for=9.9.9.9"),
];

#[test]
fn what_a_client_says_of_itself_is_taken_out() {
    let ours = [
        "forwarded: for=10.1.2.3;host=a.example;proto=https",
        "x-forwarded-for: 10.1.2.3",
        "x-forwarded-host: a.example",
        "x-forwarded-proto: https",
    ];
    assert_eq!(told(&LIES, &facts("10.1.2.3", false), BOTH), ours);
    assert_eq!(told(&[], &facts("::ffff:10.1.2.3", false), BOTH), ours);
    let none = ForwardedFields { x_forwarded: false, standard: false };
    assert_eq!(told(&LIES, &facts("10.1.2.3", false), none), [""; 0]);
    let others = [("x-forwarded", "1"), ("x-real-ip2", "1"), ("x-forwards-for", "1")];
    assert_eq!(told(&others, &facts("10.1.2.3", false), none).len(), 3);
}

#[test]
fn ours_comes_after_what_the_trusted_say() {
    let trusted = told(&LIES, &facts("10.1.2.3", true), BOTH);
    assert_eq!(
        trusted,
        [
            "forwarded: for=9.9.9.9, for=10.1.2.3;host=a.example;proto=https",
            "x-forwarded-for: 9.9.9.9, 8.8.8.8, 10.1.2.3",
            "x-forwarded-host: evil.example",
            "x-forwarded-port: 1",
            "x-forwarded-prefix: //evil.example",
            "x-forwarded-proto: gopher",
            "x-forwarded-server: evil",
            "x-real-ip: 9.9.9.9",
        ]
    );
    assert_eq!(told(&[], &facts("10.1.2.3", true), BOTH), told(&[], &facts("10.1.2.3", false), BOTH));
    let none = ForwardedFields { x_forwarded: false, standard: false };
    assert_eq!(told(&LIES[..1], &facts("10.1.2.3", true), none), ["x-forwarded-for: 9.9.9.9"]);
}

#[test]
fn odd_clients_and_hosts_are_told_rightly_or_not_at_all() {
    let standard = ForwardedFields { x_forwarded: false, standard: true };
    let element =
        |client: &str, host| told(&[], &Facts { host, ..facts(client, false) }, standard)[0].clone();
    assert_eq!(element("2001:db8::1", None), "forwarded: for=\"[2001:db8::1]\";proto=https");
    assert_eq!(element("", Some("a:80")), "forwarded: for=unknown;host=\"a:80\";proto=https");
    assert_eq!(element("", Some("[::1]")), "forwarded: for=unknown;host=\"[::1]\";proto=https");
    assert_eq!(element("", Some("a\"\\;b")), "forwarded: for=unknown;host=\"a\\\"\\\\;b\";proto=https");
    assert_eq!(element("", Some("a\r\nb: c")), "forwarded: for=unknown;proto=https");
    assert_eq!(element("", Some("")), "forwarded: for=unknown;proto=https");
    let nobody = Facts { host: Some("a\nb"), ..facts("", false) };
    assert_eq!(
        told(&LIES, &nobody, BOTH),
        ["forwarded: for=unknown;proto=https", "x-forwarded-proto: https"]
    );
}

#[test]
fn a_client_is_the_last_whom_nobody_trusts() {
    let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap()).into();
    let find = |values: &[&'static str]| {
        let came: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
        client_told(&fields(&came), true, &trusted).map(|ip| ip.to_string())
    };
    for (values, wanted) in [
        (&["9.9.9.9"][..], Some("9.9.9.9")),
        (&["8.8.8.8, 9.9.9.9"], Some("9.9.9.9")),
        (&["8.8.8.8", "9.9.9.9 ,10.0.0.1", " , "], Some("9.9.9.9")),
        (&["8.8.8.8, 9.9.9.9:4000, [2001:db8::1]:80, [2001:db8::2]"], Some("9.9.9.9")),
        (&["10.0.0.9, ::ffff:10.0.0.1"], Some("10.0.0.9")),
        (&["9.9.9.9, unknown, 10.0.0.1"], Some("10.0.0.1")),
        (&["9.9.9.9, 10.0.0.1/8"], None),
        (&["2001:db9::1"], Some("2001:db9::1")),
        (&["_hidden"], None),
        (&[""], None),
        (&[], None),
    ] {
        assert_eq!(find(values).as_deref(), wanted, "{values:?}");
    }
    for name in ["x-forwarded-for", "forwarded"] {
        assert_eq!(client_told(&fields(&[(name, "for=9.9.9.9"), (name, "9.9.9.9")]), false, &trusted), None);
    }
}

#[test]
fn the_standard_field_tells_of_the_client_too() {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    for (value, wanted) in [
        ("for=9.9.9.9", Some("9.9.9.9")),
        ("For=8.8.8.8, proto=https; for=\"9.9.9.9:4000\";host=a, for=10.0.0.1", Some("9.9.9.9")),
        ("for=\"[2001:db8::1]:80\";by=10.0.0.1", Some("2001:db8::1")),
        ("for=9.9.9.9, for=_hidden", None),
        ("for=9.9.9.9, for=unknown, for=10.0.0.1", Some("10.0.0.1")),
        ("for=9.9.9.9, for=\"a,for=8.8.8.8", Some("8.8.8.8")),
        ("host=a", None),
    ] {
        let came = fields(&[("forwarded", value)]);
        assert_eq!(client_told(&came, true, &trusted).map(|ip| ip.to_string()).as_deref(), wanted, "{value}");
    }
    let both = fields(&[("forwarded", "for=8.8.8.8"), ("x-forwarded-for", "9.9.9.9")]);
    assert_eq!(client_told(&both, true, &[]).map(|ip| ip.to_string()).as_deref(), Some("9.9.9.9"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_host_leaves_one_element(host in any::<String>()) {
        let facts = Facts { host: Some(&host), ..facts("::1", false) };
        let mut fields = HeaderMap::new();
        apply(&mut fields, &facts, BOTH);
        let element = fields.get(FORWARDED).unwrap().to_str().unwrap().to_owned();
        let rest = element.strip_prefix("for=\"[::1]\"").unwrap().strip_suffix(";proto=https").unwrap();
        if let Some(value) = rest.strip_prefix(";host=") {
            let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let read = inner.map_or(value.to_owned(), |inner| {
                let mut read = String::new();
                let mut bytes = inner.chars();
                while let Some(letter) = bytes.next() {
                    read.push(if letter == '\\' { bytes.next().unwrap() } else { letter });
                }
                read
            });
            prop_assert_eq!(read, host);
        } else {
            prop_assert_eq!(rest, "");
        }
    }
}
