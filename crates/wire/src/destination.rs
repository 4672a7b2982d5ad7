//! Where a client of a proxy wants to go: the authority of a URL, read strictly.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::HostName;

/// Where a client of a proxy wants to go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
}

/// A host as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address; one of version 4 within version 6 is left as it is.
    Ip(IpAddr),
    /// A name.
    Name(HostName),
}

/// Why a text is no destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// There is none, and no default.
    #[error("no port")]
    NoPort,
    /// It is no number from 1 to 65535.
    #[error("not a port")]
    Port,
    /// There is something in front of an `@`.
    #[error("user info")]
    UserInfo,
    /// There is a path, a query or a fragment.
    #[error("a path")]
    Path,
    /// There is a scheme.
    #[error("a scheme")]
    Scheme,
    /// An address of version 6 is not in brackets, or the brackets do not close.
    #[error("brackets")]
    Brackets,
    /// It is neither a name nor an address, or one that others would take for an address (`127.1`, `0x7f.1`).
    #[error("not a host")]
    Host,
}

impl Destination {
    /// Reads `HOST:PORT`, or `HOST` alone where there is a default port (RFC 3986, section 3.2, and no more of it).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(authority: &str, default_port: Option<u16>) -> Result<Self, DestinationError> {
        if authority.bytes().any(|byte| matches!(byte, b'/' | b'?' | b'#' | b'@')) {
            return Err(match authority {
                _ if authority.contains("://") => DestinationError::Scheme,
                _ if authority.contains('@') => DestinationError::UserInfo,
                _ => DestinationError::Path,
            });
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (ip, behind) = rest.split_once(']').ok_or(DestinationError::Brackets)?;
                let ip: Ipv6Addr = ip.parse().map_err(|_| DestinationError::Host)?;
                let port = match behind.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if behind.is_empty() => None,
                    None => return Err(DestinationError::Brackets),
                };
                (Host::Ip(ip.into()), port)
            }
            None => {
                let (host, port) = match authority.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (authority, None),
                };
                if port.is_some_and(|port| port.contains(':')) {
                    return Err(DestinationError::Brackets);
                }
                (Host::parse(host)?, port)
            }
        };
        let port = match port {
            Some(text) => port_of(text)?,
            None => default_port.ok_or(DestinationError::NoPort)?,
        };
        Ok(Self { host, port })
    }
}

impl Host {
    /// Reads a name or an address of version 4.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        let name: HostName = text.parse().map_err(|_| DestinationError::Host)?;
        if ends_in_number(name.as_str()) { Err(DestinationError::Host) } else { Ok(Self::Name(name)) }
    }
}

/// Whether others would take a name for an address: its last label is a number (the URL standard, "ends in a number").
fn ends_in_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn port_of(text: &str) -> Result<u16, DestinationError> {
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse::<u16>().ok().filter(|port| is_number && *port != 0);
    port.ok_or(DestinationError::Port)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_one_prints_back_as_itself() {
        for text in [
            "example.com:443",
            "10.0.0.1:1",
            "[2001:db8::1]:65535",
            "[::ffff:127.0.0.1]:80",
            "a_b-c.d.:80",
            "x1:22",
        ] {
            let destination = Destination::parse(text, None).unwrap();
            assert_eq!(Destination::parse(&destination.to_string(), None), Ok(destination), "{text}");
        }
        assert_eq!(Destination::parse("a.example", Some(80)).unwrap().port, 80);
        assert_eq!(Destination::parse("[::1]", Some(80)).unwrap().to_string(), "[::1]:80");
    }

    #[test]
    fn what_is_none_says_why() {
        use DestinationError::{Brackets, NoPort, Path, Port, Scheme, UserInfo};
        let bad = [
            ("example.com", NoPort),
            ("example.com:", Port),
            ("example.com:0", Port),
            ("example.com:65536", Port),
            ("example.com:+80", Port),
            ("example.com:-1", Port),
            ("example.com: 80", Port),
            ("example.com:000080", Port),
            ("example.com:0x50", Port),
            ("user@example.com:80", UserInfo),
            ("user:pw@example.com:80", UserInfo),
            ("example.com:80/", Path),
            ("example.com:80?q", Path),
            ("example.com:80#f", Path),
            ("http://example.com:80", Scheme),
            ("::1:80", Brackets),
            ("2001:db8::1:443", Brackets),
            ("[::1:80", Brackets),
            ("[::1]80", Brackets),
        ];
        for (text, error) in bad {
            assert_eq!(Destination::parse(text, None), Err(error), "{text}");
        }
        let hosts = [
            ":80",
            "127.1:80",
            "2130706433:80",
            "0x7f.1:80",
            "0x7f000001:80",
            "1.2.3.4.5:80",
            "127.0.0.1.:80",
            "a..b:80",
            "0177.0.0.1:80",
            "a.0x:80",
            "[fe80::1%eth0]:80",
            "[127.0.0.1]:80",
            "ex ample:80",
            "exämple:80",
            "a\0b:80",
        ];
        for text in hosts {
            assert_eq!(Destination::parse(text, None), Err(DestinationError::Host), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_that_prints_back_or_none(text in r"[a-fx0-9.:\[\]_-]{0,24}|.{0,40}", port in any::<u16>()) {
            let default = Some(port).filter(|port| *port != 0);
            if let Ok(destination) = Destination::parse(&text, default) {
                prop_assert_ne!(destination.port, 0);
                prop_assert_eq!(Destination::parse(&destination.to_string(), None), Ok(destination));
            }
        }

        #[test]
        fn every_address_is_a_destination(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(), port in 1..=u16::MAX) {
            for ip in [IpAddr::from(v4), IpAddr::from(v6)] {
                let destination = Destination { host: Host::Ip(ip), port };
                prop_assert_eq!(Destination::parse(&destination.to_string(), None), Ok(destination));
            }
        }
    }
}
