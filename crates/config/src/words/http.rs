//! The words of HTTP: paths, methods, fields, expressions, and texts with places for what a request has.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;
use towpath_wire::http1::path;

use super::{SIZE, no_choice, not_yet, quotes_hint, size_within};
use crate::near::{excerpt, near};
use crate::read::Word;
use crate::secret::Secret;
use crate::units::{Bad, Size};
use crate::{Coding, ForwardedFields, RecordFormat};

/// Most memory of an expression that is ready for use.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Longest text that is read as an expression, a value or a path.
const TEXT_BYTES_MAX: usize = 4096;

/// Longest body of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Fields that are of one connection, and those that say how long a body is: what is done to them is not for a file to say.
const OF_CONNECTIONS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

word! {
    /// The path that others are compared with, or what they begin with: as servers read it, which is how those are compared.
    PathWord(String), "a path", "/api", "^/[^?# ]*$", |text| {
        let path = written(text)?;
        let hint = "write the path that it comes to";
        let plain = path::plain(&path).ok_or_else(|| Bad::new(format!("`{}` leads out of the root", excerpt(text)), hint))?;
        Ok(plain.into_owned())
    }
}

word! {
    /// The path that a request goes on with, or what it begins with then.
    NewPathWord(String), "a path", "/api", "^/[^?# ]*$", |text| {
        written(text)
    }
}

/// A path that may be in a request.
fn written(text: &str) -> Result<String, Bad> {
    let hint =
        "begin it with /, as in \"/api\"; write spaces and other special characters as %20 and the like";
    let fine = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    match text.starts_with('/') && text.len() <= TEXT_BYTES_MAX && text.bytes().all(fine) {
        true => Ok(text.to_owned()),
        false => Err(Bad::new(format!("`{}` is no path of HTTP", excerpt(text)), hint)),
    }
}

word! {
    /// A regular expression.
    RegexWord(Regex), "a regular expression", "^/users/[0-9]+$", "^.+$", |text| {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            let message = "this is no expression of 1 to 4096 bytes";
            return Err(Bad::new(message, "shorten it, or leave the key out"));
        }
        RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
            let hint = "the syntax is that of the Rust crate regex; write it in single quotes, in which \\ stands for itself";
            match error {
                regex::Error::CompiledTooBig(_) => {
                    Bad::new(format!("the expression `{}` is too large", excerpt(text)), "simplify it, or make its repetitions smaller")
                }
                error => {
                    let told = error.to_string();
                    let why = told.lines().last().map_or("", |line| line.trim_start_matches("error: "));
                    Bad::new(format!("`{}` is no regular expression: {why}", excerpt(text)), hint)
                }
            }
        })
    }
}

/// The groups that a replacement names and an expression does not have.
pub(crate) fn lacks_groups(regex: &Regex, replacement: &str) -> Option<String> {
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    let has = |name: &str| match name.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => names.contains(&name),
    };
    let mut rest = replacement;
    while let Some((_, behind)) = rest.split_once('$') {
        if let Some(behind) = behind.strip_prefix('$') {
            rest = behind;
            continue;
        }
        let braced = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
        let end = behind.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(behind.len());
        let name = braced.map_or(&behind[..end], |(name, _)| name);
        if !name.is_empty() && !has(name) {
            return Some(name.to_owned());
        }
        rest = braced.map_or(&behind[end..], |(_, behind)| behind);
    }
    None
}

/// Whether a text is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=256).contains(&text.len()) && text.bytes().all(fine)
}

word! {
    /// A method of requests.
    MethodWord(String), "a method", "GET", "^[^a-z ]+$", |text| {
        if !is_token(text) {
            return Err(Bad::new(format!("`{}` is no method", excerpt(text)), "write it as in \"GET\""));
        }
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let hint = format!("write \"{}\"", text.to_ascii_uppercase());
            return Err(Bad::new(format!("the method `{}` is not in upper case", excerpt(text)), hint));
        }
        Ok(text.to_owned())
    }
}

word! {
    /// The name of a field, in lower case.
    FieldName(String), "the name of a field", "x-user", "^[^ :]+$", |text| match is_token(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => {
            let hint = "a name has letters, digits and a few signs such as -, as in \"x-user\"";
            Err(Bad::new(format!("`{}` is no name of a field", excerpt(text)), hint))
        }
    }
}

word! {
    /// The name of a field that may be set, in lower case.
    EditName(String), "the name of a field", "x-user", "^[^ :]+$", |text| {
        let FieldName(name) = FieldName::from_word(text)?;
        if OF_CONNECTIONS.contains(&name.as_str()) {
            let hint = "leave it out: towpath takes such fields out and makes its own, on both sides";
            return Err(Bad::new(format!("`{}` is of the connection, not of the request", excerpt(text)), hint));
        }
        Ok(name)
    }
}

word! {
    /// The name of a cookie.
    CookieName(String), "the name of a cookie", "session", "^[^ =;,]+$", |text| match is_token(text) {
        true => Ok(text.to_owned()),
        false => Err(Bad::new(format!("`{}` is no name of a cookie", excerpt(text)), "write it as in \"session\"")),
    }
}

word! {
    /// The value of a field.
    FieldValue(String), "the value of a field", "{client}", "^[ -~]*$", |text| {
        value(text)?;
        known_places(text, &["client", "host", "path", "scheme", "request_id"])?;
        Ok(text.to_owned())
    }
}

