//! Every form of LISTEN and TARGET, read and printed back, and every way to get one wrong.

use super::*;
use proptest::prelude::*;

#[test]
fn listens_read_and_print_back() {
    for text in
        [":5432", "127.0.0.1:1", "[::1]:65535", "[::]:80", ":8000-8010", "localhost:80", "unix:/run/a.sock"]
    {
        assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
    }
}

#[test]
fn targets_read_and_print_back() {
    for text in [
        "db.internal:5432",
        "10.0.0.1:1",
        "[fe80::1]:22",
        "h:9000-9010",
        "unix:run/a",
        "srv+_pg._tcp.example",
    ] {
        assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
    }
}

#[test]
fn a_target_without_host_is_this_machine() {
    assert_eq!(":80".parse::<Target>().unwrap().to_string(), "127.0.0.1:80");
}

#[test]
fn mistakes_are_told_apart() {
    use AddrError as E;
    let listen = |text: &str| text.parse::<Listen>().unwrap_err();
    assert!(matches!(listen(""), E::NoPort(_)));
    assert!(matches!(listen("5432"), E::NoPort(_)));
    assert!(matches!(listen("host:"), E::NoPort(_)));
    assert!(matches!(listen(":0"), E::Port(_)));
    assert!(matches!(listen(":65536"), E::Port(_)));
    assert!(matches!(listen(":+1"), E::Port(_)));
    assert!(matches!(listen(":http"), E::Port(_)));
    assert!(matches!(listen(":1-"), E::Port(_)));
    assert!(matches!(listen(":9-8"), E::BackwardRange(_)));
    assert!(matches!(listen("::1:80"), E::Brackets(_)));
    assert!(matches!(listen("[::1]80"), E::NoPort(_)));
    assert!(matches!(listen("[nope]:80"), E::Host(_)));
    assert!(matches!(listen("256.0.0.1:80"), E::Host(_)));
    assert!(matches!(listen("a b:80"), E::Host(_)));
    assert!(matches!(listen("a..b:80"), E::Host(_)));
    assert!(matches!(listen("unix:"), E::UnixPathEmpty));
    assert!(matches!(listen(&format!("unix:/{}", "x".repeat(107))), E::UnixPathLong { bytes: 108, .. }));
}

#[test]
fn a_range_maps_one_to_one_and_a_single_port_takes_all() {
    let range: PortRange = "9000-9010".parse().unwrap();
    assert_eq!((range.at(0), range.at(10), range.count()), (9000, 9010, 11));
    assert_eq!(PortRange::single(80).unwrap().at(7), 80);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_prints_back(text in ".{0,300}") {
        if let Ok(listen) = text.parse::<Listen>() {
            prop_assert_eq!(listen.to_string().parse::<Listen>().unwrap(), listen);
        }
        if let Ok(target) = text.parse::<Target>() {
            prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
        }
    }
}
