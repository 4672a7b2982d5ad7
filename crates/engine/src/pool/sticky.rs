//! A cookie that brings a client back to its backend, and cookies as such (RFC 6265).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::header::{COOKIE, HeaderMap, HeaderValue};
use towpath_config::Sticky;

/// Bytes of the code that stands for a backend (RFC 2104, section 5, allows half of them).
const TAG_BYTES: usize = 16;
/// The same in base64.
const TAG_TEXT_BYTES: usize = 22;

/// Stands for a backend: nobody can tell which without the secret, nor make one up.
#[derive(Clone, Copy)]
pub(crate) struct Tag([u8; TAG_BYTES]);

impl Tag {
    /// Whether both stand for the same backend, in a time that tells nothing of them.
    pub(crate) fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag")
    }
}

/// The cookie of a pool. The same secret makes the same cookies, in another process too.
#[derive(Debug)]
pub(crate) struct StickyKey {
    key: Key,
    name: String,
    max_age: Option<Duration>,
}

impl StickyKey {
    pub(crate) fn new(sticky: &Sticky) -> Self {
        let key = Key::new(HMAC_SHA256, sticky.secret.reveal().as_bytes());
        Self { key, name: sticky.cookie.clone(), max_age: sticky.max_age }
    }

    /// The name of the cookie.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What stands for the backend `target`. It costs a microsecond: keep it with the backend.
    pub(crate) fn tag(&self, target: &str) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [self.name.as_bytes(), &[0], target.as_bytes()] {
            context.update(part);
        }
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
        Tag(tag)
    }

    /// The value of the `Set-Cookie` field that sends a client to the backend of `tag`; `None` if the cookie's name cannot be in a
    /// field.
    pub(crate) fn write(&self, tag: &Tag, is_https: bool) -> Option<HeaderValue> {
        let mut text = format!("{}=", self.name);
        BASE64_URL_SAFE_NO_PAD.encode_string(tag.0, &mut text);
        text.push_str("; Path=/; HttpOnly; SameSite=Lax");
        if is_https {
            text.push_str("; Secure");
        }
        if let Some(age) = self.max_age {
            // Nought would take it away.
            text.push_str(&format!("; Max-Age={}", age.as_secs().max(1)));
        }
        HeaderValue::try_from(text).ok()
    }

    /// What a client's cookie says: the first that can be one of ours. Whether it is turns out when it fits a backend's.
    pub(crate) fn read(&self, fields: &HeaderMap) -> Option<Tag> {
        cookies(fields, &self.name).filter(|value| value.len() == TAG_TEXT_BYTES).find_map(|value| {
            let mut tag = [0; TAG_BYTES];
            let length = BASE64_URL_SAFE_NO_PAD.decode_slice(value, &mut tag).ok()?;
            (length == TAG_BYTES).then_some(Tag(tag))
        })
    }
}

/// The value of the first cookie of this name.
pub(crate) fn cookie<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    cookies(fields, name).next()
}

/// Takes the cookies of this name out, and leaves the others as they are.
pub(crate) fn strip(fields: &mut HeaderMap, name: &str) {
    if cookie(fields, name).is_none() {
        return;
    }
    let kept: Vec<_> = fields.get_all(COOKIE).into_iter().filter_map(|value| without(value, name)).collect();
    fields.remove(COOKIE);
    for value in kept {
        let _ = fields.try_append(COOKIE, value);
    }
}

/// Makes one field of all cookies: HTTP/2 has them in several, which HTTP/1 must not (RFC 9113, section 8.2.3).
pub(crate) fn join(fields: &mut HeaderMap) {
    let values: Vec<_> = fields.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes).collect();
    if values.len() > 1
        && let Ok(value) = HeaderValue::try_from(values.join(&b"; "[..]))
    {
        let _ = fields.try_insert(COOKIE, value);
    }
}

fn cookies<'a>(fields: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let values = fields.get_all(COOKIE).into_iter();
    values.flat_map(|value| crumbs(value.as_bytes())).filter_map(move |crumb| value_of(crumb, name))
}

fn crumbs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn value_of<'a>(crumb: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = crumb.iter().position(|byte| *byte == b'=')?;
    (crumb[..at].trim_ascii_end() == name.as_bytes()).then(|| crumb[at + 1..].trim_ascii_start())
}

fn without(value: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let is_other = |crumb: &&[u8]| value_of(crumb, name).is_none();
    if crumbs(value.as_bytes()).all(|crumb| is_other(&crumb)) {
        return Some(value.clone());
    }
    let others: Vec<_> =
        crumbs(value.as_bytes()).filter(is_other).filter(|crumb| !crumb.is_empty()).collect();
    let mut left = HeaderValue::try_from(others.join(&b"; "[..])).ok().filter(|left| !left.is_empty())?;
    left.set_sensitive(value.is_sensitive());
    Some(left)
}

#[cfg(test)]
mod tests;
