//! How long the body of a request is (RFC 9112, section 6), with no room for two opinions.

use super::head::{RequestHead, Version, words};
use super::response::ResponseHead;
use super::{BODY_BYTES_MAX, HeadFault};
use crate::destination::Destination;

pub use super::chunks::{Bite, Chunks};

/// How the body of a request is told from what comes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// It has so many bytes, at least one.
    Length(u64),
    /// It comes in chunks.
    Chunked,
}

/// How the end of an answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFraming {
    /// It has no body.
    None,
    /// Its body has so many bytes, at least one.
    Length(u64),
    /// Its body comes in chunks.
    Chunked,
    /// Its body ends with the connection.
    UntilClose,
}

/// The framing of an answer to a request of this method that is final: no interim one, and no 101.
///
/// # Errors
/// What is wrong with its fields, even where they do not matter.
pub fn of_answer(head: &ResponseHead<'_>, method: &str) -> Result<AnswerFraming, HeadFault> {
    let (mut lengths, mut codings) = (head.field("content-length"), head.field("transfer-encoding"));
    let framing = match (lengths.next(), codings.next()) {
        (None, None) => AnswerFraming::UntilClose,
        (Some(_), Some(_)) => return Err(HeadFault::Both),
        (Some(length), None) => match number(length).filter(|_| lengths.next().is_none()) {
            None => return Err(HeadFault::Length),
            Some(0) => AnswerFraming::None,
            Some(length) => AnswerFraming::Length(length),
        },
        (None, Some(_)) if head.version == Version::V10 => return Err(HeadFault::Transfer),
        (None, Some(coding)) if codings.next().is_none() && coding.eq_ignore_ascii_case(b"chunked") => {
            AnswerFraming::Chunked
        }
        (None, Some(_)) => return Err(HeadFault::Coding),
    };
    let is_bodiless = method == "HEAD" || matches!(head.status, 204 | 304);
    Ok(if is_bodiless { AnswerFraming::None } else { framing })
}

/// The framing of a request, whose Host field is looked at too. A target with an authority of its own may have another than
/// that field, which a proxy has to ignore and to write anew (section 3.2.2).
///
/// # Errors
/// What is wrong with its fields.
pub fn of(head: &RequestHead<'_>) -> Result<Framing, HeadFault> {
    check_host(head)?;
    let mut lengths = head.field("content-length");
    let mut codings = head.field("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(HeadFault::Both),
        (Some(length), None) => match number(length).filter(|_| lengths.next().is_none()) {
            None => Err(HeadFault::Length),
            Some(0) => Ok(Framing::None),
            Some(_) if head.method == "CONNECT" => Err(HeadFault::Body),
            Some(length) => Ok(Framing::Length(length)),
        },
        (None, Some(_)) if head.method == "CONNECT" => Err(HeadFault::Body),
        (None, Some(_)) if head.version == Version::V10 => Err(HeadFault::Transfer),
        (None, Some(coding)) => {
            let is_chunked = |word: &[u8]| word.eq_ignore_ascii_case(b"chunked");
            let mut words = head.field("transfer-encoding").flat_map(words);
            if words.any(|word| !word.is_empty() && !is_chunked(word)) {
                Err(HeadFault::Coding)
            } else if is_chunked(coding) && codings.next().is_none() {
                Ok(Framing::Chunked)
            } else {
                Err(HeadFault::Transfer)
            }
        }
    }
}

/// Exactly one Host; in HTTP/1.0 it may be missing (section 3.2).
fn check_host(head: &RequestHead<'_>) -> Result<(), HeadFault> {
    let mut hosts = head.field("host");
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => std::str::from_utf8(host).map_err(|_| HeadFault::Host)?,
        (None, _) if head.version == Version::V10 => return Ok(()),
        _ => return Err(HeadFault::Host),
    };
    Destination::parse(host, Some(80)).map(drop).map_err(|_| HeadFault::Host)
}

/// Digits alone.
fn number(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_number)?;
    text.parse().ok().filter(|number| *number <= BODY_BYTES_MAX)
}
