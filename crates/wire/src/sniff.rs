//! Which protocol a client speaks, by its first bytes.

use crate::client_hello::{self, ClientHello};
use crate::destination::{Destination, Host};
use crate::http1::head;

/// What first bytes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// They can still become one of several.
    Incomplete,
    /// TLS, by its whole ClientHello.
    Tls(ClientHello),
    /// HTTP: the host that is asked for, in lower case, if one is.
    Http(Option<String>),
    /// SSH (RFC 4253, section 4.2).
    Ssh,
    /// PostgreSQL: a startup packet, or a request for TLS, GSSAPI or a cancellation in its place.
    Postgres,
    /// SOCKS 4 or 5.
    Socks,
    /// Another.
    Unknown,
}

/// How a client of HTTP/2 without TLS begins (RFC 9113, section 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n";

const SSH: &[u8] = b"SSH-";

/// The codes of PostgreSQL that may be in place of a version, and the version itself, of which the minor one is left open.
const POSTGRES_REQUESTS: [u32; 3] = [80_877_102, 80_877_103, 80_877_104];
const POSTGRES_VERSION: u32 = 3 << 16;

/// Longest startup packet (PostgreSQL's own limit).
const POSTGRES_BYTES_MAX: u32 = 10_000;

/// Looks at the first bytes of a client.
pub fn sniff(input: &[u8]) -> Sniffed {
    let Some(first) = input.first() else { return Sniffed::Incomplete };
    match first {
        0x16 => match client_hello::sniff(input) {
            client_hello::Sniffed::Hello(hello) => Sniffed::Tls(hello),
            client_hello::Sniffed::Incomplete => Sniffed::Incomplete,
            client_hello::Sniffed::NotTls => Sniffed::Unknown,
        },
        // A version and a number of methods, or a command.
        5 => Sniffed::Socks,
        4 => match input.get(1) {
            None => Sniffed::Incomplete,
            Some(1 | 2) => Sniffed::Socks,
            Some(_) => Sniffed::Unknown,
        },
        0 => postgres(input),
        _ if is_or_becomes(input, SSH) => if_whole(input, SSH, Sniffed::Ssh),
        _ if is_or_becomes(input, HTTP_2) => if_whole(input, HTTP_2, Sniffed::Http(None)),
        b'A'..=b'Z' => http(input),
        _ => Sniffed::Unknown,
    }
}

fn is_or_becomes(input: &[u8], wanted: &[u8]) -> bool {
    let length = input.len().min(wanted.len());
    // One letter alone may be that of many methods.
    input[..length] == wanted[..length] && (length > 1 || wanted == SSH)
}

fn if_whole(input: &[u8], wanted: &[u8], sniffed: Sniffed) -> Sniffed {
    if input.len() >= wanted.len() { sniffed } else { Sniffed::Incomplete }
}

fn postgres(input: &[u8]) -> Sniffed {
    let number = |at: usize| {
        let bytes = input.get(at..at + 4)?;
        Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    match (number(0), number(4)) {
        (Some(length), _) if !(8..=POSTGRES_BYTES_MAX).contains(&length) => Sniffed::Unknown,
        (Some(_), Some(code)) => {
            match POSTGRES_REQUESTS.contains(&code) || code >> 16 == POSTGRES_VERSION >> 16 {
                true => Sniffed::Postgres,
                false => Sniffed::Unknown,
            }
        }
        // Its length is below 2^16.
        _ if input.get(1).is_some_and(|byte| *byte != 0) => Sniffed::Unknown,
        _ => Sniffed::Incomplete,
    }
}

fn http(input: &[u8]) -> Sniffed {
    let method = input.iter().position(|byte| !byte.is_ascii_uppercase());
    match method {
        None if input.len() > 32 => return Sniffed::Unknown,
        None => return Sniffed::Incomplete,
        Some(at) if input[at] != b' ' && input[at] != b'-' => return Sniffed::Unknown,
        Some(_) => {}
    }
    match head::parse(input) {
        Ok(None) => Sniffed::Incomplete,
        Ok(Some((head, _))) => {
            let host = head.field("host").next().and_then(|host| std::str::from_utf8(host).ok());
            let destination = host.and_then(|host| Destination::parse(host, Some(80)).ok());
            Sniffed::Http(destination.map(|destination| match destination.host {
                Host::Name(name) => name.as_str().trim_end_matches('.').to_ascii_lowercase(),
                Host::Ip(ip) => ip.to_string(),
            }))
        }
        Err(_) => Sniffed::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came of it byte by byte: the first answer that is not `Incomplete`, which stays.
    fn sniffed(input: &[u8]) -> Sniffed {
        let whole = sniff(input);
        for cut in 0..input.len() {
            let part = sniff(&input[..cut]);
            assert!(part == Sniffed::Incomplete || part == whole, "{part:?} of {:?}", &input[..cut]);
        }
        whole
    }

    #[test]
    fn protocols_are_told_by_their_first_bytes() {
        let http = |host: &str| Sniffed::Http(Some(host.to_owned()));
        let cases: [(&[u8], Sniffed); 17] = [
            (b"SSH-2.0-OpenSSH_9.2\r\n", Sniffed::Ssh),
            (b"GET / HTTP/1.1\r\nHost: WWW.Example.com:8080\r\n\r\n", http("www.example.com")),
            (b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", http("a")),
            (b"SEARCH / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", http("::1")),
            (b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", http("a")),
            (b"GET / HTTP/1.0\r\n\r\n", Sniffed::Http(None)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Sniffed::Http(None)),
            (&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f], Sniffed::Postgres),
            (&[0, 0, 0, 41, 0, 3, 0, 0, b'u'], Sniffed::Postgres),
            (&[0, 0, 0, 8, 1, 2, 3, 4], Sniffed::Unknown),
            (&[0, 9], Sniffed::Unknown),
            (&[5, 1, 0], Sniffed::Socks),
            (&[4, 1, 0, 80], Sniffed::Socks),
            (&[4, 7], Sniffed::Unknown),
            (b"GET\r\n", Sniffed::Unknown),
            (b"\x10\x10\0\x04MQTT", Sniffed::Unknown),
            (b"\x16\x01", Sniffed::Unknown),
        ];
        for (input, wanted) in cases {
            assert_eq!(sniffed(input), wanted, "{input:?}");
        }
        let hello = include_bytes!("../tests/data/client_hello.bin");
        assert!(
            matches!(sniffed(hello), Sniffed::Tls(hello) if hello.server_name.as_deref() == Some("www.example.com"))
        );
    }
}
