//! Paths as servers read them, for those who decide by them.

use std::borrow::Cow;

/// A path as a server reads it that decodes it first, as most do: a route that keeps people out of `/admin` must know it in
/// `//admin`, `/%61dmin` and `/x/..%2fadmin`. `None` if it leads out of the root. For decisions alone: what goes on is the path
/// as it came.
pub fn plain(path: &str) -> Option<Cow<'_, str>> {
    if is_plain(path) {
        return Some(Cow::Borrowed(path));
    }
    if path.contains(['\\', '\0']) {
        return None;
    }
    let decoded = decode(path);
    // Some servers take the one for a slash, and end the path at the other.
    if decoded.contains('\\') || decoded.contains("%00") {
        return None;
    }
    let is_folder = [".", "..", ""].contains(&decoded.rsplit('/').next().unwrap_or_default());
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        // Some servers cut parameters off before they compare.
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            name => segments.push(name),
        }
    }
    let mut plain = String::with_capacity(decoded.len() + 1);
    for segment in &segments {
        plain.push('/');
        plain.push_str(segment);
    }
    if is_folder {
        plain.push('/');
    }
    Some(Cow::Owned(plain))
}

/// Whether there is nothing in a path that could be read in another way.
fn is_plain(path: &str) -> bool {
    let path = path.as_bytes();
    !path.iter().any(|byte| matches!(byte, b'\\' | b'\0' | b'%' | b';'))
        && !path.windows(2).any(|two| matches!(two, b"//" | b"/."))
}

/// Without the escapes of characters that can be seen, but for those that would mean something else then; the others in capitals.
fn decode(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut parts = path.split('%');
    decoded.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| byte.is_ascii_graphic() && !b"%?#".contains(byte)) {
            Some(byte) => {
                decoded.push(char::from(byte));
                decoded.push_str(&part[2..]);
            }
            None => {
                let (escape, rest) = part.split_at_checked(2).unwrap_or((part, ""));
                decoded.push('%');
                decoded.extend(escape.chars().map(|digit| digit.to_ascii_uppercase()));
                decoded.push_str(rest);
            }
        }
    }
    decoded
}
