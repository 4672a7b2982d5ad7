//! SOCKS, as both sides speak it: version 5 (RFC 1928, RFC 1929) and 4 with names (4a). Only CONNECT.

use std::net::Ipv6Addr;

use crate::destination::Host;

pub mod v4;
pub mod v5;

#[cfg(test)]
mod tests;

/// What bytes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// They can still become a message.
    Incomplete,
    /// They begin with one.
    Complete {
        /// What it says.
        value: T,
        /// Its bytes; what is behind them is no part of it.
        length: usize,
    },
}

impl<T> Parsed<T> {
    /// What the bytes say and how many they are, if they are all there.
    pub fn complete(self) -> Option<(T, usize)> {
        match self {
            Self::Incomplete => None,
            Self::Complete { value, length } => Some((value, length)),
        }
    }
}

/// How a client of version 5 says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    None,
    /// By a name and a password.
    Password,
}

/// The answers of version 5 (RFC 1928, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reply {
    /// The connection is there.
    Granted = 0,
    /// The server fails.
    General = 1,
    /// The rules do not allow it.
    NotAllowed = 2,
    /// There is no way to the network.
    NetworkUnreachable = 3,
    /// There is no way to the host.
    HostUnreachable = 4,
    /// The host refuses.
    Refused = 5,
    /// It took too long.
    TtlExpired = 6,
    /// The command is not known here.
    Command = 7,
    /// The type of address is not known here.
    AddressType = 8,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocksFault {
    /// It is of another version.
    #[error("version")]
    Version,
    /// It asks for something else than a connection.
    #[error("command")]
    Command,
    /// Its address is of a type that there is not.
    #[error("address type")]
    AddressType,
    /// What it names is no host, or has port 0.
    #[error("name")]
    Name,
    /// A name, a user or a password has more bytes than the protocol has room for, or none where it must have some.
    #[error("length")]
    Length,
}

impl SocksFault {
    /// The answer of version 5 to it, where there is one.
    pub fn reply(self) -> Option<Reply> {
        match self {
            Self::Version => None,
            Self::Command => Some(Reply::Command),
            Self::AddressType => Some(Reply::AddressType),
            Self::Name | Self::Length => Some(Reply::General),
        }
    }
}

/// A host as clients name it: some write addresses where names belong, and those of version 6 with or without brackets.
fn host(name: &[u8]) -> Result<Host, SocksFault> {
    let text = std::str::from_utf8(name).map_err(|_| SocksFault::Name)?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<Ipv6Addr>() {
        Ok(ip) => Ok(Host::Ip(ip.into())),
        Err(_) => Host::parse(text).map_err(|_| SocksFault::Name),
    }
}

/// The port in two bytes, if they are there.
fn port(bytes: Option<&[u8]>) -> Result<Option<u16>, SocksFault> {
    match bytes {
        Some(&[0, 0]) => Err(SocksFault::Name),
        Some(&[high, low]) => Ok(Some(u16::from_be_bytes([high, low]))),
        _ => Ok(None),
    }
}

/// Checks the byte that a message begins with, if it is there.
fn version(input: &[u8], wanted: u8) -> Result<(), SocksFault> {
    match input.first() {
        Some(version) if *version != wanted => Err(SocksFault::Version),
        _ => Ok(()),
    }
}
