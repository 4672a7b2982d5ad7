use super::{Method, Parsed, Reply, SocksFault, v4, v5};

/// What every prefix of `message` and what it with payload behind it come to.
fn in_pieces<T: PartialEq + std::fmt::Debug>(
    message: &[u8],
    parse: impl Fn(&[u8]) -> Result<Parsed<T>, SocksFault>,
) -> T {
    for cut in 0..message.len() {
        assert_eq!(parse(&message[..cut]), Ok(Parsed::Incomplete), "{:?}", &message[..cut]);
    }
    let behind = [message, b"payload"].concat();
    let Ok(Parsed::Complete { value, length }) = parse(&behind) else { panic!("{message:?}") };
    assert_eq!(length, message.len());
    value
}

/// The fault shows with the whole message, and no prefix of it is taken for a message.
fn faulty<T: PartialEq + std::fmt::Debug>(
    message: &[u8],
    parse: impl Fn(&[u8]) -> Result<Parsed<T>, SocksFault>,
) -> SocksFault {
    let at = (0..=message.len()).find(|cut| match parse(&message[..*cut]) {
        Ok(Parsed::Complete { value, .. }) => panic!("{value:?}"),
        result => result.is_err(),
    });
    parse(&message[..at.expect("a fault")]).unwrap_err()
}

#[test]
fn greetings_of_any_length_are_understood() {
    assert_eq!(in_pieces(&[5, 1, 0], v5::methods), v5::Methods { none: true, password: false });
    assert_eq!(in_pieces(&[5, 3, 1, 2, 0], v5::methods), v5::Methods { none: true, password: true });
    assert_eq!(in_pieces(&[5, 0], v5::methods), v5::Methods { none: false, password: false });
    let all = [&[5, 255][..], &(1..=255).collect::<Vec<u8>>()].concat();
    assert_eq!(in_pieces(&all, v5::methods), v5::Methods { none: false, password: true });
    assert_eq!(faulty(&[4, 1, 0], v5::methods), SocksFault::Version);
}

#[test]
fn logins_are_understood_and_their_passwords_not_shown() {
    let login = in_pieces(b"\x01\x05alice\x06secret", v5::login);
    assert_eq!((login.name.as_slice(), login.password.as_slice()), (&b"alice"[..], &b"secret"[..]));
    assert!(!format!("{login:?}").contains("secret"));
    let empty = in_pieces(&[1, 0, 0], v5::login);
    assert!(empty.name.is_empty() && empty.password.is_empty());
    assert_eq!(faulty(&[5, 1, b'a', 1, b'b'], v5::login), SocksFault::Version);
}

