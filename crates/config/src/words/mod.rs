//! The values that a file writes as strings: what each may be, what it becomes, what to say of others.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;
use towpath_wire::addr::{AddrError, Listen, Target};

use crate::near::{excerpt, near};
use crate::read::Word;
use crate::units::{self, Bad, Size};
use crate::{Balance, Compression, HashKey, LogFormat, Mode};

/// Defines a type that is written as a string: what it holds, what to write, how it is understood.
macro_rules! word {
    ($(#[$meta:meta])* $name:ident($inner:ty), $expected:literal, $example:literal, $pattern:expr, $from:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) $inner);

        impl Word for $name {
            const EXPECTED: &'static str = $expected;

            fn from_word(text: &str) -> Result<Self, Bad> {
                let from: fn(&str) -> Result<$inner, Bad> = $from;
                from(text).map(Self)
            }

            fn hint(value: &DeValue<'_>) -> Option<String> {
                quotes_hint(value, $example)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let pattern: &str = $pattern;
                match pattern {
                    "" => json_schema!({ "type": "string", "examples": [$example] }),
                    _ => json_schema!({ "type": "string", "examples": [$example], "pattern": pattern }),
                }
            }
        }
    };
}

// What editors can check; reading the values says more.
const TIME: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
const SIZE: &str = "^[0-9]+([KMG]i|[kMG])?B$";

/// Defines a type that is one of a few strings.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident($inner:ty), [$first:literal => $default:expr $(, $word:literal => $value:expr)*], [$($later:literal),*]) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(pub(crate) $inner);

        impl Word for $name {
            const EXPECTED: &'static str = concat!("\"", $first, "\"" $(, " or \"", $word, "\"")*);

            fn from_word(text: &str) -> Result<Self, Bad> {
                let later: &[&str] = &[$($later),*];
                match text {
                    $first => Ok(Self($default)),
                    $($word => Ok(Self($value)),)*
                    _ if later.contains(&text) => Err(not_yet(text, &[$first $(, $word)*])),
                    _ => Err(no_choice(text, &[$first $(, $word)*])),
                }
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": [$first $(, $word)*] })
            }
        }
    };
}

word! {
    /// A length of time.
    Timespan(Duration), "a duration", "30s", TIME, |text| text.parse().map(units::Timespan::duration)
}

word! {
    /// A length of time that TCP_USER_TIMEOUT can hold: milliseconds in an int (tcp(7)).
    UserTimeout(Duration), "a duration", "30s", TIME, |text| {
        let time = text.parse::<units::Timespan>()?.duration();
        if time.as_millis() > i32::MAX as u128 {
            return Err(Bad::new(format!("`{text}` is more than the kernel takes here"), "give at most \"24d\""));
        }
        Ok(time)
    }
}

word! {
    /// A length of time that the keepalive options can hold: 1 to 32767 whole seconds (tcp(7)).
    Seconds(Duration), "a duration in whole seconds", "60s", TIME, |text| {
        let time = text.parse::<units::Timespan>()?.duration();
        if time.subsec_millis() != 0 {
            return Err(Bad::new(format!("`{text}` is not whole seconds"), "the kernel counts seconds here, as in \"10s\""));
        }
        if time > KEEPALIVE_MAX {
            return Err(Bad::new(format!("`{text}` is more than the kernel takes here"), "give at most \"32767s\", about nine hours"));
        }
        Ok(time)
    }
}

const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

word! {
    /// The size of a buffer or pipe: 4KiB to 16MiB.
    Pipe(usize), "a size", "256KiB", SIZE, |text| size_within(text, Size(4 << 10), Size(16 << 20))
}

word! {
    /// The bytes after which a stream is bulk: up to 1GiB.
    SpliceAfter(usize), "a size", "128KiB", SIZE, |text| size_within(text, Size(0), Size(1 << 30))
}

word! {
    /// Memory for what is on its way: 256KiB to 16GiB.
    Memory(u64), "a size", "64MiB", SIZE, |text| size_within(text, Size(256 << 10), Size(16 << 30)).map(|size| size as u64)
}

choice! {
    /// Whether blocks are compressed.
    CompressionWord(Compression), [
        "auto" => Compression::Auto,
        "zstd" => Compression::Zstd,
        "lz4" => Compression::Lz4,
        "off" => Compression::Off
    ], []
}

fn size_within(text: &str, min: Size, max: Size) -> Result<usize, Bad> {
    let size: Size = text.parse()?;
    let hint =
        if size < min { format!("give at least \"{min}\"") } else { format!("give at most \"{max}\"") };
    match usize::try_from(size.0) {
        Ok(bytes) if size >= min && size <= max => Ok(bytes),
        _ => Err(Bad::new(format!("`{}` is outside {min} to {max}", excerpt(text)), hint)),
    }
}

word! {
    /// New connections a second.
    Rate(f64), "a rate", "500/s", "^[0-9]+/[smh]$", |text| text.parse().map(units::Rate::per_second)
}

word! {
    /// The name of a listener or pool.
    Name(String), "a name", "web", "^[A-Za-z0-9_.-]{1,64}$", |text| {
        let hint = "a name has 1 to 64 of the characters A-Z a-z 0-9 - _ .";
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() {
            Err(Bad::new("the name is empty", hint))
        } else if let Some(wrong) = text.chars().find(|c| !c.is_ascii() || !fine(*c as u8)) {
            let wrong = if wrong == ' ' { "space".to_owned() } else { format!("`{wrong}`") };
            Err(Bad::new(format!("the name `{}` has a {wrong} in it", excerpt(text)), hint))
        } else if text.len() > 64 {
            Err(Bad::new(format!("the name `{}` has {} characters", excerpt(text), text.len()), hint))
        } else {
            Ok(text.to_owned())
        }
    }
}

