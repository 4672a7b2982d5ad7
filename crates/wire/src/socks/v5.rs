//! SOCKS version 5 (RFC 1928), and its names and passwords (RFC 1929).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Method, Parsed, Reply, SocksFault, host, port, version};
use crate::destination::{Destination, Host};

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;

const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NONE_OF_THESE: u8 = 0xff;

const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

/// The methods of a client's greeting that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// It need not say who it is.
    pub none: bool,
    /// It can say so by a name and a password.
    pub password: bool,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub name: Vec<u8>,
    /// The password.
    pub password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("name", &String::from_utf8_lossy(&self.name)).finish_non_exhaustive()
    }
}

/// A run of bytes with its length in front, from `at`, and where it ends.
fn counted(input: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let end = at + 1 + usize::from(*input.get(at)?);
    Some((input.get(at + 1..end)?, end))
}

/// Reads a client's greeting.
///
/// # Errors
/// When it is of another version.
pub fn methods(input: &[u8]) -> Result<Parsed<Methods>, SocksFault> {
    version(input, VERSION)?;
    let Some((methods, length)) = counted(input, 1) else { return Ok(Parsed::Incomplete) };
    let value = Methods { none: methods.contains(&NO_LOGIN), password: methods.contains(&PASSWORD) };
    Ok(Parsed::Complete { value, length })
}

/// Writes which method the server chooses.
pub fn write_method(method: Option<Method>, to: &mut Vec<u8>) {
    let code = match method {
        Some(Method::None) => NO_LOGIN,
        Some(Method::Password) => PASSWORD,
        None => NONE_OF_THESE,
    };
    to.extend([VERSION, code]);
}

/// Reads a client's name and password.
///
/// # Errors
/// When it is of another version.
pub fn login(input: &[u8]) -> Result<Parsed<Login>, SocksFault> {
    version(input, LOGIN_VERSION)?;
    let whole = counted(input, 1).and_then(|(name, end)| Some((name, counted(input, end)?)));
    let Some((name, (password, length))) = whole else { return Ok(Parsed::Incomplete) };
    Ok(Parsed::Complete { value: Login { name: name.to_vec(), password: password.to_vec() }, length })
}

/// Writes whether name and password are right.
pub fn write_login_reply(is_right: bool, to: &mut Vec<u8>) {
    to.extend([LOGIN_VERSION, u8::from(!is_right)]);
}

/// Reads where a client wants to be connected to.
///
/// # Errors
/// What is wrong with it, as early as it shows; [`SocksFault::reply`] is the answer.
pub fn request(input: &[u8]) -> Result<Parsed<Destination>, SocksFault> {
    version(input, VERSION)?;
    if input.get(1).is_some_and(|command| *command != CONNECT) {
        return Err(SocksFault::Command);
    }
    // The byte between is reserved, and of no use to judge a client by.
    let Some((address, end)) = address(input)? else { return Ok(Parsed::Incomplete) };
    let host = match address {
        Address::Ip(ip) => Host::Ip(ip),
        Address::Name(name) => host(name)?,
    };
    let Some(port) = port(input.get(end..end + 2))? else { return Ok(Parsed::Incomplete) };
    Ok(Parsed::Complete { value: Destination { host, port }, length: end + 2 })
}

/// An address as it is in a message.
enum Address<'a> {
    Ip(IpAddr),
    Name(&'a [u8]),
}

/// The address of a request or of a reply, and where it ends; `None` while it may come.
fn address(input: &[u8]) -> Result<Option<(Address<'_>, usize)>, SocksFault> {
    let rest = input.get(4..).unwrap_or_default();
    match input.get(3) {
        None => Ok(None),
        Some(&V4) => Ok(rest.first_chunk::<4>().map(|ip| (Address::Ip((*ip).into()), 8))),
        Some(&V6) => Ok(rest.first_chunk::<16>().map(|ip| (Address::Ip((*ip).into()), 20))),
        Some(&NAME) => Ok(counted(input, 4).map(|(name, end)| (Address::Name(name), end))),
        Some(_) => Err(SocksFault::AddressType),
    }
}

