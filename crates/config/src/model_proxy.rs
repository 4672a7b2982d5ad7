//! The checked configuration of proxies: being one, and going out through those of others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use towpath_wire::addr::PortRange;

use crate::model::{ClientTls, Dns, Pool, TunnelOut};
use crate::secret::Secret;

/// What a proxy lets its clients do.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Users with their passwords as they are.
    pub users: Vec<Login>,
    /// A file of users with hashes of their passwords, and its text.
    pub auth_file: Option<(PathBuf, Secret)>,
    /// Where they may go.
    pub destinations: Destinations,
    /// How long a client may take to say what it wants.
    pub header_timeout: Duration,
    /// The name in the `Via` field of HTTP requests; `None` adds none.
    pub via: Option<String>,
    /// Whether HTTP requests tell the client's address in a `Forwarded` field.
    pub forwarded: bool,
    /// How the names that clients give are looked up.
    pub dns: Dns,
}

/// A name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub name: String,
    /// What only they know.
    pub password: Secret,
}

/// Where clients of a proxy may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// What is let through although it is closed by default, or denied in general.
    pub allow: Vec<DestRule>,
    /// What is not; a rule for any host is a general one, to which `allow` makes exceptions.
    pub deny: Vec<DestRule>,
}

/// Some destinations, written `[USER@]HOST[:PORTS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestRule {
    /// Of this user alone.
    pub user: Option<String>,
    /// Where.
    pub host: DestHost,
    /// Only these ports.
    pub ports: Option<PortRange>,
}

/// The hosts of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestHost {
    /// All of them.
    Any,
    /// Addresses, be they given as such or looked up.
    Network(IpNet),
    /// One name, in lower case.
    Name(String),
    /// All names that end in this, which begins with a dot.
    Below(String),
}

/// A proxy, or several alike, that connections go through.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// How it is asked to connect on.
    pub protocol: HopProtocol,
    /// Where it is: a pool of its own, so that there may be several of which some fail.
    pub pool: Arc<Pool>,
    /// Who we are to it.
    pub login: Option<Login>,
    /// TLS to the proxy itself.
    pub tls: Option<ClientTls>,
    /// What a tunnel to it keeps to, if it is the far end of one.
    pub tunnel: Option<TunnelOut>,
}

/// How a proxy is asked to connect on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopProtocol {
    /// CONNECT of HTTP/1.1 (RFC 9110, section 9.3.6).
    Http,
    /// CONNECT of HTTP/2 (RFC 9113, section 8.5), many on one connection.
    H2,
    /// SOCKS version 5 (RFC 1928) with addresses: names are looked up here.
    Socks5,
    /// The same with names, which the proxy looks up.
    Socks5Names,
    /// SOCKS version 4a, with names.
    Socks4a,
    /// The lanes of a tunnel of our own.
    Tunnel,
}

impl HopProtocol {
    /// Whether the proxy looks names up.
    pub fn takes_names(self) -> bool {
        self != Self::Socks5
    }

    /// The scheme of its URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2 => "h2c",
            Self::Socks5 => "socks5",
            Self::Socks5Names => "socks5h",
            Self::Socks4a => "socks4a",
            Self::Tunnel => "towpath",
        }
    }
}
