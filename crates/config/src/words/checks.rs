//! The words of checks.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{no_choice, not_yet, quotes_hint};
use crate::read::Word;
use crate::secret::Secret;
use crate::units::Bad;

/// Longest text of a check.
const TEXT_BYTES_MAX: usize = 4096;

/// What a check asks, without the particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Tls,
    Http,
    Exchange,
    Postgres,
    Redis,
    Mysql,
    Command,
}

/// What a database server must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Any,
    Primary,
    Master,
}

choice! {
    /// What a check asks.
    KindWord(Kind), [
        "tcp" => Kind::Tcp,
        "tls" => Kind::Tls,
        "http" => Kind::Http,
        "exchange" => Kind::Exchange,
        "postgres" => Kind::Postgres,
        "redis" => Kind::Redis,
        "mysql" => Kind::Mysql,
        "command" => Kind::Command
    ], []
}

choice! {
    /// What a database server must be.
    RoleWord(Role), ["any" => Role::Any, "primary" => Role::Primary, "master" => Role::Master], []
}

word! {
    /// Text without control characters.
    Text(String), "a text", "/health", "^.+$", |text| {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            let message = "this is no text of 1 to 4096 bytes without control characters";
            return Err(Bad::new(message, "shorten it, or leave the key out"));
        }
        Ok(text.to_owned())
    }
}

word! {
    /// A password, which no message repeats.
    Hidden(Secret), "a password", "…", "^.+$", |text| {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains('\0') {
            return Err(Bad::new("this cannot be a password", "give 1 to 4096 bytes, or leave `password` out"));
        }
        Ok(Secret::new(text))
    }
}

word! {
    /// Bytes, some of them escaped.
    Escaped(Vec<u8>), "a text with escapes", "PING\\r\\n", "^.+$", |text| {
        let hint = "the escapes are \\r, \\n, \\t, \\0, \\\\ and \\xNN; in a TOML string with double quotes each needs two backslashes";
        let bytes = unescape(text).ok_or_else(|| Bad::new("an escape in this text is unknown", hint))?;
        if bytes.is_empty() || bytes.len() > TEXT_BYTES_MAX {
            return Err(Bad::new("this is no text of 1 to 4096 bytes", "shorten it, or leave the key out"));
        }
        Ok(bytes)
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?
                }
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_bytes() {
        assert_eq!(unescape(r"PING\r\n\x00\xfF\\"), Some(b"PING\r\n\0\xff\\".to_vec()));
        assert_eq!((unescape(r"\q"), unescape(r"\x0"), unescape("\\")), (None, None, None));
    }
}
