//! What a user may write where towpath listens (LISTEN) and where it sends (TARGET).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest path of a unix socket, in bytes: `sun_path` holds 108 with its closing NUL (unix(7)).
pub const UNIX_PATH_MAX: usize = 107;

/// Longest host name, in bytes (RFC 1035 section 2.3.4, without the root dot).
pub const HOST_NAME_MAX: usize = 253;

/// A run of ports, both ends included: `8000` or `8000-8010`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// One port; `None` for port 0, which cannot be connected to.
    pub fn single(port: u16) -> Option<Self> {
        (port != 0).then_some(Self { first: port, last: port })
    }

    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// How many ports there are, at least 1.
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// The port for the listener at `offset` of its own range: one to one, or the only one there is.
    pub fn at(self, offset: u16) -> u16 {
        if self.count() == 1 { self.first } else { self.first.saturating_add(offset).min(self.last) }
    }

    /// All ports, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: port(first)?, last: port(last)? };
        if range.first > range.last {
            return Err(AddrError::BackwardRange(text.to_owned()));
        }
        Ok(range)
    }
}

/// Where a listener's TCP sockets bind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenHost {
    /// Every address of the machine, v4 and v6.
    Any,
    /// One address, or every address of one family (`0.0.0.0`, `[::]`).
    Ip(IpAddr),
    /// All addresses of a name.
    Name(HostName),
}

/// A LISTEN: `:PORT`, `HOST:PORT`, `[V6]:PORT`, each also with a range of ports, or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// TCP on one or several ports.
    Tcp {
        /// Which addresses.
        host: ListenHost,
        /// Which ports.
        ports: PortRange,
    },
    /// A unix stream socket.
    Unix(UnixPath),
}

impl Listen {
    /// How many sockets this makes: the length of the port range, 1 for a unix socket.
    pub fn count(&self) -> usize {
        match self {
            Self::Tcp { ports, .. } => ports.count(),
            Self::Unix(_) => 1,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: ListenHost::Any, ports } => write!(f, ":{ports}"),
            Self::Tcp { host: ListenHost::Ip(ip), ports } => write_ip(f, *ip, *ports),
            Self::Tcp { host: ListenHost::Name(name), ports } => write!(f, "{name}:{ports}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl FromStr for Listen {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.parse()?));
        }
        let (host, ports) = split_host(text)?;
        let host = match host {
            Host::Empty => ListenHost::Any,
            Host::Ip(ip) => ListenHost::Ip(ip),
            Host::Name(name) => ListenHost::Name(name),
        };
        Ok(Self::Tcp { host, ports })
    }
}

/// A TARGET: `HOST:PORT` (also with a range of ports), `unix:PATH` or `srv+NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address.
    Ip {
        /// The address.
        ip: IpAddr,
        /// The port, or one for each port of the listener.
        ports: PortRange,
    },
    /// A name, looked up when it is connected to.
    Name {
        /// The name.
        host: HostName,
        /// The port, or one for each port of the listener.
        ports: PortRange,
    },
    /// A unix stream socket.
    Unix(UnixPath),
    /// The hosts and ports of a DNS SRV record (RFC 2782).
    Srv(HostName),
}

impl Target {
    /// How many ports the target names: 1 unless it is a range.
    pub fn count(&self) -> usize {
        match self {
            Self::Ip { ports, .. } | Self::Name { ports, .. } => ports.count(),
            Self::Unix(_) | Self::Srv(_) => 1,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip { ip, ports } => write_ip(f, *ip, *ports),
            Self::Name { host, ports } => write!(f, "{host}:{ports}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Srv(name) => write!(f, "srv+{name}"),
        }
    }
}

impl FromStr for Target {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.parse()?));
        }
        if let Some(name) = text.strip_prefix("srv+") {
            return Ok(Self::Srv(name.parse()?));
        }
        match split_host(text)? {
            (Host::Empty, ports) => Ok(Self::Ip { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), ports }),
            (Host::Ip(ip), ports) => Ok(Self::Ip { ip, ports }),
            (Host::Name(host), ports) => Ok(Self::Name { host, ports }),
        }
    }
}

