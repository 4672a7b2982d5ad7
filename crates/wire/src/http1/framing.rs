//! How long the body of a request is (RFC 9112, section 6), with no room for two opinions; and bodies in chunks.

use super::HeadFault;
use super::head::{RequestHead, Version};
use crate::destination::Destination;

/// Longest line of a chunk's size, with its extensions.
const CHUNK_LINE_MAX: usize = 256;

/// Longest trailers.
const TRAILERS_MAX: usize = 8 * 1024;

/// How the body of a message is told from what comes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
}

/// The framing of a request, whose Host field is looked at too.
///
/// # Errors
/// What is wrong with its fields.
pub fn of(head: &RequestHead<'_>) -> Result<Framing, HeadFault> {
    check_host(head)?;
    let mut lengths = head.field("content-length");
    let mut codings = head.field("transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if length.is_some() && coding.is_some() {
        return Err(HeadFault::Both);
    }
    if lengths.next().is_some() {
        return Err(HeadFault::Length);
    }
    let framing = match (length, coding) {
        (Some(length), _) => Framing::Length(number(length)?),
        (None, Some(coding)) => {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            if !is_chunked || head.version == Version::V10 {
                return Err(HeadFault::Coding);
            }
            Framing::Chunked
        }
        (None, None) => Framing::None,
    };
    match framing {
        Framing::Length(0) => Ok(Framing::None),
        Framing::None => Ok(framing),
        _ if head.method == "CONNECT" => Err(HeadFault::Body),
        _ => Ok(framing),
    }
}

fn check_host(head: &RequestHead<'_>) -> Result<(), HeadFault> {
    let mut hosts = head.field("host");
    let host = match (hosts.next(), hosts.next(), head.version) {
        (Some(host), None, _) => host,
        (None, _, Version::V10) => return Ok(()),
        _ => return Err(HeadFault::Host),
    };
    let host = std::str::from_utf8(host).map_err(|_| HeadFault::Host)?;
    // Empty where a target has no authority (RFC 9112, section 3.2).
    match host.is_empty() || Destination::parse(host, Some(80)).is_ok() {
        true => Ok(()),
        false => Err(HeadFault::Host),
    }
}

fn number(text: &[u8]) -> Result<u64, HeadFault> {
    let is_number = (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok()).ok_or(HeadFault::Length)
}

/// Follows a body in chunks (RFC 9112, section 7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// The line that is being read.
    line: Vec<u8>,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In the line of a chunk's size.
    #[default]
    Size,
    /// In a chunk, of which so many bytes are left.
    Data(u64),
    /// Behind a chunk.
    DataEnd,
    /// In the trailers.
    Trailers,
    /// Behind the last.
    Done,
}

impl Chunks {
    /// Looks at what comes next: how many bytes of it are of the body, and whether it ends with them.
    ///
    /// # Errors
    /// When it is no body in chunks.
    pub fn take(&mut self, input: &[u8]) -> Result<(usize, bool), HeadFault> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if let State::Data(left) = self.state {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                at += count;
                self.state = match left - count as u64 {
                    0 => State::DataEnd,
                    left => State::Data(left),
                };
                continue;
            }
            let byte = input[at];
            at += 1;
            match (byte, self.line.last()) {
                (b'\n', Some(b'\r')) => {
                    self.line.pop();
                    let line = std::mem::take(&mut self.line);
                    self.end_line(&line)?;
                }
                (b'\n', _) | (_, Some(b'\r')) => return Err(HeadFault::Chunk),
                _ => self.add(byte)?,
            }
        }
        Ok((at, self.state == State::Done))
    }

    fn add(&mut self, byte: u8) -> Result<(), HeadFault> {
        let is_control = (byte < b' ' && !matches!(byte, b'\t' | b'\r')) || byte == 0x7f;
        let limit = match self.state {
            State::DataEnd => 1,
            State::Trailers => TRAILERS_MAX - self.trailer_bytes,
            _ => CHUNK_LINE_MAX,
        };
        if is_control || self.line.len() >= limit || (self.state == State::DataEnd && byte != b'\r') {
            return Err(HeadFault::Chunk);
        }
        self.line.push(byte);
        Ok(())
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        self.state = match self.state {
            State::Size => match size(line)? {
                0 => State::Trailers,
                size => State::Data(size),
            },
            State::DataEnd => State::Size,
            State::Trailers if line.is_empty() => State::Done,
            State::Trailers => {
                self.trailer_bytes += line.len();
                let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                let is_field = name.len() < line.len()
                    && !name.is_empty()
                    && name.iter().all(|byte| super::head::is_token(*byte));
                if !is_field {
                    return Err(HeadFault::Chunk);
                }
                State::Trailers
            }
            state => state,
        };
        Ok(())
    }
}

/// The size of a chunk, and nothing in front of it; extensions may follow.
fn size(line: &[u8]) -> Result<u64, HeadFault> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (number, rest) = line.split_at(digits);
    let is_fine = (1..=16).contains(&digits) && matches!(rest, [] | [b';', ..]);
    let text = std::str::from_utf8(number).ok().filter(|_| is_fine);
    let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    // What is added to it must not overflow.
    size.filter(|size| *size <= u64::MAX / 2).ok_or(HeadFault::Chunk)
}
