//! What backends are told of the client: `X-Forwarded-*` and `Forwarded` (RFC 7239).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::{Entry, FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use towpath_config::ForwardedFields;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The address of a client, and the same as servers are told it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    ip: IpAddr,
    value: HeaderValue,
}

impl Told {
    pub(crate) fn new(ip: IpAddr) -> Option<Self> {
        let ip = ip.to_canonical();
        let value = HeaderValue::try_from(ip.to_string()).ok()?;
        Some(Self { ip, value })
    }
}

/// What is known of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// Its address; those at a unix socket have none.
    pub(crate) client: Option<&'a Told>,
    /// `http` or `https`, as it came.
    pub(crate) scheme: &'static str,
    /// The host that it named, with its port if it did.
    pub(crate) host: Option<&'a str>,
    /// Whether its word of who it asks for counts.
    pub(crate) is_trusted: bool,
}

/// Tells backends of the client. What it says of that itself is taken out, unless it is trusted: then ours comes after it.
pub(crate) fn apply(fields: &mut HeaderMap, facts: &Facts<'_>, which: ForwardedFields) {
    // Many a server takes `X_Forwarded_For` for the same, and no proxy sets it.
    let is_out =
        |name: &&HeaderName| tells_of_client(name) && (!facts.is_trusted || name.as_str().contains('_'));
    let out: Vec<HeaderName> = fields.keys().filter(is_out).cloned().collect();
    for name in &out {
        fields.remove(name);
    }
    if which.x_forwarded {
        if let Some(client) = facts.client {
            append(fields, X_FORWARDED_FOR, client.value.clone());
        }
        set_if_absent(fields, X_FORWARDED_PROTO, Some(HeaderValue::from_static(facts.scheme)));
        set_if_absent(fields, X_FORWARDED_HOST, facts.host.and_then(|host| HeaderValue::from_str(host).ok()));
    }
    if which.standard
        && let Ok(element) = HeaderValue::try_from(element(facts))
    {
        append(fields, FORWARDED, element);
    }
}

/// Whom a trusted peer asks for: the last in `X-Forwarded-For`, or else in `Forwarded`, that is not trusted itself, as all before
/// it is that one's word.
pub(crate) fn client_told(fields: &HeaderMap, is_trusted: bool, trusted: &[IpNet]) -> Option<IpAddr> {
    if !is_trusted {
        return None;
    }
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match fields.contains_key(X_FORWARDED_FOR) {
        true => (X_FORWARDED_FOR, address),
        false => (FORWARDED, for_whom),
    };
    let values: Vec<_> = fields.get_all(name).into_iter().collect();
    let entries = values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    let mut told = None;
    for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        let Some(ip) = str::from_utf8(entry).ok().and_then(read) else { break };
        told = Some(ip);
        if !trusted.iter().any(|network| network.contains(&ip)) {
            break;
        }
    }
    told
}

/// Whether a field is one of those by which proxies tell of clients, be it with underscores.
fn tells_of_client(name: &HeaderName) -> bool {
    let begins = |wanted: &str| {
        let name = name.as_str().bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
        name.take(wanted.len()).eq(wanted.bytes())
    };
    let is = |wanted: &str| name.as_str().len() == wanted.len() && begins(wanted);
    begins("x-forwarded-") || is("x-real-ip") || is(FORWARDED.as_str())
}

/// Puts `told` behind what is there, all in one field: some read only the first of several.
fn append(fields: &mut HeaderMap, name: HeaderName, told: HeaderValue) {
    let mut there = match fields.try_entry(name) {
        Ok(Entry::Occupied(there)) => there,
        Ok(Entry::Vacant(place)) => return drop(place.try_insert(told)),
        Err(_) => return,
    };
    let mut whole = Vec::new();
    for value in there.iter().filter(|value| !value.is_empty()) {
        whole.extend_from_slice(value.as_bytes());
        whole.extend_from_slice(b", ");
    }
    whole.extend_from_slice(told.as_bytes());
    if let Ok(value) = HeaderValue::try_from(whole) {
        there.insert(value);
    }
}

fn set_if_absent(fields: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value
        && let Ok(Entry::Vacant(place)) = fields.try_entry(name)
    {
        let _ = place.try_insert(value);
    }
}

/// An element of `Forwarded` (RFC 7239, sections 4 and 6).
fn element(facts: &Facts<'_>) -> String {
    let told = match facts.client.map(|client| client.ip) {
        Some(IpAddr::V4(ip)) => format!("for={ip}"),
        Some(IpAddr::V6(ip)) => format!("for=\"[{ip}]\""),
        None => "for=unknown".to_owned(),
    };
    let host = facts.host.filter(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()));
    let host = host.map_or(String::new(), |host| format!(";host={}", token_or_quoted(host)));
    format!("{told}{host};proto={}", facts.scheme)
}

/// As a token (RFC 9110, section 5.6.2) if it is one, or else in quotes.
fn token_or_quoted(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Whom an element of `Forwarded` is for. No address has a comma or a semicolon in it, so that quotes around one may be anywhere.
fn for_whom(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let value = value.trim();
    address(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address with or without a port; one of version 6 may be in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests;