/// Writes what came of a request, and the address that the connection is made from, if that is told.
pub fn write_reply(reply: Reply, bound: Option<SocketAddr>, to: &mut Vec<u8>) {
    to.extend([VERSION, reply as u8, 0]);
    write_address(bound.unwrap_or_else(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)), to);
}

fn write_address(address: SocketAddr, to: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => {
            to.push(V4);
            to.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            to.push(V6);
            to.extend(ip.octets());
        }
    }
    to.extend(address.port().to_be_bytes());
}

/// Writes a greeting as a client.
pub fn write_greeting(with_password: bool, to: &mut Vec<u8>) {
    match with_password {
        true => to.extend([VERSION, 2, NO_LOGIN, PASSWORD]),
        false => to.extend([VERSION, 1, NO_LOGIN]),
    }
}

/// Reads which method the server has chosen; none of those that were offered is `None`.
///
/// # Errors
/// When it is of another version.
pub fn method_chosen(input: &[u8]) -> Result<Parsed<Option<Method>>, SocksFault> {
    version(input, VERSION)?;
    let Some(code) = input.get(1) else { return Ok(Parsed::Incomplete) };
    let value = match *code {
        NO_LOGIN => Some(Method::None),
        PASSWORD => Some(Method::Password),
        _ => None,
    };
    Ok(Parsed::Complete { value, length: 2 })
}

/// Writes a name and a password as a client.
///
/// # Errors
/// When one of them is empty or has more than 255 bytes.
pub fn write_login(name: &[u8], password: &[u8], to: &mut Vec<u8>) -> Result<(), SocksFault> {
    let length =
        |text: &[u8]| u8::try_from(text.len()).ok().filter(|length| *length > 0).ok_or(SocksFault::Length);
    let (name_length, password_length) = (length(name)?, length(password)?);
    to.extend([LOGIN_VERSION, name_length]);
    to.extend_from_slice(name);
    to.push(password_length);
    to.extend_from_slice(password);
    Ok(())
}

/// Reads whether the server takes them.
///
/// # Errors
/// When it is of another version.
pub fn login_accepted(input: &[u8]) -> Result<Parsed<bool>, SocksFault> {
    version(input, LOGIN_VERSION)?;
    let Some(status) = input.get(1) else { return Ok(Parsed::Incomplete) };
    Ok(Parsed::Complete { value: *status == 0, length: 2 })
}

/// Writes where to as a client.
pub fn write_request(wanted: &Destination, to: &mut Vec<u8>) {
    to.extend([VERSION, CONNECT, 0]);
    match &wanted.host {
        Host::Ip(ip) => write_address(SocketAddr::new(ip.to_canonical(), wanted.port), to),
        Host::Name(name) => {
            let name = name.as_str().as_bytes();
            // No name of a host is longer than a byte can count.
            to.extend([NAME, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
            to.extend_from_slice(name);
            to.extend(wanted.port.to_be_bytes());
        }
    }
}

/// Reads what came of a request: 0, or why there is no connection; in the latter case nothing counts that is behind the code,
/// and some servers do not send it.
///
/// # Errors
/// When it is of another version, or its address of an unknown type.
pub fn reply(input: &[u8]) -> Result<Parsed<u8>, SocksFault> {
    version(input, VERSION)?;
    match input.get(1) {
        None => return Ok(Parsed::Incomplete),
        Some(0) => {}
        Some(code) => return Ok(Parsed::Complete { value: *code, length: 2 }),
    }
    // The bound address is of no use, even where it is a name of no bytes.
    match address(input)? {
        Some((_, end)) if input.len() >= end + 2 => Ok(Parsed::Complete { value: 0, length: end + 2 }),
        _ => Ok(Parsed::Incomplete),
    }
}
