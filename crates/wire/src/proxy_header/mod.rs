//! The PROXY protocol, by which a forwarder tells the next who its client is (HAProxy's proxy-protocol.txt, versions 1
//! and 2).
//!
//! Of the crates that do this, proxy-header takes ports with signs and any byte behind `PROXY`, and does not check the
//! CRC32c; so this is our own.

mod v1;
mod v2;

use std::net::SocketAddr;

pub use v2::Tlvs;

/// Longest header that is taken, in bytes; version 2 could have 64 KiB.
pub const LENGTH_MAX: usize = 4096;

/// Which versions are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The line of text.
    pub v1: bool,
    /// The binary form.
    pub v2: bool,
}

/// What the first bytes of a connection come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// They can still become a header.
    Incomplete,
    /// A header of `length` bytes; what is behind it is payload.
    Complete {
        /// What it says.
        header: Header,
        /// Its length in bytes.
        length: usize,
    },
}

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Client and server as the peer sees them; `None` when it speaks for itself (LOCAL) or does not know.
    pub addresses: Option<Addresses>,
    /// The server name of the client's TLS connection (PP2_TYPE_AUTHORITY).
    pub authority: Option<String>,
    /// The application protocol of the client's TLS connection (PP2_TYPE_ALPN).
    pub alpn: Option<Vec<u8>>,
    /// The peer's name for the connection (PP2_TYPE_UNIQUE_ID).
    pub unique_id: Option<Vec<u8>>,
}

/// The two ends of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They begin otherwise, or as a version that is not taken.
    #[error("no PROXY header")]
    Signature,
    /// A line that is too long, or does not end in CRLF.
    #[error("a line of the PROXY protocol that does not end in CRLF within 107 bytes")]
    Line,
    /// A line whose words are not those of the protocol.
    #[error("a line of the PROXY protocol with words that are none of it")]
    Words,
    /// An address that is none, or of the other family.
    #[error("a bad address in a PROXY header")]
    Address,
    /// A port that is none.
    #[error("a bad port in a PROXY header")]
    Port,
    /// A version or command that does not exist.
    #[error("an unknown version or command in a PROXY header")]
    Command,
    /// A family that does not exist, or is not of streams.
    #[error("an unknown family or transport in a PROXY header")]
    Family,
    /// A length that is too short for its addresses or longer than is taken.
    #[error("a bad length in a PROXY header")]
    Length,
    /// A TLV that reaches over the end, or has a wrong length.
    #[error("a bad TLV in a PROXY header")]
    Tlv,
    /// A checksum that is wrong.
    #[error("a wrong checksum in a PROXY header")]
    Checksum,
}

/// Reads a header from the first bytes of a connection.
///
/// # Errors
/// As soon as they cannot become a header any more.
pub fn parse(input: &[u8], accepted: Accepted) -> Result<Parsed, HeaderError> {
    let begins = |signature: &[u8]| {
        let common = signature.len().min(input.len());
        input[..common] == signature[..common]
    };
    if accepted.v1 && begins(v1::SIGNATURE) {
        v1::parse(input)
    } else if accepted.v2 && begins(v2::SIGNATURE) {
        v2::parse(input)
    } else {
        Err(HeaderError::Signature)
    }
}

/// Appends a header of version 1; without addresses it says that they are unknown.
pub fn write_v1(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    v1::write(addresses, out);
}

/// Appends a header of version 2; without addresses its command is LOCAL.
pub fn write_v2(addresses: Option<Addresses>, tlvs: &Tlvs<'_>, out: &mut Vec<u8>) {
    v2::write(addresses, tlvs, out);
}

/// Both addresses in one family: v6 where they differ.
fn unified(addresses: Addresses) -> Addresses {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (plain(addresses.source), plain(addresses.destination));
    let wide = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(_) => address,
    };
    if source.is_ipv4() == destination.is_ipv4() {
        Addresses { source, destination }
    } else {
        Addresses { source: wide(source), destination: wide(destination) }
    }
}

#[cfg(test)]
mod tests;
