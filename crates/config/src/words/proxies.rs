//! The words of proxies: users, destinations, and the URLs of proxies to go through.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;
use towpath_wire::addr::{HostName, PortRange};

use super::clients::Network;
use super::{no_choice, not_yet, quotes_hint};
use crate::near::excerpt;
use crate::read::Word;
use crate::secret::Secret;
use crate::units::Bad;
use crate::{DestHost, DestRule, HostPattern, Login};

/// Longest name or password: a SOCKS login counts them in a byte (RFC 1929).
const LOGIN_BYTES_MAX: usize = 255;

word! {
    /// A user of a proxy.
    UserWord(Login), "a user", "alice:secret", "^[^:]+:.+$", |text| {
        let hint = "write it as in \"alice:secret\"; for hashes in place of passwords use auth_file";
        match text.split_once(':') {
            Some((name, password)) if is_login(name) && is_login(password) => {
                Ok(Login { name: name.to_owned(), password: Secret::new(password) })
            }
            _ => Err(Bad::new("this is no user with a password, NAME:PASSWORD", hint)),
        }
    }
}

/// Whether a text can be a name or a password of a login.
pub(crate) fn is_login(text: &str) -> bool {
    (1..=LOGIN_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

word! {
    /// Destinations of a proxy.
    DestWord(DestRule), "destinations", "*.internal:443", "", |text| {
        let bad = || {
            let hint = "write [USER@]HOST[:PORTS], where HOST is *, a network, a name or *.NAME, as in \
                        \"127.0.0.0/8\", \"*.internal:443\" or \"alice@*:8000-8999\"";
            Bad::new(format!("`{}` is no destination", excerpt(text)), hint)
        };
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) if is_login(user) => (Some(user.to_owned()), place),
            Some(_) => return Err(bad()),
            None => (None, text),
        };
        let (host, ports) = split_ports(place).ok_or_else(bad)?;
        let ports = ports.map(str::parse::<PortRange>).transpose().map_err(|_| bad())?;
        Ok(DestRule { user, host: dest_host(host).map_err(|error| error.unwrap_or_else(bad))?, ports })
    }
}

/// The host and the ports behind the last colon, if there are any; a v6 network has colons of its own.
fn split_ports(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, behind) = rest.split_once(']')?;
        return match behind {
            "" => Some((host, None)),
            _ => Some((host, Some(behind.strip_prefix(':')?))),
        };
    }
    match place.matches(':').count() {
        0 => Some((place, None)),
        1 => place.split_once(':').map(|(host, ports)| (host, Some(ports))),
        _ => Some((place, None)),
    }
}

fn dest_host(host: &str) -> Result<DestHost, Option<Bad>> {
    if host == "*" || host.is_empty() {
        return Ok(DestHost::Any);
    }
    let looks_numeric = host.contains('/') || host.contains(':') || host.parse::<std::net::IpAddr>().is_ok();
    if looks_numeric {
        let Network(network) = Network::from_word(host).map_err(Some)?;
        return Ok(DestHost::Network(network));
    }
    let plain = |name: &str| -> Result<String, Option<Bad>> {
        let name = name.parse::<HostName>().map_err(|_| None)?;
        Ok(name.as_str().trim_end_matches('.').to_ascii_lowercase())
    };
    match host.strip_prefix("*.") {
        Some(name) => Ok(DestHost::Below(format!(".{}", plain(name)?))),
        None => Ok(DestHost::Name(plain(host)?)),
    }
}

word! {
    /// Names of hosts that a route is for.
    NamePattern(HostPattern), "a name", "*.example.com", "", |text| match dest_host(text) {
        Ok(DestHost::Name(name)) => Ok(HostPattern::Exact(name)),
        Ok(DestHost::Below(end)) => Ok(HostPattern::Below(end)),
        _ => {
            let hint = "write it as in \"www.example.com\" or \"*.example.com\"";
            Err(Bad::new(format!("`{}` is no name of a host", excerpt(text)), hint))
        }
    }
}

/// What a route goes by, without the particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    TlsSni,
    HttpHost,
    Ssh,
    Postgres,
    Socks,
    Any,
}

choice! {
    /// What a route goes by.
    MatchWord(Kinds), [
        "tls_sni" => Kinds::TlsSni,
        "http_host" => Kinds::HttpHost,
        "ssh" => Kinds::Ssh,
        "postgres" => Kinds::Postgres,
        "socks" => Kinds::Socks,
        "any" => Kinds::Any
    ], []
}

word! {
    /// The URL of a proxy to go through; read with the pool that it is of.
    ViaWord(Secret), "the URL of a proxy", "http://proxy:3128", "^[a-z0-9+]+://.+$|^env$", |text| Ok(Secret::new(text))
}