fn value(text: &str) -> Result<(), Bad> {
    let fine = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
    if text.len() > TEXT_BYTES_MAX || !text.bytes().all(fine) || text.trim_ascii() != text {
        let hint = "a value has up to 4096 printable characters of ASCII, and no space at either end";
        // It may be a password: it is not repeated.
        return Err(Bad::new("this cannot be the value of a field", hint));
    }
    Ok(())
}

/// Notes a `{word}` that stands for nothing; other braces are themselves.
fn known_places(text: &str, known: &[&str]) -> Result<(), Bad> {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('{') {
        let end =
            behind.find(|c: char| c != '_' && c != '-' && !c.is_ascii_alphanumeric()).unwrap_or(behind.len());
        let (word, tail) = behind.split_at(end);
        if tail.starts_with('}') && !word.is_empty() && !known.contains(&word) {
            let hint = match near(word, known.iter().copied()) {
                Some(near) => format!("did you mean {{{near}}}?"),
                None => format!(
                    "there are {}",
                    known.iter().map(|word| format!("{{{word}}}")).collect::<Vec<_>>().join(", ")
                ),
            };
            return Err(Bad::new(format!("`{{{}}}` stands for nothing here", excerpt(word)), hint));
        }
        rest = tail;
    }
    Ok(())
}

word! {
    /// Where clients are sent.
    RedirectWord(String), "a URL or a path", "https://{host}{path}{query}", "^[!-~]+$", |text| {
        let hint = "write it as in \"https://{host}{path}{query}\" or \"/new{query}\"";
        let begins = ["http://", "https://", "{scheme}://", "/", "{path}"].iter().any(|begin| text.starts_with(begin));
        if !begins || text.len() > TEXT_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Bad::new(format!("`{}` is no place to send clients to", excerpt(text)), hint));
        }
        known_places(text, &["scheme", "host", "path", "query"])?;
        Ok(text.to_owned())
    }
}

word! {
    /// The body of an answer.
    AnswerText(String), "a text", "Down for maintenance", "", |text| match text.len() <= ANSWER_BYTES_MAX {
        true => Ok(text.to_owned()),
        false => Err(Bad::new("this answer is longer than 64KiB", "shorten it, or have a server give it")),
    }
}

word! {
    /// The longest head of a request: what the readers of heads can take is the limit.
    HeadBytes(usize), "a size", "16KiB", SIZE, |text| size_within(text, Size(1 << 10), Size(towpath_wire::http1::HEAD_BYTES_MAX as u64))
}

word! {
    /// The bytes of a body that are kept: up to 16MiB.
    ReplayBytes(usize), "a size", "64KiB", SIZE, |text| size_within(text, Size(0), Size(16 << 20))
}

word! {
    /// Any number of bytes.
    Bytes(u64), "a size", "10MiB", SIZE, |text| text.parse().map(|size: Size| size.0)
}

word! {
    /// What cookies are signed with, which no message repeats.
    SignSecret(Secret), "a secret", "…", "^.{16,}$", |text| {
        if !(16..=TEXT_BYTES_MAX).contains(&text.len()) {
            let hint = "give 16 to 4096 bytes, as `openssl rand -hex 32` makes them";
            return Err(Bad::new("this secret is too short or too long", hint));
        }
        Ok(Secret::new(text))
    }
}

choice! {
    /// The fields that tell backends of the client.
    ForwardedWord(ForwardedFields), [
        "x_forwarded" => ForwardedFields { x_forwarded: true, standard: false },
        "forwarded" => ForwardedFields { x_forwarded: false, standard: true },
        "both" => ForwardedFields { x_forwarded: true, standard: true },
        "off" => ForwardedFields { x_forwarded: false, standard: false }
    ], []
}

choice! {
    /// The form of the records of requests.
    RecordWord(RecordFormat), [
        "own" => RecordFormat::Own,
        "common" => RecordFormat::Common,
        "combined" => RecordFormat::Combined
    ], []
}

choice! {
    /// Whether backends speak HTTP/2.
    HttpVersionWord(bool), ["1.1" => false, "2" => true], []
}

choice! {
    /// A coding in which answers may be compressed.
    CodingWord(Coding), ["zstd" => Coding::Zstd, "br" => Coding::Brotli, "gzip" => Coding::Gzip], []
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_braces_stand_for_something() {
        let known = |text: &str| known_places(text, &["host", "path"]).is_ok();
        assert!(known("a{host}{path}b") && known("{\"group\":1}") && known("{}{") && known("}{host}"));
        assert!(!known("{hots}") && !known("{host}{x}") && !known("{{x}}"));
    }

    #[test]
    fn replacements_name_groups_that_are_there() {
        let regex = Regex::new("^/(a+)/(?<rest>.*)$").unwrap();
        let lacks = |text: &str| lacks_groups(&regex, text);
        assert_eq!(
            (lacks("/$1/${rest}"), lacks("/$$9/$0"), lacks("$rest$2"), lacks("$")),
            (None, None, None, None)
        );
        assert_eq!(
            (lacks("/$3"), lacks("$1a"), lacks("${x}")),
            (Some("3".into()), Some("1a".into()), Some("x".into()))
        );
    }

    #[test]
    fn names_are_tokens_and_not_of_the_connection() {
        assert_eq!(EditName::from_word("X-User").map(|name| name.0), Ok("x-user".to_owned()));
        for bad in ["", "a b", "a:", "ä", "Transfer-Encoding", "connection"] {
            assert!(EditName::from_word(bad).is_err(), "{bad}");
        }
    }
}
