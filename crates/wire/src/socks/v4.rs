//! SOCKS version 4, with names (4a): documents of NEC and of Ying-Da Lee that never became an RFC.

use std::net::{IpAddr, Ipv4Addr};

use super::{Parsed, SocksFault, host, port, version};
use crate::destination::{Destination, Host};

/// The code of a connection that is there.
pub const GRANTED: u8 = 0x5a;

/// The code of one that is not.
pub const REFUSED: u8 = 0x5b;

/// The code for a user id that is not the right one.
pub const WRONG_USER: u8 = 0x5d;

/// Longest user id or name, in bytes.
pub const TEXT_BYTES_MAX: usize = 255;

const VERSION: u8 = 4;
const CONNECT: u8 = 1;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where it wants to be connected to.
    pub destination: Destination,
    /// Who it says that it is; often nobody.
    pub user: Vec<u8>,
}

/// Reads where a client wants to be connected to.
///
/// # Errors
/// What is wrong with it, as early as it shows.
pub fn request(input: &[u8]) -> Result<Parsed<Request>, SocksFault> {
    version(input, VERSION)?;
    if input.get(1).is_some_and(|command| *command != CONNECT) {
        return Err(SocksFault::Command);
    }
    let Some(port) = port(input.get(2..4))? else { return Ok(Parsed::Incomplete) };
    let Some(ip) = input.get(4..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(Parsed::Incomplete) };
    let Some((user, end)) = text(input, 8)? else { return Ok(Parsed::Incomplete) };
    let ip = Ipv4Addr::from(*ip);
    let (host, length) = if stands_for_name(ip) {
        let Some((name, length)) = text(input, end)? else { return Ok(Parsed::Incomplete) };
        (host(name)?, length)
    } else {
        (Host::Ip(ip.into()), end)
    };
    let value = Request { destination: Destination { host, port }, user: user.to_vec() };
    Ok(Parsed::Complete { value, length })
}

/// Whether it is an address that nobody has, and that says that a name is behind the user id.
fn stands_for_name(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [0, 0, 0, last] if last != 0)
}

/// A text that ends with a zero byte, from `at`, and where what is behind it begins; `None` while that may come.
fn text(input: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, SocksFault> {
    let Some(rest) = input.get(at..) else { return Ok(None) };
    match rest.iter().take(TEXT_BYTES_MAX + 1).position(|byte| *byte == 0) {
        Some(length) => Ok(Some((&rest[..length], at + length + 1))),
        None if rest.len() > TEXT_BYTES_MAX => Err(SocksFault::Length),
        None => Ok(None),
    }
}

/// Writes what came of it.
pub fn write_reply(is_granted: bool, to: &mut Vec<u8>) {
    write_code(if is_granted { GRANTED } else { REFUSED }, to);
}

/// Writes what came of it, as a code such as [`WRONG_USER`].
pub fn write_code(code: u8, to: &mut Vec<u8>) {
    to.extend([0, code, 0, 0, 0, 0, 0, 0]);
}

/// Writes where to as a client.
///
/// # Errors
/// When it is an address of version 6 or one that stands for a name, or the user has a zero byte or more than 255 bytes.
pub fn write_request(wanted: &Destination, user: &[u8], to: &mut Vec<u8>) -> Result<(), SocksFault> {
    if user.len() > TEXT_BYTES_MAX || user.contains(&0) {
        return Err(SocksFault::Length);
    }
    let (ip, name) = match &wanted.host {
        Host::Ip(ip) => match ip.to_canonical() {
            IpAddr::V4(ip) if stands_for_name(ip) => return Err(SocksFault::Name),
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

/// Reads what came of a request: [`GRANTED`], or another code.
///
/// # Errors
/// When it does not begin with a zero byte.
pub fn reply(input: &[u8]) -> Result<Parsed<u8>, SocksFault> {
    version(input, 0)?;
    match input.get(..8) {
        Some(reply) => Ok(Parsed::Complete { value: reply[1], length: 8 }),
        None => Ok(Parsed::Incomplete),
    }
}
