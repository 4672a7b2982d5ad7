//! HTTP/1 (RFC 9112) as far as a proxy has to understand it itself, strictly: what is read in two ways by two servers lets
//! requests through that nobody has judged.
//!
//! It is read in the order of its bytes, and the first fault among them is told, however they come: that is why httparse,
//! which sees less in part of a head than in all of it, only checks this in the tests.

pub mod framing;
pub mod gate;
pub mod head;
pub mod path;
pub mod response;
pub mod target;

mod chunks;
mod cursor;

#[cfg(test)]
mod tests;

/// Longest head, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest first line, in bytes, with its end.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Most fields.
pub const FIELDS_MAX: usize = 100;

/// Longest body or chunk, in bytes: more than others can count with a sign.
pub const BODY_BYTES_MAX: u64 = i64::MAX as u64;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// What it is for is no URL, or one with user info or a fragment.
    #[error("the URL")]
    Target,
    /// The first line is none.
    #[error("the first line")]
    Line,
    /// The first line is too long.
    #[error("the first line is too long")]
    LongLine,
    /// It is of another version than 1.0 or 1.1.
    #[error("the version")]
    Version,
    /// A line ends in something else than CR LF, or has control characters.
    #[error("a control character")]
    Control,
    /// A field goes on on a second line.
    #[error("a folded field")]
    Folded,
    /// A field has no name, or one with other characters than names have.
    #[error("the name of a field")]
    Name,
    /// There are too many fields, or too long ones.
    #[error("too many or too long fields")]
    Large,
    /// There is no Host field, or more than one, or one that is none.
    #[error("the Host field")]
    Host,
    /// Content-Length is no number, or there are several.
    #[error("the Content-Length field")]
    Length,
    /// Transfer-Encoding has another coding than `chunked`.
    #[error("a transfer coding other than chunked")]
    Coding,
    /// Transfer-Encoding is there twice, or empty, or in HTTP/1.0.
    #[error("the Transfer-Encoding field")]
    Transfer,
    /// There are both Content-Length and Transfer-Encoding.
    #[error("Content-Length and Transfer-Encoding together")]
    Both,
    /// CONNECT has a body.
    #[error("a body of CONNECT")]
    Body,
    /// A chunk of the body is none.
    #[error("a chunk")]
    Chunk,
}

impl HeadFault {
    /// The status that answers it, in a request.
    pub fn status(self) -> u16 {
        match self {
            Self::LongLine => 414,
            Self::Large => 431,
            Self::Version => 505,
            Self::Coding => 501,
            _ => 400,
        }
    }
}
