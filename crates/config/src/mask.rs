//! Hiding the passwords of a configuration's text where it is shown.

use std::ops::Range;

/// The text with an asterisk for each byte of a password: in the URL of a proxy, behind the name of a user, and as the value
/// of a `password`. Every byte stays at its place.
pub fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let secrets =
        in_urls(text).chain(values_of(text, "users", true)).chain(values_of(text, "password", false));
    for range in secrets {
        bytes[range].fill(b'*');
    }
    // Whole strings were replaced by others of one byte a character.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The passwords of URLs: from the colon of the user info to its end.
fn in_urls(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices("://").filter_map(|(at, scheme)| {
        let start = at + scheme.len();
        let rest = &text[start..];
        let end = rest.find(['"', '\'', '\n', ' ', '?']).unwrap_or(rest.len());
        let at_sign = rest[..end].rfind('@')?;
        let colon = rest[..at_sign].find(':')?;
        Some(start + colon + 1..start + at_sign)
    })
}

/// The strings that a key has as its value, or as those of its array; with `named` from behind their first colon on.
fn values_of<'a>(text: &'a str, key: &'a str, named: bool) -> impl Iterator<Item = Range<usize>> + 'a {
    let values = text.match_indices(key).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        let is_key =
            before.is_none_or(|before| before.is_whitespace() || matches!(before, '{' | ',' | '"' | '\''));
        let behind = text[at + key.len()..].trim_start_matches(['"', '\'', ' ', '\t']);
        let value = behind.strip_prefix('=').filter(|_| is_key)?;
        Some(text.len() - value.len())
    });
    values.flat_map(move |start| strings(text, start)).filter_map(move |range| match named {
        false => Some(range),
        true => text[range.clone()].find(':').map(|colon| range.start + colon + 1..range.end),
    })
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
            _ => break,
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
    use super::masked;

    #[test]
    fn passwords_are_hidden_wherever_they_are() {
        let hidden = [
            (
                "via = [\"http://bob:pw@h:1\", 'socks5://x:y@[::1]:2']",
                "via = [\"http://bob:**@h:1\", 'socks5://x:*@[::1]:2']",
            ),
            ("via = \"http://bob:p@w:x@h:1?ca=a@b:c\"", "via = \"http://bob:*****@h:1?ca=a@b:c\""),
            ("users = \"al:s\"", "users = \"al:*\""),
            (
                "users = [ 'al:s',\n  \"bo:\\\"t:\" ]\nname = 'x:y'",
                "users = [ 'al:*',\n  \"bo:****\" ]\nname = 'x:y'",
            ),
            (
                "check = { kind = \"redis\", password = \"secret\" }",
                "check = { kind = \"redis\", password = \"******\" }",
            ),
            ("password=\"unclosed\nname = \"x\"", "password=\"********\nname = \"x\""),
            ("backend = 'http://h:80'", "backend = 'http://h:80'"),
            ("\"password\" = 'ä'", "\"password\" = '**'"),
        ];
        for (text, wanted) in hidden {
            assert_eq!(masked(text), wanted);
        }
    }
}
