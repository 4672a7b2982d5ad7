//! HTTP/1 (RFC 9112) as far as a proxy has to understand it itself, strictly: what is read in two ways by two servers lets
//! requests through that nobody has judged.

pub mod framing;
pub mod gate;
pub mod head;
pub mod response;
#[cfg(test)]
mod tests;

/// Longest head, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest first line.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Most fields.
pub const FIELDS_MAX: usize = 100;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
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
    #[error("too many fields")]
    Large,
    /// There is no Host field, or more than one, or one that is none.
    #[error("the Host field")]
    Host,
    /// Content-Length is no number, or there are several.
    #[error("the Content-Length field")]
    Length,
    /// Transfer-Encoding is not `chunked` alone, in HTTP/1.1.
    #[error("the Transfer-Encoding field")]
    Coding,
    /// There are both.
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
    /// The status that answers it.
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
