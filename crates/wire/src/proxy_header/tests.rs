//! Headers that are taken, and all that are not.

use proptest::prelude::*;

use super::*;

const ANY: Accepted = Accepted { v1: true, v2: true };

fn whole(input: &[u8]) -> Result<(Header, usize), Option<HeaderError>> {
    match parse(input, ANY) {
        Ok(Parsed::Complete { header, length }) => Ok((header, length)),
        Ok(Parsed::Incomplete) => Err(None),
        Err(error) => Err(Some(error)),
    }
}

fn refused(input: &[u8]) -> HeaderError {
    whole(input).expect_err("it is bad").expect("it is not only incomplete")
}

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A header of version 2 with these bytes behind the signature, and more of them than its length says.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, body].concat()
}

#[test]
fn lines_are_understood() {
    let (header, length) = whole(b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\r\nGET /").unwrap();
    assert_eq!(header.addresses, Some(addresses("192.0.2.1:4000", "192.0.2.2:443")));
    assert_eq!(length, 41);
    let (header, _) = whole(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n").unwrap();
    assert_eq!(header.addresses, Some(addresses("[2001:db8::1]:1", "[::1]:65535")));
    assert_eq!(whole(b"PROXY UNKNOWN what ever this is\r\n").unwrap().0, Header::default());
}

#[test]
fn bad_lines_are_refused() {
    use HeaderError::*;
    for (line, error) in [
        (&b"GET / HTTP/1.1\r\n"[..], Signature),
        (b"PROXYTCP4", Signature),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\n", Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\rX", Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 65536\r\n", Port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 +4000 443\r\n", Port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 04000 443\r\n", Port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n", Port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.256 4000 443\r\n", Address),
        (b"PROXY TCP4 192.0.2.01 192.0.2.2 4000 443\r\n", Address),
        (b"PROXY TCP4 ::1 ::1 4000 443\r\n", Address),
        (b"PROXY TCP6 192.0.2.1 192.0.2.2 4000 443\r\n", Address),
        (b"PROXY TCP4  192.0.2.1 192.0.2.2 4000 443\r\n", Words),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 4000\r\n", Words),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443 \r\n", Words),
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 4000 443\r\n", Words),
        (b"PROXY \xff\xfe\r\n", Words),
        (&[b'P', b'R', b'O', b'X', b'Y', b' '].iter().copied().chain([b'x'; 200]).collect::<Vec<_>>(), Line),
    ] {
        assert_eq!(refused(line), error, "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn versions_that_are_not_taken_are_refused_at_the_first_byte() {
    assert_eq!(parse(b"P", Accepted { v1: false, v2: true }), Err(HeaderError::Signature));
    assert_eq!(parse(b"\r", Accepted { v1: true, v2: false }), Err(HeaderError::Signature));
    assert_eq!(parse(b"\r", ANY), Ok(Parsed::Incomplete));
    assert_eq!(parse(b"", ANY), Ok(Parsed::Incomplete));
}

#[test]
fn bad_binary_headers_are_refused() {
    use HeaderError::*;
    let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 15, 160, 1, 187];
    let with = |tlvs: &[u8]| [&v4[..], tlvs].concat();
    for (header, error) in [
        (v2(0x31, 0x11, &v4), Command),
        (v2(0x22, 0x11, &v4), Command),
        (v2(0x21, 0x12, &v4), Family),
        (v2(0x21, 0x41, &v4), Family),
        (v2(0x21, 0x11, &v4[..11]), Length),
        (v2(0x21, 0x21, &v4), Length),
        (v2(0x21, 0x11, &[0; 4081]), Length),
        (v2(0x21, 0x11, &with(&[1, 0])), Tlv),
        (v2(0x21, 0x11, &with(&[1, 0, 2, 0])), Tlv),
        (v2(0x21, 0x11, &with(&[2, 0, 1, 0xff])), Tlv),
        (v2(0x21, 0x11, &with(&[3, 0, 3, 0, 0, 0])), Tlv),
        (v2(0x21, 0x11, &with(&[3, 0, 4, 1, 2, 3, 4])), Checksum),
        (v2(0x21, 0x11, &with(&[0x20, 0, 4, 0, 0, 0, 0])), Tlv),
        (v2(0x21, 0x11, &with(&[0x20, 0, 8, 0, 0, 0, 0, 0, 0x21, 0, 9])), Tlv),
    ] {
        assert_eq!(refused(&header), error, "{header:?}");
    }
    assert_eq!(whole(&v2(0x20, 0x11, &[])).unwrap().0, Header::default(), "LOCAL without addresses");
    assert_eq!(whole(&v2(0x20, 0x11, &v4)).unwrap().0, Header::default(), "LOCAL with addresses");
    assert_eq!(whole(&v2(0x21, 0x00, &[4, 0, 0])).unwrap().0, Header::default(), "UNSPEC with a NOOP");
    assert_eq!(whole(&v2(0x21, 0x31, &[0; 216])).unwrap().0.addresses, None, "unix sockets");
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_byte_by_byte(
        source in any_address(),
        destination in any_address(),
        name in "[a-z.]{0,40}",
        id in prop::collection::vec(any::<u8>(), 0..128),
        checksum in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let given = Addresses { source, destination };
        let tlvs = Tlvs { authority: Some(&name), alpn: Some(b"h2"), unique_id: Some(&id), checksum };
        for is_v1 in [true, false] {
            let mut bytes = Vec::new();
            if is_v1 { write_v1(Some(given), &mut bytes) } else { write_v2(Some(given), &tlvs, &mut bytes) }
            let length = bytes.len();
            for cut in 0..length {
                prop_assert_eq!(parse(&bytes[..cut], ANY), Ok(Parsed::Incomplete), "{}", cut);
            }
            bytes.extend(&payload);
            let (header, read) = whole(&bytes).unwrap();
            prop_assert_eq!(read, length);
            let got = header.addresses.unwrap();
            let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
            prop_assert_eq!(plain(got.source), plain(source));
            prop_assert_eq!(plain(got.destination), plain(destination));
            if !is_v1 {
                prop_assert_eq!(header.authority.as_deref(), Some(&*name));
                prop_assert_eq!(header.alpn.as_deref(), Some(&b"h2"[..]));
                prop_assert_eq!(header.unique_id.as_deref(), Some(&id[..]));
            }
        }
    }

    #[test]
    fn no_bytes_are_too_odd(mut bytes in prop::collection::vec(any::<u8>(), 0..300), is_v2 in any::<bool>()) {
        let signature = if is_v2 { v2::SIGNATURE } else { v1::SIGNATURE };
        bytes.splice(0..0, signature.iter().copied());
        let _ = parse(&bytes, ANY);
    }

    #[test]
    fn a_checksum_finds_every_changed_bit(at in 0..43_usize, bit in 0..8_u8) {
        let mut bytes = Vec::new();
        let given = addresses("192.0.2.1:4000", "192.0.2.2:443");
        write_v2(Some(given), &Tlvs { authority: Some("a.example"), checksum: true, ..Tlvs::default() }, &mut bytes);
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1 << bit;
        let as_before = whole(&bytes).is_ok_and(|(header, _)| header.addresses == Some(given));
        prop_assert!(!as_before || at >= bytes.len() - 4 - 3, "byte {at}");
    }
}
