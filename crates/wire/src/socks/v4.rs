//! SOCKS version 4, with names (4a): documents of NEC and of Ying-Da Lee that never became an RFC.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Parsed, SocksFault};
use crate::destination::{Destination, Host};

const VERSION: u8 = 4;
const CONNECT: u8 = 1;

const GRANTED: u8 = 0x5a;
const REFUSED: u8 = 0x5b;

/// Longest user id or name.
const TEXT_BYTES_MAX: usize = 255;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where it wants to be connected to.
    pub destination: Destination,
    /// Who it says that it is.
    pub user: Vec<u8>,
}

/// A text that ends with a zero byte, from `at`, and where it ends; `None` while that may come.
fn text(input: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, SocksFault> {
    let Some(rest) = input.get(at..) else { return Ok(None) };
    match rest.iter().take(TEXT_BYTES_MAX + 1).position(|byte| *byte == 0) {
        Some(length) => Ok(Some((&rest[..length], at + length + 1))),
        None if rest.len() > TEXT_BYTES_MAX => Err(SocksFault::Length),
        None => Ok(None),
    }
}

/// Reads where a client wants to be connected to.
///
/// # Errors
/// What is wrong with it.
pub fn request(input: &[u8]) -> Result<Parsed<Request>, SocksFault> {
    if input.first().is_some_and(|version| *version != VERSION) {
        return Err(SocksFault::Version);
    }
    if input.get(1).is_some_and(|command| *command != CONNECT) {
        return Err(SocksFault::Command);
    }
    let Some((user, end)) = text(input, 8)? else { return Ok(Parsed::Incomplete) };
    let port = u16::from_be_bytes([input[2], input[3]]);
    let (host, length) = match [input[4], input[5], input[6], input[7]] {
        // An address that nobody has stands for a name behind it.
        [0, 0, 0, last] if last != 0 => match text(input, end)? {
            Some((name, length)) => (host(name)?, length),
            None => return Ok(Parsed::Incomplete),
        },
        ip => (Host::Ip(Ipv4Addr::from(ip).into()), end),
    };
    if port == 0 {
        return Err(SocksFault::Address);
    }
    let value = Request { destination: Destination { host, port }, user: user.to_vec() };
    Ok(Parsed::Complete { value, length })
}

/// A host as clients name it: some write addresses where names belong.
pub(super) fn host(name: &[u8]) -> Result<Host, SocksFault> {
    let text = std::str::from_utf8(name).map_err(|_| SocksFault::Address)?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<Ipv6Addr>() {
        Ok(ip) => Ok(Host::Ip(IpAddr::V6(ip))),
        Err(_) => Host::parse(text).map_err(|_| SocksFault::Address),
    }
}

/// Writes what came of it.
pub fn write_reply(is_granted: bool, to: &mut Vec<u8>) {
    to.extend([0, if is_granted { GRANTED } else { REFUSED }, 0, 0, 0, 0, 0, 0]);
}

/// Writes where to as a client.
///
/// # Errors
/// When it is an address of version 6, or the user or the name has a zero byte or more than 255.
pub fn write_request(wanted: &Destination, user: &[u8], to: &mut Vec<u8>) -> Result<(), SocksFault> {
    if user.len() > TEXT_BYTES_MAX || user.contains(&0) {
        return Err(SocksFault::Length);
    }
    let (ip, name) = match &wanted.host {
        Host::Ip(ip) => match ip.to_canonical() {
            IpAddr::V4(ip) => (ip.octets(), None),
            IpAddr::V6(_) => return Err(SocksFault::AddressType),
        },
        Host::Name(name) => ([0, 0, 0, 1], Some(name.as_str())),
    };
    to.extend([VERSION, CONNECT]);
    to.extend(wanted.port.to_be_bytes());
    to.extend(ip);
    to.extend_from_slice(user);
    to.push(0);
    if let Some(name) = name {
        to.extend_from_slice(name.as_bytes());
        to.push(0);
    }
    Ok(())
}

/// Reads what came of a request: 0x5a, or another code.
///
/// # Errors
/// When it does not begin with a zero byte.
pub fn reply(input: &[u8]) -> Result<Parsed<u8>, SocksFault> {
    if input.first().is_some_and(|version| *version != 0) {
        return Err(SocksFault::Version);
    }
    match input.get(..8) {
        Some(reply) => Ok(Parsed::Complete { value: reply[1], length: 8 }),
        None => Ok(Parsed::Incomplete),
    }
}
