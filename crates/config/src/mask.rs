//! Hiding the passwords of a configuration's text where it is shown.

use std::ops::Range;

/// The text with three asterisks for each password.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for range in secrets(text) {
        out.push_str(&text[at..range.start]);
        out.push_str("***");
        at = range.end;
    }
    out + &text[at..]
}

/// The same with an asterisk for each byte, so that every other byte stays at its place.
pub(crate) fn masked_in_place(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    secrets(text).into_iter().for_each(|range| bytes[range].fill(b'*'));
    // Whole runs of characters were replaced by others of one byte a character.
    String::from_utf8(bytes).unwrap_or_default()
}

/// `message` without the passwords of `text`: it may tell what was written.
pub(crate) fn hidden_in(message: &str, text: &str) -> String {
    let long = secrets(text).into_iter().map(|range| &text[range]).filter(|secret| secret.len() >= 3);
    long.fold(message.to_owned(), |message, secret| message.replace(secret, "***"))
}

/// Keys whose values are secrets, fields that requests get among them.
const KEYS: [&str; 4] = ["password", "secret", "authorization", "Authorization"];

/// Where the passwords are: in the URLs of proxies, behind the names of users, and as values of [`KEYS`]; in order, none in
/// another.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let in_vias = values_of(text, "via").map(|range| {
        let url = &text[range.clone()];
        let start = secret_of_url(url);
        let end = url.rfind('@').filter(|at| *at >= start).unwrap_or(url.len());
        range.start + start..range.start + end
    });
    let of_users = values_of(text, "users").map(|range| {
        let colon = text[range.clone()].find(':').map_or(0, |colon| colon + 1);
        range.start + colon..range.end
    });
    let in_urls = text.match_indices("://").filter_map(|(at, scheme)| {
        let start = at + scheme.len();
        let rest = &text[start..];
        let end = rest.find(['"', '\'', '\n', ' ']).unwrap_or(rest.len());
        let at_sign = rest[..end].rfind('@')?;
        let colon = rest[..at_sign].find(':')?;
        Some(start + colon + 1..start + at_sign)
    });
    let of_keys = KEYS.into_iter().flat_map(|key| values_of(text, key));
    let mut all: Vec<_> = in_vias.chain(of_users).chain(of_keys).chain(in_urls).collect();
    all.retain(|range| !range.is_empty());
    all.sort_by_key(|range| (range.start, range.end));
    all.dedup_by(|next, before| {
        let overlaps = next.start < before.end;
        if overlaps {
            before.end = before.end.max(next.end);
        }
        overlaps
    });
    all
}

/// Where the password of the URL of a proxy may begin: behind the colon of its user, or of what may be meant for one; at the
/// end of a URL without a user.
fn secret_of_url(url: &str) -> usize {
    let single = || url.find(":/").map_or(0, |colon| colon + 2);
    let authority = url.find("://").map_or_else(single, |scheme| scheme + 3);
    let rest = &url[authority..];
    let Some(colon) = rest.find(':') else { return url.len() };
    let is_port = |text: &str| {
        let digits = text.split([',', '/', '?']).next().unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    // Several hosts, and addresses of version 6, have colons of their own.
    let is_plain = rest.split(',').all(|host| host.rsplit_once(':').is_none_or(|(_, port)| is_port(port)));
    if rest.contains('@') || !is_plain { authority + colon + 1 } else { url.len() }
}

/// The strings that a key has as its value, or as those of its array; of another value the rest of the line.
fn values_of<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let values = text.match_indices(key).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        let is_key =
            before.is_none_or(|before| before.is_whitespace() || matches!(before, '{' | ',' | '"' | '\''));
        let behind = text[at + key.len()..].trim_start_matches(['"', '\'', ' ', '\t']);
        let value = behind.strip_prefix('=').filter(|_| is_key)?;
        Some(text.len() - value.len())
    });
    values.flat_map(move |start| strings(text, start))
}

/// The contents of the string that begins at `start`, or of those of the array.
fn strings(text: &str, start: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = start;
    let mut in_array = false;
    while let Some(next) = text[at..].chars().next() {
        match next {
            '[' => in_array = true,
            '"' | '\'' => {
                let inside = at + 1;
                let end = closing(&text[inside..], next).map_or(text.len(), |end| inside + end);
                found.push(inside..end);
                at = end;
                if !in_array {
                    break;
                }
            }
            ' ' | '\t' | ',' => {}
            '\n' | '\r' if in_array => {}
            ']' | '\n' | '\r' | '}' | '#' => break,
            _ => {
                // What has no quotes is a mistake, and may be a password all the same.
                let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
                found.push(at..end);
                break;
            }
        }
        at = (at + next.len_utf8()).min(text.len());
    }
    found
}

/// Where a string ends.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = (c == quote && !is_escaped) || c == '\n';
        is_escaped = c == '\\' && quote == '"' && !is_escaped;
        ends.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::{hidden_in, masked, masked_in_place};

    #[test]
    fn passwords_are_hidden_wherever_they_are() {
        let hidden = [
            (
                r#"via = ["http://bob:pw@h:1", 'socks5://x:y@[::1]:2']"#,
                r#"via = ["http://bob:***@h:1", 'socks5://x:***@[::1]:2']"#,
            ),
            (r#"via = "http://bob:p@w:x@h:1""#, r#"via = "http://bob:***@h:1""#),
            (r#"via = "http://bob:p?w@h:1""#, r#"via = "http://bob:***@h:1""#),
            (r#"via = "http:/bob:pw@h:1""#, r#"via = "http:/bob:***@h:1""#),
            (r#"via = "http://bob:secret""#, r#"via = "http://bob:***""#),
            (r#"via = ["http://h:1,[::1]:2", "env"]"#, r#"via = ["http://h:1,[::1]:2", "env"]"#),
            (r#"users = "al:s""#, r#"users = "al:***""#),
            (r#"users = "secret""#, r#"users = "***""#),
            ("users = al:secret", "users = al:***"),
            ("users = { al = 'secret' }", "users = ***"),
            (
                "users = [ 'al:s',\n  \"bo:\\\"t:\" ]\nname = 'x:y'",
                "users = [ 'al:***',\n  \"bo:***\" ]\nname = 'x:y'",
            ),
            (
                r#"check = { kind = "redis", password = "secret" }"#,
                r#"check = { kind = "redis", password = "***" }"#,
            ),
            ("password=\"unclosed\nname = \"x\"", "password=\"***\nname = \"x\""),
            ("backend = 'http://h:80'", "backend = 'http://h:80'"),
            (
                r#"sticky = { cookie = "c", secret = "0123456789abcdef" }"#,
                r#"sticky = { cookie = "c", secret = "***" }"#,
            ),
            ("secret_file = 'path'", "secret_file = 'path'"),
            ("set = { \"Authorization\" = 'Basic eDp5' }", "set = { \"Authorization\" = '***' }"),
            ("\"password\" = 'ä'", "\"password\" = '***'"),
            ("via_name = 'gate'", "via_name = 'gate'"),
        ];
        for (text, wanted) in hidden {
            assert_eq!(masked(text), wanted);
            assert_eq!(masked_in_place(text).len(), text.len());
        }
    }

    #[test]
    fn messages_repeat_no_password() {
        assert_eq!(hidden_in("write \"al:secret\"", "users = al:secret"), "write \"al:***\"");
    }
}
