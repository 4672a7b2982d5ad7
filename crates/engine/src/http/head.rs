//! Heads of HTTP/1, between their bytes and what the story of a request works with.

use bytes::Bytes;
use http::header::{EXPECT, HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::{Method, StatusCode, Version};
use towpath_wire::http1::framing::{self, AnswerFraming, Framing};
use towpath_wire::http1::head::{self, RequestHead, words};
use towpath_wire::http1::response::{self, ResponseHead};
use towpath_wire::http1::{HeadFault, target};

use crate::record::Exchanged;

/// What a client asks.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path and the query, or an asterisk.
    pub(crate) path: String,
    /// Host and port as they are written; empty where HTTP/1.0 says none.
    pub(crate) authority: String,
    pub(crate) version: Version,
    /// All but those that are for this hop alone; without Host.
    pub(crate) fields: HeaderMap,
    /// The protocol that it asks to go over to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// How many bytes its body has, where the client tells that.
    pub(crate) length: Option<u64>,
    /// Whether it has a body at all.
    pub(crate) has_body: bool,
    /// Whether the client wants trailers (TE).
    pub(crate) takes_trailers: bool,
}

impl Request {
    /// What of it is for its record.
    pub(super) fn told(&self) -> Exchanged {
        let field = |name| {
            let value = self.fields.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Exchanged {
            method: self.method.as_str().to_owned(),
            host: self.authority.clone(),
            path: self.path.clone(),
            version: match self.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            referrer: field(REFERER),
            agent: field(USER_AGENT),
            status: None,
            attempts: 0,
            first_byte: None,
        }
    }
}

/// A request of HTTP/1, and what of it is for this hop alone.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Boxed, as it goes through many hands.
    pub(crate) request: Box<Request>,
    pub(crate) framing: Framing,
    /// Whether the client closes, or wants the connection closed, behind the answer.
    pub(crate) is_last: bool,
}

/// What a server answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// What it says for people, where that is something of its own.
    pub(crate) reason: Bytes,
    /// All but those that are for this hop alone.
    pub(crate) fields: HeaderMap,
    /// How many bytes its body has, where that is told.
    pub(crate) length: Option<u64>,
    /// Whether nothing follows its head.
    pub(crate) is_all: bool,
    /// The protocol that the server goes over to.
    pub(crate) upgrade: Option<HeaderValue>,
}

/// An answer of HTTP/1, and what of it is for this hop alone.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Boxed, as it goes through many hands.
    pub(crate) answer: Box<Answer>,
    pub(crate) framing: AnswerFraming,
    /// Whether the server closes behind it.
    pub(crate) is_last: bool,
    /// Seconds that the server keeps the connection, where it says so.
    pub(crate) kept_seconds: Option<u64>,
}

/// Reads the head that `input` begins with, which is not longer than `bytes_max`, and how long it is; `None` while it is not
/// whole.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn request(input: &[u8], bytes_max: usize) -> Result<Option<(Asked, usize)>, HeadFault> {
    let (head, length) = match head::parse(input)? {
        Some((_, length)) if length > bytes_max => return Err(HeadFault::Large),
        None if input.len() >= bytes_max => return Err(HeadFault::Large),
        None => return Ok(None),
        Some(found) => found,
    };
    let framing = framing::of(&head)?;
    let method = Method::from_bytes(head.method.as_bytes()).map_err(|_| HeadFault::Line)?;
    let (path, authority) = place(&head, &method)?;
    let is_last = match head.version {
        head::Version::V10 => {
            !head.has_word("connection", "keep-alive") || head.has_word("connection", "close")
        }
        head::Version::V11 => head.has_word("connection", "close"),
    };
    let Sorted { mut fields, upgrade, length: length_told } = sorted(&head.fields)?;
    let upgrade = upgrade.filter(|_| head.version == head::Version::V11 && framing == Framing::None);
    let version = match head.version {
        head::Version::V10 => Version::HTTP_10,
        head::Version::V11 => Version::HTTP_11,
    };
    if version == Version::HTTP_10 {
        fields.remove(EXPECT);
    }
    let body_length = match framing {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
    };
    // A body that is empty may be told so, which some servers want to know of a POST.
    let tells_length = framing != Framing::None || length_told.is_some();
    let request = Box::new(Request {
        method,
        path,
        authority,
        version,
        fields,
        upgrade,
        length: body_length.filter(|_| tells_length),
        has_body: framing != Framing::None,
        takes_trailers: head.has_word("te", "trailers"),
    });
    Ok(Some((Asked { request, framing, is_last }, length)))
}

