//! The fields of a message that a proxy changes (RFC 9110, section 7.6).

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{
    CONNECTION, FORWARDED, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::http::request::Parts;
use hyper::{Version, http};
use towpath_config::Login;

/// Fields that are for the next hop alone, whether `Connection` names them or not.
const FOR_ONE_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The protocol that a message asks to go over to, or agrees to.
pub(super) fn upgrade(fields: &HeaderMap) -> Option<HeaderValue> {
    let names =
        fields.get_all(CONNECTION).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let asks = names.into_iter().any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    fields.get(UPGRADE).filter(|_| asks).cloned()
}

/// Takes out what is for this hop alone. Trailers are passed on, so their announcement stays.
pub(super) fn strip(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != TRAILER)
        .collect();
    for name in named.iter().chain(&FOR_ONE_HOP) {
        fields.remove(name);
    }
}

/// Says that the message went this way.
pub(super) fn add_via(fields: &mut HeaderMap, version: Version, name: Option<&str>) {
    let Some(name) = name else { return };
    let version = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{version} {name}")) {
        fields.append(VIA, value);
    }
}

/// Says whose request it is (RFC 7239); what the client says of that itself is not passed on.
pub(super) fn set_forwarded(fields: &mut HeaderMap, client: Option<SocketAddr>) {
    let told = match client.map(|client| client.ip().to_canonical()) {
        Some(ip) if ip.is_ipv4() => format!("for={ip};proto=http"),
        Some(ip) => format!("for=\"[{ip}]\";proto=http"),
        None => "for=unknown;proto=http".to_owned(),
    };
    if let Ok(value) = HeaderValue::try_from(told) {
        fields.insert(FORWARDED, value);
    }
}

/// Leaves the form for a proxy, with what that wants to know of us.
pub(super) fn address_proxy(parts: &mut Parts, authority: &str, login: Option<&Login>) -> Option<()> {
    if let Some(Login { name, password }) = login {
        let credentials = BASE64_STANDARD.encode(format!("{name}:{}", password.reveal()));
        let mut value = HeaderValue::try_from(format!("Basic {credentials}")).ok()?;
        value.set_sensitive(true);
        parts.headers.insert(PROXY_AUTHORIZATION, value);
    }
    parts.headers.insert(hyper::header::HOST, HeaderValue::try_from(authority).ok()?);
    parts.version = Version::HTTP_11;
    Some(())
}

/// Puts the form for a server in place of the one for a proxy: the path alone, and the host as a field.
pub(super) fn address_server(parts: &mut Parts, authority: &str) -> Option<()> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let path = if path.starts_with('?') { format!("/{path}") } else { path };
    parts.uri = if path.is_empty() { http::Uri::from_static("/") } else { path.parse().ok()? };
    parts.headers.insert(hyper::header::HOST, HeaderValue::try_from(authority).ok()?);
    parts.version = Version::HTTP_11;
    Some(())
}
