//! Version 2: a signature, sixteen bytes of head in all, addresses and TLVs (section 2.2).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};

use super::{Addresses, Header, HeaderError, LENGTH_MAX, Parsed, unified};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

const HEAD: usize = 16;
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CHECKSUM: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;

/// Longest unique id, in bytes.
const UNIQUE_ID_MAX: usize = 128;

/// What is told beside the addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tlvs<'a> {
    /// The server name of the client's TLS connection.
    pub authority: Option<&'a str>,
    /// Its application protocol.
    pub alpn: Option<&'a [u8]>,
    /// A name for the connection, at most 128 bytes.
    pub unique_id: Option<&'a [u8]>,
    /// Whether a CRC32c of the header is added.
    pub checksum: bool,
}

pub(super) fn parse(input: &[u8]) -> Result<Parsed, HeaderError> {
    let Some(kind) = input.get(12) else { return Ok(Parsed::Incomplete) };
    let is_local = match kind {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Command),
    };
    let Some(family) = input.get(13) else { return Ok(Parsed::Incomplete) };
    let addresses_length = match family {
        // Of a LOCAL header nothing counts but its length.
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(HeaderError::Family),
    };
    let Some(length) = input.get(14..HEAD) else { return Ok(Parsed::Incomplete) };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length + HEAD > LENGTH_MAX || length < addresses_length {
        return Err(HeaderError::Length);
    }
    let Some(whole) = input.get(..HEAD + length) else { return Ok(Parsed::Incomplete) };
    let body = &whole[HEAD..];
    if is_local {
        return Ok(Parsed::Complete { header: Header::default(), length: whole.len() });
    }
    let (addresses, tlvs) = body.split_at(addresses_length);
    let mut header = Header { addresses: addresses_of(addresses), ..Header::default() };
    read_tlvs(tlvs, whole, &mut header)?;
    Ok(Parsed::Complete { header, length: whole.len() })
}

fn addresses_of(bytes: &[u8]) -> Option<Addresses> {
    let ports = bytes.last_chunk::<4>()?;
    let (from, to) = (u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]]));
    let ends = |source: SocketAddr, destination: SocketAddr| Addresses { source, destination };
    if let Ok([a, b, c, d, e, f, g, h]) = <[u8; 8]>::try_from(&bytes[..bytes.len() - 4]) {
        let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
        return Some(ends((source, from).into(), (destination, to).into()));
    }
    let ips = <[u8; 32]>::try_from(&bytes[..bytes.len() - 4]).ok()?;
    let ip = |bytes: Option<&[u8; 16]>| bytes.copied().map(Ipv6Addr::from);
    Some(ends((ip(ips.first_chunk())?, from).into(), (ip(ips.last_chunk())?, to).into()))
}

/// Reads TLVs: a type, two bytes of length, the value (section 2.2.1).
fn read_tlvs(tlvs: &[u8], whole: &[u8], header: &mut Header) -> Result<(), HeaderError> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let (kind, value, behind) = tlv(rest)?;
        match kind {
            ALPN => header.alpn = Some(value.to_vec()),
            AUTHORITY => {
                let name = std::str::from_utf8(value).map_err(|_| HeaderError::Tlv)?;
                header.authority = Some(name.to_owned());
            }
            CHECKSUM => {
                let told = <[u8; 4]>::try_from(value).map_err(|_| HeaderError::Tlv)?;
                // Of the header with a checksum of zeros.
                let at = whole.len() - behind.len() - told.len();
                let mut digest = CRC32C.digest();
                digest.update(&whole[..at]);
                digest.update(&[0; 4]);
                digest.update(behind);
                if digest.finalize() != u32::from_be_bytes(told) {
                    return Err(HeaderError::Checksum);
                }
            }
            UNIQUE_ID if value.len() > UNIQUE_ID_MAX => return Err(HeaderError::Tlv),
            UNIQUE_ID => header.unique_id = Some(value.to_vec()),
            SSL => check_ssl(value)?,
            _ => {}
        }
        rest = behind;
    }
    Ok(())
}

/// Five bytes, and TLVs within.
fn check_ssl(value: &[u8]) -> Result<(), HeaderError> {
    let mut rest = value.get(5..).ok_or(HeaderError::Tlv)?;
    while !rest.is_empty() {
        rest = tlv(rest)?.2;
    }
    Ok(())
}

/// The first TLV: its type, its value and what is behind it.
fn tlv(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), HeaderError> {
    let [kind, high, low, rest @ ..] = bytes else { return Err(HeaderError::Tlv) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, behind) = rest.split_at_checked(length).ok_or(HeaderError::Tlv)?;
    Ok((*kind, value, behind))
}

pub(super) fn write(addresses: Option<Addresses>, tlvs: &Tlvs<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(SIGNATURE);
    let Some(Addresses { source, destination }) = addresses.map(unified) else {
        out.extend_from_slice(&[0x20, 0, 0, 0]);
        return;
    };
    out.extend_from_slice(&[0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, 0, 0]);
    for end in [source, destination] {
        match end {
            SocketAddr::V4(end) => out.extend_from_slice(&end.ip().octets()),
            SocketAddr::V6(end) => out.extend_from_slice(&end.ip().octets()),
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    let mut put = |kind: u8, value: &[u8]| {
        // Values of our own are short.
        let length = u16::try_from(value.len()).unwrap_or(0);
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&value[..usize::from(length)]);
    };
    if let Some(name) = tlvs.authority {
        put(AUTHORITY, name.as_bytes());
    }
    if let Some(alpn) = tlvs.alpn {
        put(ALPN, alpn);
    }
    if let Some(id) = tlvs.unique_id {
        put(UNIQUE_ID, &id[..id.len().min(UNIQUE_ID_MAX)]);
    }
    if tlvs.checksum {
        put(CHECKSUM, &[0; 4]);
    }
    let length = u16::try_from(out.len() - start - HEAD).unwrap_or(u16::MAX);
    out[start + 14..start + HEAD].copy_from_slice(&length.to_be_bytes());
    if tlvs.checksum {
        let sum = CRC32C.checksum(&out[start..]);
        let end = out.len();
        out[end - 4..].copy_from_slice(&sum.to_be_bytes());
    }
}
