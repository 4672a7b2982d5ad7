//! The words that say how a stream is cut, queued and paced.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{SIZE, TIME, quotes_hint, size_within};
use crate::near::excerpt;
use crate::read::Word;
use crate::units::{self, Bad, Size};

word! {
    /// The size of a buffer of a socket: 4KiB to 1GiB.
    SocketBuffer(usize), "a size", "1MiB", SIZE, |text| size_within(text, Size(4 << 10), Size(1 << 30))
}

word! {
    /// Bytes that may wait unsent: 1B to 1GiB.
    Unsent(usize), "a size", "128KiB", SIZE, |text| size_within(text, Size(1), Size(1 << 30))
}

word! {
    /// The time between two pieces of a stream: at most 10 seconds.
    PieceGap(Duration), "a duration", "5ms", TIME, |text| {
        let time = text.parse::<units::Timespan>()?.duration();
        if time > GAP_MAX {
            return Err(Bad::new(format!("`{text}` is too long between two pieces"), "give at most \"10s\""));
        }
        Ok(time)
    }
}

const GAP_MAX: Duration = Duration::from_secs(10);

word! {
    /// The name of an algorithm of congestion control: whether the kernel has it is found out later.
    CongestionWord(String), "the name of an algorithm", "bbr", "^[a-z0-9_-]{1,15}$", |text| {
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if text.is_empty() || text.len() > 15 || !text.bytes().all(fine) {
            let message = format!("`{}` is no algorithm of congestion control", excerpt(text));
            return Err(Bad::new(message, "write it as in \"bbr\", \"cubic\" or \"reno\""));
        }
        Ok(text.to_owned())
    }
}

/// The code points that have names (RFC 2474, 2597, 3246, 5865 and 8622).
const CODE_POINTS: [(&str, u8); 23] = [
    ("cs0", 0),
    ("cs1", 8),
    ("cs2", 16),
    ("cs3", 24),
    ("cs4", 32),
    ("cs5", 40),
    ("cs6", 48),
    ("cs7", 56),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("ef", 46),
    ("voice-admit", 44),
    ("le", 1),
];

/// A code point of packets, a number or a name.
///
/// # Errors
/// When it is none.
pub(crate) fn code_point(text: &str) -> Result<u8, Bad> {
    let named = CODE_POINTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, point)| *point);
    let number = || text.parse::<u8>().ok().filter(|point| *point < 64 && !text.starts_with('+'));
    named.or_else(number).ok_or_else(|| {
        let message = format!("`{}` is no code point (DSCP)", excerpt(text));
        Bad::new(message, "write 0 to 63, or a name as in \"ef\", \"af41\", \"cs1\" or \"le\"")
    })
}
