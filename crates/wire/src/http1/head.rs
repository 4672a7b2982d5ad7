//! The head of a request (RFC 9112, sections 2 to 5).

use httparse::{EMPTY_HEADER, Error, Status};

use super::{FIELDS_MAX, HEAD_BYTES_MAX, HeadFault, LINE_BYTES_MAX};

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
    /// What it is for.
    pub target: &'a str,
    /// The version.
    pub version: Version,
    /// Names and values, in their order.
    pub fields: Vec<(&'a str, &'a [u8])>,
}

impl<'a> RequestHead<'a> {
    /// The values of the fields of a name, whose case does not matter.
    pub fn field<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a [u8]> + 'b {
        let fields = self.fields.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| *value)
    }

    /// Whether a field of this name has this word among those that commas part.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        let words = self.field(name).flat_map(|value| value.split(|byte| *byte == b','));
        words.into_iter().any(|one| one.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Reads the head that `input` begins with, and how long it is; `None` while it is not whole.
///
/// # Errors
/// What is wrong with it, as early as it shows.
pub fn parse(input: &[u8]) -> Result<Option<(RequestHead<'_>, usize)>, HeadFault> {
    // One empty line in front is forgiven (section 2.2).
    let skipped = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let head = &input[skipped..];
    if head.first().is_some_and(|byte| !is_token(*byte)) && head != b"\r" {
        return Err(HeadFault::Line);
    }
    let end = scan(head, LINE_BYTES_MAX)?;
    let Some(length) = end else { return Ok(None) };
    if head[..line_end(head)].iter().filter(|byte| **byte == b' ').count() != 2 {
        return Err(HeadFault::Line);
    }
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(&head[..length]) {
        Ok(Status::Complete(parsed)) if parsed == length => {}
        Ok(_) => return Err(HeadFault::Line),
        Err(error) => return Err(fault(error)),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else { return Err(HeadFault::Line) };
    let version = match &head[..line_end(head)] {
        line if line.ends_with(b" HTTP/1.1") => Version::V11,
        line if line.ends_with(b" HTTP/1.0") => Version::V10,
        _ => return Err(HeadFault::Version),
    };
    let fields = request.headers.iter().map(|field| (field.name, field.value)).collect();
    Ok(Some((RequestHead { method, target, version, fields }, skipped + length)))
}

fn line_end(head: &[u8]) -> usize {
    head.windows(2).position(|pair| pair == b"\r\n").unwrap_or(head.len())
}

pub(super) fn fault(error: Error) -> HeadFault {
    match error {
        Error::TooManyHeaders => HeadFault::Large,
        Error::Version => HeadFault::Version,
        Error::HeaderName => HeadFault::Name,
        Error::HeaderValue | Error::NewLine => HeadFault::Control,
        Error::Token | Error::Status => HeadFault::Line,
    }
}

/// Looks for the end of a head, and for characters that no head has: control characters, line ends other than CR LF, and
/// fields that go on on a second line. `None` while the end has not come.
pub(super) fn scan(head: &[u8], line_max: usize) -> Result<Option<usize>, HeadFault> {
    let mut start = 0;
    let mut lines = 0;
    loop {
        let rest = &head[start..];
        // Only the end of a line may have a control character, but for the tab in a value.
        let odd = rest.iter().position(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f);
        let so_far = odd.unwrap_or(rest.len());
        if lines == 0 && so_far > line_max {
            return Err(HeadFault::LongLine);
        }
        if start + so_far > HEAD_BYTES_MAX || lines > FIELDS_MAX + 1 {
            return Err(HeadFault::Large);
        }
        if lines > 0 && rest.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(HeadFault::Folded);
        }
        if lines == 0 && rest[..so_far].contains(&b'\t') {
            return Err(HeadFault::Line);
        }
        let Some(at) = odd else {
            return if head.len() >= HEAD_BYTES_MAX { Err(HeadFault::Large) } else { Ok(None) };
        };
        match rest[at..] {
            [b'\r', b'\n', ..] if at == 0 && lines > 0 => return Ok(Some(start + 2)),
            [b'\r', b'\n', ..] if at == 0 => return Err(HeadFault::Line),
            [b'\r', b'\n', ..] => start += at + 2,
            [b'\r'] => return if head.len() >= HEAD_BYTES_MAX { Err(HeadFault::Large) } else { Ok(None) },
            _ => return Err(HeadFault::Control),
        }
        lines += 1;
    }
}

/// Whether a byte may be in a method or in the name of a field (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