#[test]
fn requests_name_their_destination() {
    let wanted = |message: &[u8]| in_pieces(message, v5::request).to_string();
    assert_eq!(wanted(&[5, 1, 0, 1, 10, 0, 0, 1, 0, 80]), "10.0.0.1:80");
    assert_eq!(wanted(b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"), "example.com:443");
    assert_eq!(wanted(&[&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 22]].concat()), "[::1]:22");
    assert_eq!(
        wanted(b"\x05\x01\x00\x03\x0910.0.0.99\x00\x50"),
        "10.0.0.99:80",
        "an address where a name belongs"
    );
    assert_eq!(wanted(b"\x05\x01\x00\x03\x0c[2001:db8::]\x00\x50"), "[2001:db8::]:80");
}

#[test]
fn bad_requests_have_their_answers() {
    let bad: [(&[u8], SocksFault, Option<Reply>); 10] = [
        (&[4, 1, 0, 1], SocksFault::Version, None),
        (&[5, 2, 0, 1, 10, 0, 0, 1, 0, 80], SocksFault::Command, Some(Reply::Command)),
        (&[5, 3, 0, 1, 10, 0, 0, 1, 0, 80], SocksFault::Command, Some(Reply::Command)),
        (&[5, 1, 0, 2, 10, 0, 0, 1, 0, 80], SocksFault::AddressType, Some(Reply::AddressType)),
        (&[5, 1, 0, 0xff], SocksFault::AddressType, Some(Reply::AddressType)),
        (&[5, 1, 0, 1, 10, 0, 0, 1, 0, 0], SocksFault::Address, Some(Reply::General)),
        (b"\x05\x01\x00\x03\x00\x00\x50", SocksFault::Address, Some(Reply::General)),
        (b"\x05\x01\x00\x03\x03a b\x00\x50", SocksFault::Address, Some(Reply::General)),
        (b"\x05\x01\x00\x03\x05127.1\x00\x50", SocksFault::Address, Some(Reply::General)),
        (b"\x05\x01\x00\x03\x02\xff\xfe\x00\x50", SocksFault::Address, Some(Reply::General)),
    ];
    for (message, fault, reply) in bad {
        assert_eq!(faulty(message, v5::request), fault, "{message:?}");
        assert_eq!(fault.reply(), reply);
    }
    let long = [&b"\x05\x01\x00\x03\xff"[..], &[b'a'; 255], &[0, 80]].concat();
    assert_eq!(faulty(&long, v5::request), SocksFault::Address, "no label is so long");
}

#[test]
fn version_4_knows_addresses_and_names() {
    let request = in_pieces(b"\x04\x01\x00\x50\x0a\x00\x00\x01me\0", v4::request);
    assert_eq!(
        (request.destination.to_string().as_str(), request.user.as_slice()),
        ("10.0.0.1:80", &b"me"[..])
    );
    let named = in_pieces(b"\x04\x01\x01\xbb\x00\x00\x00\x07\0example.com\0", v4::request);
    assert_eq!(named.destination.to_string(), "example.com:443");
    let bad: [(&[u8], SocksFault); 6] = [
        (&[5, 1], SocksFault::Version),
        (&[4, 2, 0, 80, 10, 0, 0, 1, 0], SocksFault::Command),
        (&[4, 1, 0, 0, 10, 0, 0, 1, 0], SocksFault::Address),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01\0\0", SocksFault::Address),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01\0a b\0", SocksFault::Address),
        (&[&[4, 1, 0, 80, 10, 0, 0, 1][..], &[b'u'; 256]].concat(), SocksFault::Length),
    ];
    for (message, fault) in bad {
        assert_eq!(faulty(message, v4::request), fault, "{message:?}");
    }
}

#[test]
fn what_clients_write_servers_read() {
    for (wanted, takes_v4) in [("10.0.0.1:80", true), ("[2001:db8::1]:443", false), ("a.example:22", true)] {
        let wanted = crate::destination::Destination::parse(wanted, None).unwrap();
        let mut bytes = Vec::new();
        v5::write_request(&wanted, &mut bytes);
        assert_eq!(in_pieces(&bytes, v5::request), wanted);
        bytes.clear();
        assert_eq!(v4::write_request(&wanted, b"u", &mut bytes).is_ok(), takes_v4);
        if takes_v4 {
            assert_eq!(in_pieces(&bytes, v4::request).destination, wanted);
        }
    }
    let mut bytes = Vec::new();
    v5::write_login(b"al", b"pw", &mut bytes).unwrap();
    assert_eq!(in_pieces(&bytes, v5::login).name, b"al");
    for (name, password) in [(&b""[..], &b"x"[..]), (b"x", b""), (&[b'a'; 256], b"x")] {
        assert_eq!(v5::write_login(name, password, &mut bytes), Err(SocksFault::Length));
    }
}

#[test]
fn what_servers_write_clients_read() {
    for method in [Some(Method::None), Some(Method::Password), None] {
        let mut bytes = Vec::new();
        v5::write_method(method, &mut bytes);
        assert_eq!(in_pieces(&bytes, v5::method_chosen), method);
    }
    for bound in [None, Some("10.0.0.1:9".parse().unwrap()), Some("[::1]:9".parse().unwrap())] {
        let mut bytes = Vec::new();
        v5::write_reply(Reply::Granted, bound, &mut bytes);
        assert_eq!(in_pieces(&bytes, v5::reply), 0);
    }
    assert_eq!(in_pieces(b"\x05\x00\x00\x03\x04host\x00\x50", v5::reply), 0);
    let mut refused = Vec::new();
    v5::write_reply(Reply::Refused, None, &mut refused);
    assert!(matches!(v5::reply(&refused), Ok(Parsed::Complete { value: 5, .. })));
    let mut bytes = Vec::new();
    v4::write_reply(true, &mut bytes);
    assert_eq!(in_pieces(&bytes, v4::reply), 0x5a);
    for is_right in [true, false] {
        bytes.clear();
        v5::write_login_reply(is_right, &mut bytes);
        assert_eq!(in_pieces(&bytes, v5::login_accepted), is_right);
    }
}
