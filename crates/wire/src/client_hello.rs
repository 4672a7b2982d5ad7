//! What a client's first bytes say of TLS, without decrypting anything: the ClientHello (RFC 8446 section 4.1.2).

/// Longest hello that is taken, in bytes of its records.
const LENGTH_MAX: usize = 16 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const EARLY_DATA: u16 = 42;

/// What first bytes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// They are of another protocol, or malformed.
    NotTls,
    /// They can still become a ClientHello.
    Incomplete,
    /// They begin with one.
    Hello(ClientHello),
}

/// What a ClientHello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name (SNI, RFC 6066 section 3), in lower case.
    pub server_name: Option<String>,
    /// The application protocols that the client offers (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// Whether early data is to follow, which must not be sent twice.
    pub early_data: bool,
    /// Bytes of the records that hold it.
    pub length: usize,
}

/// Looks at the first bytes of a client.
pub fn sniff(input: &[u8]) -> Sniffed {
    let mut message = Vec::new();
    let mut at = 0;
    loop {
        if message.len() >= 4 {
            let length =
                usize::from(message[1]) << 16 | usize::from(message[2]) << 8 | usize::from(message[3]);
            if message[0] != CLIENT_HELLO || length > LENGTH_MAX {
                return Sniffed::NotTls;
            }
            if let Some(body) = message.get(4..4 + length) {
                let hello = read(body).map(|hello| ClientHello { length: at, ..hello });
                return hello.map_or(Sniffed::NotTls, Sniffed::Hello);
            }
        }
        // A record: type, version 3.x, length of up to 2^14 (RFC 8446 section 5.1).
        match &input[at..] {
            [kind, ..] if *kind != HANDSHAKE => return Sniffed::NotTls,
            [_, major, ..] if *major != 3 => return Sniffed::NotTls,
            [_, _, _, high, low, rest @ ..] => {
                let length = usize::from(*high) << 8 | usize::from(*low);
                if length == 0 || at + length > LENGTH_MAX {
                    return Sniffed::NotTls;
                }
                message.extend_from_slice(&rest[..length.min(rest.len())]);
                if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
                    return Sniffed::NotTls;
                }
                if rest.len() < length {
                    return Sniffed::Incomplete;
                }
                at += 5 + length;
            }
            _ => return Sniffed::Incomplete,
        }
    }
}

fn read(body: &[u8]) -> Option<ClientHello> {
    // The legacy version and the random bytes.
    let mut rest = body.get(2 + 32..)?;
    let _session = part::<1>(&mut rest)?;
    let _suites = part::<2>(&mut rest)?;
    let _compressions = part::<1>(&mut rest)?;
    let mut hello = ClientHello::default();
    if rest.is_empty() {
        return Some(hello); // before TLS 1.2 extensions could be missing
    }
    let mut extensions = part::<2>(&mut rest)?;
    while !extensions.is_empty() {
        let (kind, behind) = extensions.split_first_chunk::<2>()?;
        extensions = behind;
        let mut value = part::<2>(&mut extensions)?;
        match u16::from_be_bytes(*kind) {
            SERVER_NAME => hello.server_name = server_name(part::<2>(&mut value)?)?,
            ALPN => {
                let mut names = part::<2>(&mut value)?;
                while !names.is_empty() {
                    hello.alpn.push(part::<1>(&mut names)?.to_vec());
                }
            }
            EARLY_DATA => hello.early_data = true,
            _ => {}
        }
    }
    Some(hello)
}

/// The first host name of the list; `None` if the list is malformed.
fn server_name(mut list: &[u8]) -> Option<Option<String>> {
    let mut found = None;
    while let Some((kind, rest)) = list.split_first() {
        list = rest;
        let name = part::<2>(&mut list)?;
        if *kind == 0 && found.is_none() {
            let text = std::str::from_utf8(name)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))?;
            found = Some(text.to_ascii_lowercase());
        }
    }
    Some(found)
}

/// Takes a part with its length in the first `N` bytes.
fn part<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_at_checked(N)?;
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (part, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length<const N: usize>(bytes: &[u8]) -> Vec<u8> {
        [&bytes.len().to_be_bytes()[8 - N..], bytes].concat()
    }

    fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with_length::<2>(value)].concat()
    }

    /// A hello in records of at most `size` bytes.
    fn hello(extensions: &[Vec<u8>], size: usize) -> Vec<u8> {
        let body = [
            vec![3, 3],
            vec![7; 32],
            with_length::<1>(&[9; 32]),
            with_length::<2>(&[0x13, 1, 0x0a, 0x0a]),
            with_length::<1>(&[0]),
            with_length::<2>(&extensions.concat()),
        ]
        .concat();
        let message = [vec![1], with_length::<3>(&body)].concat();
        message.chunks(size).flat_map(|part| [vec![22, 3, 1], with_length::<2>(part)].concat()).collect()
    }

    fn typical(size: usize) -> Vec<u8> {
        let name = with_length::<2>(&[vec![0], with_length::<2>(b"WWW.Example.com")].concat());
        let alpn = with_length::<2>(&[with_length::<1>(b"h2"), with_length::<1>(b"http/1.1")].concat());
        hello(
            &[extension(0x0a0a, &[]), extension(0, &name), extension(16, &alpn), extension(43, &[2, 3, 4])],
            size,
        )
    }

    #[test]
    fn it_is_understood_however_it_is_cut() {
        for size in [1, 7, 100, 16_000] {
            let bytes = typical(size);
            let Sniffed::Hello(found) = sniff(&[&bytes[..], b"more"].concat()) else { panic!("{size}") };
            assert_eq!(found.server_name.as_deref(), Some("www.example.com"));
            assert_eq!(found.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
            assert_eq!((found.early_data, found.length), (false, bytes.len()));
            for cut in 0..bytes.len() {
                assert_eq!(sniff(&bytes[..cut]), Sniffed::Incomplete, "{size}, {cut}");
            }
        }
    }

    /// What OpenSSL 3 sends.
    const REAL: &[u8] = include_bytes!("../tests/data/client_hello.bin");

    #[test]
    fn a_real_one_is_understood() {
        let Sniffed::Hello(found) = sniff(REAL) else { panic!("{:?}", sniff(REAL)) };
        assert_eq!(found.server_name.as_deref(), Some("www.example.com"));
        assert_eq!(found.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!((found.early_data, found.length), (false, REAL.len()));
    }

    #[test]
    fn early_data_and_missing_names_show() {
        let Sniffed::Hello(found) = sniff(&hello(&[extension(42, &[])], 500)) else { panic!() };
        assert!(found.early_data && found.server_name.is_none());
    }

    #[test]
    fn what_is_no_hello_is_told_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1"[..],
            b"\x16\x02",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\xff\xff",
            b"\x16\x03\x01\0\x05\x02",
            b"SSH-2.0",
        ] {
            assert_eq!(sniff(bytes), Sniffed::NotTls, "{bytes:?}");
        }
        let mut overrun = typical(16_000);
        let last = overrun.len() - 5;
        overrun[last] = 0xff;
        assert_eq!(sniff(&overrun), Sniffed::NotTls);
    }
}