word! {
    /// Where a listener binds.
    ListenWord(Listen), "an address", ":8080", "^unix:.|:[0-9]+(-[0-9]+)?$", |text| text.parse().map_err(|error| bad_address(text, &error))
}

word! {
    /// Where a backend is.
    TargetWord(Target), "an address", "10.0.0.11:5432", "^unix:.|^srv[+].|:[0-9]+(-[0-9]+)?$", |text| text.parse().map_err(|error| bad_address(text, &error))
}

/// The message of an address, with what it advises taken apart as the hint.
fn bad_address(text: &str, error: &AddrError) -> Bad {
    let message = error.to_string();
    let advice = match error {
        AddrError::NoPort(_) | AddrError::Port(_) | AddrError::Brackets(_) => message.rsplit_once("; "),
        _ => None,
    };
    if text.is_empty() {
        return Bad::new("an address is empty", "write HOST:PORT, :PORT or unix:PATH");
    }
    if text.parse::<u16>().is_ok() {
        return Bad::new(format!("`{text}` is only a port"), format!("write \":{text}\" or \"HOST:{text}\""));
    }
    if text.contains("://") {
        let hint = "write HOST:PORT, without a scheme or a path";
        return Bad::new(format!("`{}` is a URL, not an address", excerpt(text)), hint);
    }
    match (advice, error) {
        (Some((message, advice)), _) => Bad::new(message, advice),
        (None, AddrError::BackwardRange(_)) => {
            Bad::new(message, "write the lower port first, as in 8000-8010")
        }
        (None, AddrError::UnixPathEmpty) => {
            Bad::new("a unix socket has no path", "write it as in unix:/run/app.sock")
        }
        (None, AddrError::UnixPathLong { .. }) => Bad::new(message, "choose a shorter path"),
        (None, _) => Bad::new(message, "write HOST:PORT, :PORT, [V6]:PORT or unix:PATH"),
    }
}

word! {
    /// A name server.
    Server(SocketAddr), "the address of a name server", "10.0.0.1:53", "", |text| {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let v6 = bare.parse::<Ipv6Addr>().map(IpAddr::V6);
        let address = match text.parse::<IpAddr>().or(v6) {
            Ok(ip) => SocketAddr::new(ip, 53),
            Err(_) => text.parse().map_err(|_| {
                let hint = "give an IP address, with a port unless it is 53, as in \"10.0.0.1\" or \"[2001:db8::1]:5353\"";
                Bad::new(format!("`{}` is not the address of a name server", excerpt(text)), hint)
            })?,
        };
        if address.port() == 0 {
            return Err(Bad::new(format!("`{text}` has port 0"), "name servers mostly have port 53"));
        }
        Ok(address)
    }
}

mod checks;
mod clients;
mod http;
mod pools;
mod proxies;
mod segments;

pub(crate) use checks::{Escaped, Hidden, Kind, KindWord, Role, RoleWord, Text};
pub(crate) use clients::{ByteRate, Network, ProxyInWord};
pub(crate) use http::{
    AnswerText, Bytes, CodingWord, CookieName, EditName, FieldName, FieldValue, ForwardedWord, HeadBytes,
    HttpVersionWord, MethodWord, NewPathWord, PathWord, RecordWord, RedirectWord, RegexWord, ReplayBytes,
    SignSecret, lacks_groups,
};
pub(crate) use pools::{FilePath, HashKeyWord, HedgeWord, OnDownWord, ProxyOutWord, ReplayWord, SourceWord};
pub(crate) use proxies::{DestWord, Kinds, MatchWord, NamePattern, UserWord, ViaWord, is_login};
pub(crate) use segments::{CongestionWord, PieceGap, SocketBuffer, Unsent, code_point};

choice! {
    /// The form of log lines.
    FormatWord(LogFormat), ["text" => LogFormat::Text, "json" => LogFormat::Json], []
}

choice! {
    /// What a listener takes the first bytes for.
    ModeWord(Mode), ["tcp" => Mode::Tcp, "proxy" => Mode::Proxy, "http" => Mode::Http, "tunnel" => Mode::Tunnel], []
}

choice! {
    /// The oldest version of TLS: whether 1.2 is spoken beside 1.3.
    VersionWord(bool), ["1.2" => true, "1.3" => false], []
}

choice! {
    /// Which backend a connection tries first.
    BalanceWord(Balance), [
        "round_robin" => Balance::RoundRobin,
        "least_conn" => Balance::LeastConn,
        "p2c" => Balance::P2c,
        "random" => Balance::Random,
        "hash" => Balance::Hash(HashKey::Source)
    ], []
}

fn not_yet(text: &str, words: &[&str]) -> Bad {
    let message = format!("this version of towpath has no `{text}` yet");
    Bad::new(message, format!("it has only {}", quoted(words)))
}

fn no_choice(text: &str, words: &[&str]) -> Bad {
    let hint = match near(text, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write {}", quoted(words)),
    };
    Bad::new(format!("`{}` is not possible here", excerpt(text)), hint)
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
}

/// What to say of a value without quotes.
fn quotes_hint(value: &DeValue<'_>, example: &str) -> Option<String> {
    let unit = example.starts_with(|c: char| c.is_ascii_digit()) && example.ends_with(char::is_alphabetic);
    Some(match value {
        DeValue::Integer(number) if example.starts_with(':') => {
            format!("write \":{}\"", excerpt(number.as_str()))
        }
        DeValue::Integer(_) | DeValue::Float(_) if unit => {
            format!("add a unit and quotes, as in \"{example}\"")
        }
        _ => format!("write it in quotes, as in \"{example}\""),
    })
}
