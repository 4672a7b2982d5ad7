//! SOCKS, as both sides speak it: version 5 (RFC 1928, RFC 1929) and 4 with names (4a). Only CONNECT.

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
    /// Its address is none, or has port 0.
    #[error("address")]
    Address,
    /// A name, a user or a password is longer than the protocol has room for, or empty where it must not be.
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
            Self::Address | Self::Length => Some(Reply::General),
        }
    }
}
