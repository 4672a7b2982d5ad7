//! Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 4000 443` and CRLF (section 2.1).

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, HeaderError, Parsed, unified};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// Longest line, CRLF included.
const LINE_MAX: usize = 107;

pub(super) fn parse(input: &[u8]) -> Result<Parsed, HeaderError> {
    let seen = &input[..input.len().min(LINE_MAX)];
    let Some(end) = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if input.len() >= LINE_MAX { Err(HeaderError::Line) } else { Ok(Parsed::Incomplete) };
    };
    match &seen[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if input.len() < LINE_MAX => return Ok(Parsed::Incomplete),
        _ => return Err(HeaderError::Line),
    }
    let line = std::str::from_utf8(&seen[..end]).map_err(|_| HeaderError::Words)?;
    let header = Header { addresses: addresses(line)?, ..Header::default() };
    Ok(Parsed::Complete { header, length: end + 2 })
}

fn addresses(line: &str) -> Result<Option<Addresses>, HeaderError> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        // What is behind it is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let ip = |text: &str| -> Result<IpAddr, HeaderError> {
                let parsed = match family {
                    "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
                    _ => text.parse::<Ipv6Addr>().map(IpAddr::V6),
                };
                parsed.map_err(|_| HeaderError::Address)
            };
            Ok(Some(Addresses {
                source: SocketAddr::new(ip(source)?, port(from)?),
                destination: SocketAddr::new(ip(destination)?, port(to)?),
            }))
        }
        _ => Err(HeaderError::Words),
    }
}

/// Decimal, without signs and leading zeros.
fn port(text: &str) -> Result<u16, HeaderError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(HeaderError::Port)
}

pub(super) fn write(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    let Some(Addresses { source, destination }) = addresses.map(unified) else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.port(), destination.port());
    // Writing to memory cannot fail.
    let _ = write!(out, "PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip());
}