/// The path and the authority that a request is for.
fn place(head: &RequestHead<'_>, method: &Method) -> Result<(String, String), HeadFault> {
    if *method == Method::CONNECT {
        return Err(HeadFault::Target);
    }
    let host = || {
        let host = head.field("host").next().and_then(|host| str::from_utf8(host).ok());
        host.unwrap_or_default().to_owned()
    };
    if !target::is_target(head.target) {
        return Err(HeadFault::Target);
    }
    if head.target.starts_with('/') && !head.target.contains('#') {
        return Ok((head.target.to_owned(), host()));
    }
    if head.target == "*" && *method == Method::OPTIONS {
        return Ok(("*".to_owned(), host()));
    }
    let absolute = target::absolute(head.target).map_err(|_| HeadFault::Target)?;
    // It counts more than the Host field (RFC 9112, section 3.2.2).
    Ok((absolute.path.into_owned(), absolute.authority.to_owned()))
}

/// Reads the head of an answer to a request of this method; `None` while it is not whole.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn answer(input: &[u8], method: &Method) -> Result<Option<(Answered, usize)>, HeadFault> {
    let Some((head, length)) = response::parse(input)? else { return Ok(None) };
    let status = StatusCode::from_u16(head.status).map_err(|_| HeadFault::Line)?;
    let framing = match status.is_informational() {
        true => AnswerFraming::None,
        false => framing::of_answer(&head, method.as_str())?,
    };
    let (is_last, kept_seconds) = keeping(&head);
    let Sorted { fields, upgrade, length: told } = sorted(&head.fields)?;
    let told = told.and_then(|told| told.to_str().ok()?.parse().ok());
    let body_length = match framing {
        // An answer to HEAD tells the length of what it would have been.
        AnswerFraming::None if status.is_informational() => None,
        AnswerFraming::None if told.is_some() => told,
        AnswerFraming::None if *method == Method::HEAD => None,
        // It would be that of the answer that it stands for (RFC 9110, section 8.6).
        AnswerFraming::None if status == StatusCode::NOT_MODIFIED => None,
        AnswerFraming::None => Some(0),
        AnswerFraming::Length(length) => Some(length),
        AnswerFraming::Chunked | AnswerFraming::UntilClose => None,
    };
    let is_own_reason = status.canonical_reason().is_none_or(|reason| reason.as_bytes() != head.reason);
    let reason = if is_own_reason { Bytes::copy_from_slice(head.reason) } else { Bytes::new() };
    let is_all = framing == AnswerFraming::None;
    let answer = Box::new(Answer { status, reason, fields, length: body_length, is_all, upgrade });
    Ok(Some((Answered { answer, framing, is_last, kept_seconds }, length)))
}

/// Whether a server closes behind its answer, and how long it keeps the connection else.
fn keeping(head: &ResponseHead<'_>) -> (bool, Option<u64>) {
    let is_last = match head.version {
        head::Version::V10 => {
            !head.has_word("connection", "keep-alive") || head.has_word("connection", "close")
        }
        head::Version::V11 => head.has_word("connection", "close"),
    };
    let timeout = head.field("keep-alive").flat_map(words).find_map(|word| {
        let word = str::from_utf8(word).ok()?;
        word.strip_prefix("timeout=")?.parse().ok()
    });
    (is_last, timeout)
}

/// Fields of a message, and what was taken out of them.
struct Sorted {
    fields: HeaderMap,
    /// The protocol that it is to go over to.
    upgrade: Option<HeaderValue>,
    length: Option<HeaderValue>,
}

/// Sorts the fields of a message, whose values share one copy of their bytes. What is for one hop alone is left out, and what
/// `Connection` names (RFC 9110, section 7.6.1).
fn sorted(told: &[(&[u8], &[u8])]) -> Result<Sorted, HeadFault> {
    let bytes = told.iter().map(|(_, value)| value.len()).sum();
    let mut values = Vec::with_capacity(bytes);
    told.iter().for_each(|(_, value)| values.extend_from_slice(value));
    let values = Bytes::from(values);
    let mut sorted = Sorted { fields: HeaderMap::with_capacity(told.len() + 4), upgrade: None, length: None };
    let mut at = 0;
    for (name, value) in told {
        let place = at..at + value.len();
        at = place.end;
        let name = HeaderName::from_bytes(name).map_err(|_| HeadFault::Name)?;
        let value = || HeaderValue::from_maybe_shared(values.slice(place)).map_err(|_| HeadFault::Control);
        match name.as_str() {
            "content-length" => sorted.length = Some(value()?),
            "upgrade" => sorted.upgrade = Some(value()?),
            name if is_for_one_hop(name) => {}
            _ => drop(sorted.fields.append(name, value()?)),
        }
    }
    // Behind our back nobody goes over to HTTP/2, which has no such upgrade any more (RFC 9113, section 3.1).
    sorted.upgrade = sorted.upgrade.filter(|upgrade| !names_h2(upgrade));
    let asks_to_go_over = take_named(told, &mut sorted.fields);
    sorted.upgrade = sorted.upgrade.filter(|_| asks_to_go_over);
    Ok(sorted)
}

fn names_h2(upgrade: &HeaderValue) -> bool {
    let names = upgrade.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.into_iter().any(|name| name.eq_ignore_ascii_case(b"h2c") || name.eq_ignore_ascii_case(b"h2"))
}

