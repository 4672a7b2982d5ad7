//! The head of an answer, as far as a client of a proxy needs it (RFC 9112, section 4).

use httparse::{EMPTY_HEADER, Status};

use super::head::{fault, scan};
use super::{FIELDS_MAX, HEAD_BYTES_MAX, HeadFault};

/// A head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, from 100 to 999.
    pub status: u16,
    /// Names and values, in their order.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// Reads the head that `input` begins with, and how long it is; `None` while it is not whole.
///
/// # Errors
/// What is wrong with it.
pub fn parse(input: &[u8]) -> Result<Option<(ResponseHead, usize)>, HeadFault> {
    let begins = &b"HTTP/1."[..input.len().min(7)];
    if !input.starts_with(begins) {
        return Err(HeadFault::Line);
    }
    let Some(length) = scan(input, HEAD_BYTES_MAX)? else { return Ok(None) };
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(&input[..length]) {
        Ok(Status::Complete(parsed)) if parsed == length => {}
        Ok(_) => return Err(HeadFault::Line),
        Err(error) => return Err(fault(error)),
    }
    let status = response.code.filter(|code| *code >= 100).ok_or(HeadFault::Line)?;
    let fields = response.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
    Ok(Some((ResponseHead { status, fields }, length)))
}
