//! What a client writes to a proxy in place of a path: a whole URL (RFC 9112, section 3.2.2).

use std::borrow::Cow;

use crate::destination::{Destination, DestinationError};

/// The port of `http` (RFC 9110, section 4.2.1).
const PORT: u16 = 80;

/// A URL of the scheme `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absolute<'a> {
    /// Where it leads to.
    pub destination: Destination,
    /// The path and the query for the server there; it begins with a slash.
    pub path: Cow<'a, str>,
    /// Host and port as they are written: the value of Host for the server.
    pub authority: &'a str,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetFault {
    /// It is a path, an authority or an asterisk.
    #[error("not a whole URL")]
    Form,
    /// It has other characters than visible ASCII.
    #[error("a character that no URL has")]
    Character,
    /// Its scheme is another.
    #[error("a scheme other than http")]
    Scheme,
    /// It names a user.
    #[error("user info in the URL")]
    UserInfo,
    /// It has a fragment, which is for clients alone.
    #[error("a fragment in the URL")]
    Fragment,
    /// Its authority is none.
    #[error("the authority of the URL: {0}")]
    Authority(DestinationError),
}

/// Reads `http://HOST[:PORT][/PATH][?QUERY]`.
///
/// # Errors
/// What is wrong with it.
pub fn absolute(target: &str) -> Result<Absolute<'_>, TargetFault> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TargetFault::Character);
    }
    // A path may have a URL in it.
    let (scheme, rest) =
        target.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).ok_or(TargetFault::Form)?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(TargetFault::Scheme);
    }
    if rest.contains('#') {
        return Err(TargetFault::Fragment);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(TargetFault::UserInfo);
    }
    let destination = Destination::parse(authority, Some(PORT)).map_err(TargetFault::Authority)?;
    let path = if path.starts_with('/') { Cow::Borrowed(path) } else { Cow::Owned(format!("/{path}")) };
    Ok(Absolute { destination, path, authority })
}

/// Whether the target of a request that is not CONNECT can be one at all, be it for a server or of another scheme.
pub fn is_target(target: &str) -> bool {
    if target.bytes().any(|byte| matches!(byte, b'<' | b'>' | b'"' | b'`')) {
        return false;
    }
    // No scheme begins with a slash.
    if target.starts_with('/') {
        return target.bytes().all(|byte| byte.is_ascii_graphic());
    }
    match absolute(target) {
        Ok(_) => true,
        Err(TargetFault::Form) => target == "*",
        Err(TargetFault::Scheme) => target.split_once("://").is_some_and(|(_, rest)| {
            let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
            Destination::parse(authority, Some(PORT)).is_ok()
        }),
        Err(_) => false,
    }
}

/// Whether it is the name of a scheme (RFC 3986, section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}
