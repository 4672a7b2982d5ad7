//! Messages of both versions and sides, however they come, and all that are none.

use std::fmt::Debug;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::destination::Destination;
use crate::steady::steady;

/// What bytes come to, with more behind them that is left alone.
fn read<T: PartialEq + Debug>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<Parsed<T>, SocksFault>,
) -> Result<T, SocksFault> {
    let more = [bytes, b"payload\x05\x01\0"].concat();
    let found = steady(&more, |input| parse(input).map(Parsed::complete))?;
    let (value, length) = found.expect("it is whole");
    assert_eq!(length, bytes.len());
    Ok(value)
}

/// Why bytes are refused, at the last of them and not before.
fn fault<T: PartialEq + Debug>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<Parsed<T>, SocksFault>,
) -> SocksFault {
    assert_eq!(parse(&bytes[..bytes.len() - 1]).map(Parsed::complete), Ok(None), "{bytes:?}: too early");
    let more = [bytes, b"payload"].concat();
    steady(&more, |input| parse(input).map(Parsed::complete)).expect_err("it is refused")
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn wanted(text: &str) -> Destination {
    Destination::parse(text, None).unwrap()
}

/// A request of version 5 for a name.
fn name(name: &[u8], port: u16) -> Vec<u8> {
    [&[5, 1, 0, 3, u8::try_from(name.len()).unwrap()], name, &port.to_be_bytes()].concat()
}

#[test]
fn greetings_name_their_methods() {
    let all: Vec<u8> = [5, 255].into_iter().chain((0..=254).rev()).collect();
    for (greeting, none, password) in [
        (&[5, 0][..], false, false),
        (&[5, 1, 0], true, false),
        (&[5, 1, 2], false, true),
        (&[5, 3, 1, 2, 0], true, true),
        (&[5, 2, 1, 0x80], false, false),
        (&all, true, true),
    ] {
        assert_eq!(read(greeting, v5::methods), Ok(v5::Methods { none, password }), "{greeting:?}");
    }
    assert_eq!(fault(&[4], v5::methods), SocksFault::Version);
}

#[test]
fn methods_are_chosen_and_understood() {
    for (method, code) in [(Some(Method::None), 0), (Some(Method::Password), 2), (None, 0xff)] {
        let bytes = written(|to| v5::write_method(method, to));
        assert_eq!(bytes, [5, code]);
        assert_eq!(read(&bytes, v5::method_chosen), Ok(method));
    }
    assert_eq!(read(&[5, 1], v5::method_chosen), Ok(None), "GSSAPI was not offered");
    assert_eq!(fault(&[0], v5::method_chosen), SocksFault::Version);
    for (with_password, none) in [(true, true), (false, true)] {
        let bytes = written(|to| v5::write_greeting(with_password, to));
        assert_eq!(read(&bytes, v5::methods), Ok(v5::Methods { none, password: with_password }));
    }
}

#[test]
fn logins_are_read_and_answered_and_do_not_show() {
    let long = [b'x'; 255];
    for (name, password) in [(&b"me"[..], &b"secret"[..]), (&long, &long), (b"\xff\0", b"\x01")] {
        let bytes = written(|to| v5::write_login(name, password, to).unwrap());
        let login = read(&bytes, v5::login).unwrap();
        assert_eq!((&login.name[..], &login.password[..]), (name, password));
    }
    let login = read(&[1, 0, 0], v5::login).unwrap();
    assert!(login.name.is_empty() && login.password.is_empty());
    let told = format!("{:?}", read(b"\x01\x02me\x06secret", v5::login).unwrap());
    assert!(told.contains("me") && !told.contains("secret") && !told.contains("115, 101"), "{told}");
    assert_eq!(fault(&[5], v5::login), SocksFault::Version);
    for (name, password) in [(&b""[..], &b"x"[..]), (b"x", b""), (&[b'x'; 256], b"x"), (b"x", &[b'x'; 256])] {
        let mut bytes = Vec::new();
        assert_eq!(v5::write_login(name, password, &mut bytes), Err(SocksFault::Length));
        assert!(bytes.is_empty());
    }
    for is_right in [true, false] {
        let bytes = written(|to| v5::write_login_reply(is_right, to));
        assert_eq!(read(&bytes, v5::login_accepted), Ok(is_right));
    }
    assert_eq!(read(&[1, 0xff], v5::login_accepted), Ok(false));
    assert_eq!(fault(&[5], v5::login_accepted), SocksFault::Version);
}

#[test]
fn requests_of_version_5_are_understood() {
    for (bytes, destination) in [
        (&b"\x05\x01\0\x01\x7f\0\0\x01\0\x50"[..], "127.0.0.1:80"),
        (b"\x05\x01\0\x01\0\0\0\0\0\x50", "0.0.0.0:80"),
        (b"\x05\x01\xff\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff", "[2001:db8::1]:65535"),
        (&name(b"example.com", 443), "example.com:443"),
        (&name(b"example.com.", 443), "example.com.:443"),
        (&name(b"192.0.2.1", 443), "192.0.2.1:443"),
        (&name(b"2001:db8::1", 443), "[2001:db8::1]:443"),
        (&name(b"[2001:db8::1]", 443), "[2001:db8::1]:443"),
        (&name(b"::ffff:127.0.0.1", 443), "[::ffff:127.0.0.1]:443"),
    ] {
        assert_eq!(read(bytes, v5::request), Ok(wanted(destination)), "{destination}");
    }
}

#[test]
fn requests_of_version_5_are_refused_as_early_as_it_shows() {
    use SocksFault::{AddressType, Command, Name, Version};
    for (bytes, expected) in [
        (&[4][..], Version),
        (b"G", Version),
        (&[5, 0], Command),
        (&[5, 2], Command),
        (&[5, 3], Command),
        (&[5, 1, 0, 0], AddressType),
        (&[5, 1, 0, 2], AddressType),
        (&[5, 1, 0, 5], AddressType),
        (&[5, 1, 0, 3, 0], Name),
        (b"\x05\x01\0\x01\x7f\0\0\x01\0\0", Name),
        (b"\x05\x01\0\x03\x01a\0\0", Name),
    ] {
        assert_eq!(fault(bytes, v5::request), expected, "{bytes:?}");
    }
    for bad in [
        &b"127.1"[..],
        b"2130706433",
        b"0x7f.1",
        b"0x7f000001",
        b"1.2.3.4.5",
        b"127.0.0.1.",
        b"[127.0.0.1]",
        b"[::1",
        b"::1]",
        b"fe80::1%eth0",
        b"a b",
        b"a\0",
        b"\xff\xfe",
        b"a..b",
        b"a:80",
        b"[]",
        b"http://a",
        &[b'a'; 64],
    ] {
        let bytes = name(bad, 80);
        assert_eq!(fault(&bytes[..bytes.len() - 2], v5::request), Name, "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn faults_have_their_replies() {
    for (fault, reply) in [
        (SocksFault::Version, None),
        (SocksFault::Command, Some(Reply::Command)),
        (SocksFault::AddressType, Some(Reply::AddressType)),
        (SocksFault::Name, Some(Reply::General)),
        (SocksFault::Length, Some(Reply::General)),
    ] {
        assert_eq!(fault.reply(), reply);
    }
}

#[test]
fn replies_of_version_5_are_read_to_their_end() {
    for bound in [None, Some("192.0.2.1:1080"), Some("[2001:db8::1]:65535")] {
        let bound: Option<SocketAddr> = bound.map(|text| text.parse().unwrap());
        let bytes = written(|to| v5::write_reply(Reply::Granted, bound, to));
        assert_eq!(bytes.len(), if bound.is_some_and(|bound| bound.is_ipv6()) { 22 } else { 10 });
        assert_eq!(read(&bytes, v5::reply), Ok(0));
    }
    assert_eq!(read(b"\x05\0\0\x03\x04host\0\x50", v5::reply), Ok(0));
    assert_eq!(read(b"\x05\0\0\x03\0\0\0", v5::reply), Ok(0));
    let refused = written(|to| v5::write_reply(Reply::Refused, None, to));
    assert_eq!(refused, [5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(&refused[..2], v5::reply), Ok(5));
    assert_eq!(fault(&[4], v5::reply), SocksFault::Version);
    assert_eq!(fault(&[5, 0, 0, 2], v5::reply), SocksFault::AddressType);
}

#[test]
fn requests_of_version_4_are_understood() {
    for (bytes, destination, user) in [
        (&b"\x04\x01\0\x50\x7f\0\0\x01\0"[..], "127.0.0.1:80", &b""[..]),
        (b"\x04\x01\0\x50\0\0\0\0me\0", "0.0.0.0:80", b"me"),
        (b"\x04\x01\0\x50\0\0\x01\x01me\0", "0.0.1.1:80", b"me"),
        (b"\x04\x01\x01\xbb\0\0\0\x01me\0example.com\0", "example.com:443", b"me"),
        (b"\x04\x01\x01\xbb\0\0\0\xff\0::1\0", "[::1]:443", b""),
        (b"\x04\x01\x01\xbb\0\0\0\xff\xfe\x00192.0.2.1\0", "192.0.2.1:443", b"\xfe"),
    ] {
        let destination = wanted(destination);
        assert_eq!(read(bytes, v4::request), Ok(v4::Request { destination, user: user.to_vec() }));
    }
    let longest = [&b"\x04\x01\0\x50\x7f\0\0\x01"[..], &[b'u'; 255], b"\0"].concat();
    assert_eq!(read(&longest, v4::request).unwrap().user.len(), 255);
}

#[test]
fn requests_of_version_4_are_refused_as_early_as_it_shows() {
    use SocksFault::{Command, Length, Name, Version};
    let long_user = [&b"\x04\x01\0\x50\x7f\0\0\x01"[..], &[b'u'; 256]].concat();
    let long_name = [&b"\x04\x01\0\x50\0\0\0\x01\0"[..], &[b'n'; 256]].concat();
    for (bytes, expected) in [
        (&[5][..], Version),
        (&[4, 2], Command),
        (&[4, 0], Command),
        (&[4, 1, 0, 0], Name),
        (&long_user, Length),
        (&long_name, Length),
        (b"\x04\x01\0\x50\0\0\0\x01\0\0", Name),
        (b"\x04\x01\0\x50\0\0\0\x01\0a b\0", Name),
        (b"\x04\x01\0\x50\0\0\0\x01\x00127.1\0", Name),
        (b"\x04\x01\0\x50\0\0\0\x01\0\xff\0", Name),
    ] {
        assert_eq!(fault(bytes, v4::request), expected, "{bytes:?}");
    }
}

#[test]
fn replies_of_version_4_have_eight_bytes() {
    for (is_granted, code) in [(true, v4::GRANTED), (false, v4::REFUSED)] {
        let bytes = written(|to| v4::write_reply(is_granted, to));
        assert_eq!(read(&bytes, v4::reply), Ok(code));
    }
    let bytes = written(|to| v4::write_code(v4::WRONG_USER, to));
    assert_eq!((bytes.len(), read(&bytes, v4::reply)), (8, Ok(0x5d)));
    assert_eq!(fault(&[4], v4::reply), SocksFault::Version);
}

#[test]
fn version_4_asks_for_what_it_has_words_for() {
    let mut bytes = Vec::new();
    for (destination, user, expected) in [
        ("[2001:db8::1]:80", &b""[..], SocksFault::AddressType),
        ("0.0.0.1:80", b"", SocksFault::Name),
        ("example.com:80", b"a\0b", SocksFault::Length),
        ("example.com:80", &[b'u'; 256], SocksFault::Length),
    ] {
        assert_eq!(v4::write_request(&wanted(destination), user, &mut bytes), Err(expected));
    }
    assert!(bytes.is_empty());
    v4::write_request(&wanted("[::ffff:192.0.2.1]:80"), b"me", &mut bytes).unwrap();
    assert_eq!(read(&bytes, v4::request).unwrap().destination, wanted("192.0.2.1:80"));
}

proptest! {
    #[test]
    fn what_a_client_writes_a_server_reads(
        text in r"[a-z]([a-z0-9-]{0,10}[a-z])?(\.[a-z]{1,20}){0,5}\.?",
        v4 in any::<[u8; 4]>(),
        v6 in any::<[u8; 16]>(),
        port in 1..=u16::MAX,
        user in prop::collection::vec(1..=u8::MAX, 0..=255),
    ) {
        let named = wanted(&format!("{text}:{port}"));
        let addressed = [Host::Ip(v4.into()), Host::Ip(v6.into())].map(|host| Destination { host, port });
        for destination in [&named, &addressed[0], &addressed[1]] {
            let bytes = written(|to| v5::write_request(destination, to));
            let read = read(&bytes, v5::request).unwrap();
            // An address of version 4 within version 6 is written as the former.
            let canonical = |destination: &Destination| match &destination.host {
                Host::Ip(ip) => Host::Ip(ip.to_canonical()),
                name => name.clone(),
            };
            prop_assert_eq!((canonical(&read), read.port), (canonical(destination), port));
        }
        let bytes = written(|to| v4::write_request(&named, &user, to).unwrap());
        prop_assert_eq!(read(&bytes, v4::request), Ok(v4::Request { destination: named, user }));
    }

    #[test]
    fn no_bytes_are_too_odd(mut bytes in prop::collection::vec(any::<u8>(), 0..300), version in prop::sample::select(&[0_u8, 1, 4, 5][..])) {
        bytes.splice(0..0, [version]);
        let _ = steady(&bytes, |input| v5::methods(input).map(Parsed::complete));
        let _ = steady(&bytes, |input| v5::login(input).map(Parsed::complete));
        let _ = steady(&bytes, |input| v5::request(input).map(Parsed::complete));
        let _ = steady(&bytes, |input| v5::reply(input).map(Parsed::complete));
        let _ = steady(&bytes, |input| v4::request(input).map(Parsed::complete));
        let _ = steady(&bytes, |input| v4::reply(input).map(Parsed::complete));
    }
}
