//! The head of a request (RFC 9112, sections 2 to 5).

use super::HeadFault;
use super::cursor::{Cursor, Fields, Stop, has_word, is_token, named};

pub use super::cursor::words;

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    V10,
    /// HTTP/1.1.
    V11,
}

/// A head, in parts of the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method, as it is written.
    pub method: &'a str,
    /// What it is for: visible ASCII, in whichever form.
    pub target: &'a str,
    /// The version.
    pub version: Version,
    /// Names and values, in their order; values without the space around them.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> RequestHead<'a> {
    /// The values of the fields of a name, whose case does not matter.
    pub fn field(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        named(&self.fields, name)
    }

    /// Whether the fields of a name have this word among those that commas part; no case matters.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        has_word(&self.fields, name, word)
    }
}

/// Reads the head that `input` begins with, and how long it is; `None` while it is not whole. One empty line may be in front
/// of it (RFC 9112, section 2.2), and counts.
///
/// # Errors
/// The first fault in the order of its bytes, as early as it shows.
pub fn parse(input: &[u8]) -> Result<Option<(RequestHead<'_>, usize)>, HeadFault> {
    read(input).map_or_else(Stop::told, |found| Ok(Some(found)))
}

fn read(input: &[u8]) -> Result<(RequestHead<'_>, usize), Stop> {
    let mut cursor = Cursor::at_line(input, 0);
    if cursor.peek()? == b'\r' {
        cursor.line_end(HeadFault::Line)?;
        cursor = Cursor::at_line(input, cursor.length());
    }
    let method = cursor.word(is_token, HeadFault::Line)?;
    cursor.expect(b' ', HeadFault::Line)?;
    let target = cursor.word(|byte| byte.is_ascii_graphic(), HeadFault::Line)?;
    cursor.expect(b' ', HeadFault::Line)?;
    let version = version(&mut cursor)?;
    cursor.line_end(HeadFault::Line)?;
    let fields: Fields<'_> = cursor.fields()?;
    Ok((RequestHead { method, target, version, fields }, cursor.length()))
}

/// Takes `HTTP/1.0` or `HTTP/1.1`.
pub(super) fn version(cursor: &mut Cursor<'_>) -> Result<Version, Stop> {
    for letter in b"HTTP/" {
        cursor.expect(*letter, HeadFault::Line)?;
    }
    if cursor.digit()? != 1 {
        return Err(Stop::Fault(HeadFault::Version));
    }
    cursor.expect(b'.', HeadFault::Line)?;
    match cursor.digit()? {
        0 => Ok(Version::V10),
        1 => Ok(Version::V11),
        _ => Err(Stop::Fault(HeadFault::Version)),
    }
}