/// A host name: letters, digits, hyphens, underscores and dots, at most 253 bytes, labels at most 63.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let labels = text.strip_suffix('.').unwrap_or(text);
        let fine = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let numeric = labels.split('.').all(|label| label.bytes().all(|b| b.is_ascii_digit()));
        if labels.len() > HOST_NAME_MAX || numeric || !labels.split('.').all(fine) {
            return Err(AddrError::Host(excerpt(text)));
        }
        Ok(Self(text.into()))
    }
}

/// The path of a unix socket: not empty, without NUL, at most [`UNIX_PATH_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixPath(Box<str>);

impl UnixPath {
    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }

    /// The path, owned.
    pub fn to_path_buf(&self) -> PathBuf {
        self.as_path().to_owned()
    }
}

impl fmt::Display for UnixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UnixPath {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if text.is_empty() || text.contains('\0') {
            return Err(AddrError::UnixPathEmpty);
        }
        if text.len() > UNIX_PATH_MAX {
            return Err(AddrError::UnixPathLong { path: excerpt(text), bytes: text.len() });
        }
        Ok(Self(text.into()))
    }
}

/// Why a LISTEN or TARGET cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// Nothing after the last colon, or no colon.
    #[error("`{0}` names no port; write HOST:PORT, :PORT or unix:PATH")]
    NoPort(String),
    /// A port that is not a number from 1 to 65535.
    #[error("`{0}` is not a port; ports are numbers from 1 to 65535")]
    Port(String),
    /// A range that ends before it begins.
    #[error("the port range `{0}` ends before it begins")]
    BackwardRange(String),
    /// A v6 address without brackets.
    #[error("`{0}` has several colons; put a v6 address in brackets, as in [::1]:5432")]
    Brackets(String),
    /// Not a name, not an address.
    #[error("`{0}` is neither a host name nor an IP address")]
    Host(String),
    /// `unix:` with nothing usable behind it.
    #[error("a unix socket needs a path without NUL, as in unix:/run/app.sock")]
    UnixPathEmpty,
    /// A path that the kernel cannot hold.
    #[error("the unix socket path `{path}` has {bytes} bytes; the kernel takes {UNIX_PATH_MAX}")]
    UnixPathLong {
        /// The path, cut if long.
        path: String,
        /// Its length.
        bytes: usize,
    },
}

enum Host {
    Empty,
    Ip(IpAddr),
    Name(HostName),
}

fn split_host(text: &str) -> Result<(Host, PortRange), AddrError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, ports) = rest.split_once("]:").ok_or_else(|| AddrError::NoPort(excerpt(text)))?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| AddrError::Host(excerpt(ip)))?;
        return Ok((Host::Ip(IpAddr::V6(ip)), ports.parse()?));
    }
    let (host, ports) = text.rsplit_once(':').ok_or_else(|| AddrError::NoPort(excerpt(text)))?;
    if host.contains(':') {
        return Err(AddrError::Brackets(excerpt(text)));
    }
    if ports.is_empty() {
        return Err(AddrError::NoPort(excerpt(text)));
    }
    let ports = ports.parse()?;
    let host = match host {
        "" => Host::Empty,
        _ => match host.parse::<Ipv4Addr>() {
            Ok(ip) => Host::Ip(IpAddr::V4(ip)),
            Err(_) => Host::Name(host.parse()?),
        },
    };
    Ok((host, ports))
}

fn port(text: &str) -> Result<u16, AddrError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(AddrError::Port(excerpt(text))),
    }
}

fn write_ip(f: &mut fmt::Formatter<'_>, ip: IpAddr, ports: PortRange) -> fmt::Result {
    match ip {
        IpAddr::V4(ip) => write!(f, "{ip}:{ports}"),
        IpAddr::V6(ip) => write!(f, "[{ip}]:{ports}"),
    }
}

/// At most 64 characters of what the user wrote, for messages.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