/// Whether a field is for one hop alone, whether `Connection` names it or not. Host is written anew.
fn is_for_one_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "upgrade"
            | "transfer-encoding"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings"
            | "host"
    )
}

/// What a `Connection` field cannot take out: a client could hide with it what others have written, or how long its body is.
fn may_be_named(name: &HeaderName) -> bool {
    !matches!(name.as_str(), "host" | "content-length" | "forwarded" | "trailer")
        && !name.as_str().starts_with("x-forwarded-")
}

/// Takes out of `fields` what a `Connection` among those `told` names, and tells whether it names `upgrade`.
fn take_named(told: &[(&[u8], &[u8])], fields: &mut HeaderMap) -> bool {
    let is_named = |name: &[u8], value: &[u8]| name.eq_ignore_ascii_case(b"connection") && value.is_ascii();
    let values = told.iter().filter(|(name, value)| is_named(name, value)).map(|(_, value)| *value);
    let mut asks_to_go_over = false;
    for word in values.flat_map(words) {
        match word {
            word if word.eq_ignore_ascii_case(b"upgrade") => asks_to_go_over = true,
            // It is not among them.
            word if word.eq_ignore_ascii_case(b"keep-alive") => {}
            word => {
                let name = HeaderName::from_bytes(word).ok().filter(may_be_named);
                name.into_iter().for_each(|name| drop(fields.remove(name)));
            }
        }
    }
    asks_to_go_over
}

/// Takes out of fields of HTTP/2 what only HTTP/1 has a use for.
pub(crate) fn strip_for_streams(fields: &mut HeaderMap) {
    let names: Vec<HeaderName> =
        fields.keys().filter(|name| is_for_one_hop(name.as_str())).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

/// Writes the head of a request for a server.
pub(crate) fn write_request(request: &Request, to: &mut Vec<u8>) {
    to.reserve(256 + request.path.len() + request.fields.len() * 48);
    to.extend_from_slice(request.method.as_str().as_bytes());
    to.push(b' ');
    to.extend_from_slice(request.path.as_bytes());
    to.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    to.extend_from_slice(request.authority.as_bytes());
    to.extend_from_slice(b"\r\n");
    if let Some(upgrade) = &request.upgrade {
        write_field(b"connection", b"upgrade", to);
        write_field(b"upgrade", upgrade.as_bytes(), to);
    }
    write_fields(&request.fields, to);
}

/// Writes the head of an answer for a client, up to what tells its end.
pub(crate) fn write_answer(answer: &Answer, version: Version, to: &mut Vec<u8>) {
    to.reserve(256 + answer.fields.len() * 48);
    // Clients of 1.0 know that others may be newer (RFC 9110, section 2.5); some do not.
    to.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    to.extend_from_slice(answer.status.as_str().as_bytes());
    to.push(b' ');
    match (answer.reason.is_empty(), answer.status.canonical_reason()) {
        (true, Some(reason)) => to.extend_from_slice(reason.as_bytes()),
        _ => to.extend_from_slice(&answer.reason),
    }
    to.extend_from_slice(b"\r\n");
    if let Some(upgrade) = &answer.upgrade {
        write_field(b"connection", b"upgrade", to);
        write_field(b"upgrade", upgrade.as_bytes(), to);
    }
    write_fields(&answer.fields, to);
}

fn write_fields(fields: &HeaderMap, to: &mut Vec<u8>) {
    for (name, value) in fields {
        write_field(name.as_str().as_bytes(), value.as_bytes(), to);
    }
}

/// Writes one field.
pub(crate) fn write_field(name: &[u8], value: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(name);
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

/// Fields behind a body, as far as they may be there.
pub(crate) fn trailers(told: &[(&[u8], &[u8])]) -> HeaderMap {
    let mut fields = sorted(told).map(|sorted| sorted.fields).unwrap_or_default();
    strip_trailers(&mut fields);
    fields
}

/// Takes out what may not be behind a body (RFC 9110, section 6.5.1): how it is carried, who asks and for whom.
pub(crate) fn strip_trailers(fields: &mut HeaderMap) {
    let names: Vec<HeaderName> = fields.keys().filter(|name| !may_trail(name.as_str())).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

/// Beginnings of names of fields that have no place in trailers, and names.
const NOT_TRAILING: [&str; 6] = ["x-forwarded-", "proxy-", "content-", "if-", "access-control-", "sec-"];
const NO_TRAILERS: [&str; 22] = [
    "authorization",
    "cookie",
    "set-cookie",
    "forwarded",
    "x-real-ip",
    "www-authenticate",
    "cache-control",
    "expect",
    "max-forwards",
    "pragma",
    "range",
    "age",
    "expires",
    "date",
    "location",
    "retry-after",
    "vary",
    "trailer",
    "via",
    "origin",
    "referer",
    "idempotency-key",
];

fn may_trail(name: &str) -> bool {
    !is_for_one_hop(name)
        && !NOT_TRAILING.iter().any(|begin| name.starts_with(begin))
        && !NO_TRAILERS.contains(&name)
}
