//! The head of an answer (RFC 9112, section 4).

use super::HeadFault;
use super::cursor::{Cursor, Stop, has_word, named};
use super::head::{Version, version};

/// A head, in parts of the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// The version.
    pub version: Version,
    /// The status, from 100 to 999.
    pub status: u16,
    /// What it says for people; often nothing.
    pub reason: &'a [u8],
    /// Names and values, in their order; values without the space around them.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> ResponseHead<'a> {
    /// The values of the fields of a name, whose case does not matter.
    pub fn field(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        named(&self.fields, name)
    }

    /// Whether the fields of a name have this word among those that commas part; no case matters.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        has_word(&self.fields, name, word)
    }
}

/// Reads the head that `input` begins with, and how long it is; `None` while it is not whole. Interim answers (1xx) are told
/// like others.
///
/// # Errors
/// The first fault in the order of its bytes, as early as it shows.
pub fn parse(input: &[u8]) -> Result<Option<(ResponseHead<'_>, usize)>, HeadFault> {
    read(input).map_or_else(Stop::told, |found| Ok(Some(found)))
}

fn read(input: &[u8]) -> Result<(ResponseHead<'_>, usize), Stop> {
    let mut cursor = Cursor::at_line(input, 0);
    let version = version(&mut cursor)?;
    cursor.expect(b' ', HeadFault::Line)?;
    let status = status(&mut cursor)?;
    // The space in front of a reason that is missing is often missing too.
    let reason: &[u8] = match cursor.peek()? {
        b'\r' => b"",
        _ => {
            cursor.expect(b' ', HeadFault::Line)?;
            cursor.text()?
        }
    };
    cursor.line_end(HeadFault::Line)?;
    let fields = cursor.fields()?;
    Ok((ResponseHead { version, status, reason: reason.trim_ascii(), fields }, cursor.length()))
}

fn status(cursor: &mut Cursor<'_>) -> Result<u16, Stop> {
    let first = cursor.digit()?;
    if first == 0 {
        return Err(Stop::Fault(HeadFault::Line));
    }
    let (second, third) = (cursor.digit()?, cursor.digit()?);
    Ok(u16::from(first) * 100 + u16::from(second) * 10 + u16::from(third))
}
