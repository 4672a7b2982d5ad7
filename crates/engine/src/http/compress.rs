//! Compressing answers on their way: whether, how, and the bytes.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::{Compress, Compression, FlushCompress, Status};
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, VARY,
};
use towpath_config::Coding;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use super::weighed::{Quality, weighed};

/// Shorter answers would grow, or save nothing for what it costs.
const LENGTH_MIN: u64 = 256;

/// Answers must not wait for this, so that each coding is as quick as it is worth it.
const GZIP_LEVEL: u32 = 4;
const BROTLI_LEVEL: i32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// How far back repetitions are found, as powers of two: what each answer holds in memory grows with it. It is 0.3 MiB for gzip,
/// 0.8 for zstd and 1.9 for Brotli, where a window twice as long makes it 3.0, and answers half a percent smaller.
const GZIP_WINDOW: u8 = 15;
const BROTLI_WINDOW: i32 = 17;
const ZSTD_WINDOW: u32 = 17;
/// The sizes of the tables to find them in, which go with the window.
const ZSTD_TABLES: u32 = 15;

/// Room that a coder gets to write to at a time, in bytes.
const ROOM: usize = 4096;

/// Fields that vouch for the bytes as they are (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// Types that are text by other names than `text/...`, `...+json` and `...+xml`.
const TYPES: [&str; 8] = [
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
];

/// The coding of `allowed`, the preferred first, that a client likes best; `None` if it likes the answer best as it is (RFC 9110,
/// section 12.5.3).
pub(crate) fn choose(request_fields: &HeaderMap, allowed: &[Coding]) -> Option<Coding> {
    let (mut identity, mut any) = (None, None);
    let mut named = [None; 3];
    for (name, quality) in weighed(request_fields, &ACCEPT_ENCODING) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        let place = match name {
            "*" => &mut any,
            _ if is("identity") => &mut identity,
            _ if is("gzip") || is("x-gzip") => &mut named[Coding::Gzip as usize],
            _ if is("br") => &mut named[Coding::Brotli as usize],
            _ if is("zstd") => &mut named[Coding::Zstd as usize],
            _ => continue,
        };
        *place = Some(quality);
    }
    let liked = |coding: Coding| named[coding as usize].or(any).unwrap_or(Quality::NONE);
    let mut best: Option<(Coding, Quality)> = None;
    for coding in allowed.iter().copied() {
        if liked(coding) > best.map_or(Quality::NONE, |(_, quality)| quality) {
            best = Some((coding, liked(coding)));
        }
    }
    let as_it_is = identity.or(any).unwrap_or(Quality::NONE);
    best.filter(|(_, quality)| *quality >= as_it_is).map(|(coding, _)| coding)
}

/// Whether an answer may be compressed, and is worth it. `length` is that of its body, if it is known. One to HEAD fits as the one
/// to GET does.
pub(crate) fn fits(status: StatusCode, response_fields: &HeaderMap, length: Option<u64>) -> bool {
    let has_body = !status.is_informational()
        && ![
            StatusCode::NO_CONTENT,
            StatusCode::RESET_CONTENT,
            StatusCode::PARTIAL_CONTENT,
            StatusCode::NOT_MODIFIED,
        ]
        .contains(&status);
    has_body
        && length.is_none_or(|length| length >= LENGTH_MIN)
        && is_compressible(response_fields)
        && !response_fields.contains_key(CONTENT_ENCODING)
        && !response_fields.contains_key(CONTENT_RANGE)
        && !lists(response_fields, &CACHE_CONTROL, "no-transform")
        && !DIGESTS.iter().any(|name| response_fields.contains_key(*name))
}

/// Streams of events and of gRPC are text too, and left alone: they have coders of their own, or want none.
fn is_compressible(fields: &HeaderMap) -> bool {
    let Some(Ok(kind)) = fields.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let begins = |with: &str| kind.get(..with.len()).is_some_and(|part| part.eq_ignore_ascii_case(with));
    let ends = |with: &str| {
        let at = kind.len().checked_sub(with.len());
        at.and_then(|at| kind.get(at..)).is_some_and(|part| part.eq_ignore_ascii_case(with))
    };
    let is_stream = kind.eq_ignore_ascii_case("text/event-stream") || begins("application/grpc");
    let is_text = begins("text/") || ends("+json") || ends("+xml");
    !is_stream && (is_text || TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)))
}

/// Whether one of the fields `name` lists `wanted`.
fn lists(fields: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = fields.get_all(name).into_iter();
    let mut listed = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    listed.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Says of an answer that it is compressed.
pub(crate) fn mark(response_fields: &mut HeaderMap, coding: Coding) {
    let name = match coding {
        Coding::Gzip => "gzip",
        Coding::Brotli => "br",
        Coding::Zstd => "zstd",
    };
    response_fields.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    response_fields.remove(CONTENT_LENGTH);
    response_fields.remove(ACCEPT_RANGES);
    let strong = response_fields.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    // The bytes are others, though they mean the same.
    if let Some(Ok(weak)) = strong.map(|tag| HeaderValue::try_from([b"W/", tag.as_bytes()].concat())) {
        response_fields.insert(ETAG, weak);
    }
    vary(response_fields);
}

/// Says of an answer that it depends on what the client takes: of each that fits, be it compressed or not.
pub(crate) fn vary(response_fields: &mut HeaderMap) {
    let is_said = |wanted| lists(response_fields, &VARY, wanted);
    if !is_said("*") && !is_said(ACCEPT_ENCODING.as_str()) {
        let _ = response_fields.try_append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Compresses one body. Errors are the library's, as when there is no memory: the body cannot go on then.
pub(crate) struct Squeeze {
    coder: Coder,
    /// Whether something was pushed after the last flush.
    holds_back: bool,
    _place: Place,
}

/// Answers that a worker compresses at a time: each takes up to two megabytes. Others go as they are.
const PLACES: usize = 64;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// One of the places.
struct Place;

impl Place {
    fn take() -> io::Result<Self> {
        TAKEN.with(|taken| {
            if taken.get() >= PLACES {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            taken.set(taken.get() + 1);
            Ok(Self)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // When a thread ends, the count may be gone before those who count.
        let _ = TAKEN.try_with(|taken| taken.set(taken.get() - 1));
    }
}

enum Coder {
    Gzip(Compress),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Encoder<'static>),
}

impl Squeeze {
    pub(crate) fn new(coding: Coding) -> io::Result<Self> {
        let place = Place::take()?;
        let coder = match coding {
            Coding::Gzip => Coder::Gzip(Compress::new_gzip(Compression::new(GZIP_LEVEL), GZIP_WINDOW)),
            Coding::Brotli => {
                let params =
                    BrotliEncoderParams { quality: BROTLI_LEVEL, lgwin: BROTLI_WINDOW, ..Default::default() };
                Coder::Brotli(Box::new(CompressorWriter::with_params(Vec::new(), ROOM, &params)))
            }
            Coding::Zstd => {
                let mut encoder = Encoder::new(ZSTD_LEVEL)?;
                encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW))?;
                encoder.set_parameter(CParameter::HashLog(ZSTD_TABLES))?;
                encoder.set_parameter(CParameter::ChainLog(ZSTD_TABLES))?;
                Coder::Zstd(encoder)
            }
        };
        Ok(Self { coder, holds_back: false, _place: place })
    }

    /// Takes `data`, and appends what comes out to `to`: often nothing yet.
    pub(crate) fn push(&mut self, data: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.holds_back = true;
        match &mut self.coder {
            Coder::Gzip(coder) => deflate(coder, data, FlushCompress::None, to),
            Coder::Brotli(coder) => {
                coder.write_all(data)?;
                to.append(coder.get_mut());
                Ok(())
            }
            Coder::Zstd(coder) => {
                let mut data = InBuffer::around(data);
                while data.pos() < data.src.len() {
                    with_room(to, |room| coder.run(&mut data, room))?;
                }
                Ok(())
            }
        }
    }

    /// Appends all that was held back, so that the client can read what was pushed. It costs some bytes.
    pub(crate) fn flush(&mut self, to: &mut Vec<u8>) -> io::Result<()> {
        if !std::mem::take(&mut self.holds_back) {
            return Ok(());
        }
        match &mut self.coder {
            Coder::Gzip(coder) => deflate(coder, &[], FlushCompress::Sync, to),
            Coder::Brotli(coder) => {
                coder.flush()?;
                to.append(coder.get_mut());
                Ok(())
            }
            Coder::Zstd(coder) => {
                while with_room(to, |room| coder.flush(room))? > 0 {}
                Ok(())
            }
        }
    }

    /// Appends the end.
    pub(crate) fn finish(self, to: &mut Vec<u8>) -> io::Result<()> {
        match self.coder {
            Coder::Gzip(mut coder) => deflate(&mut coder, &[], FlushCompress::Finish, to),
            Coder::Brotli(coder) => {
                to.append(&mut coder.into_inner());
                Ok(())
            }
            Coder::Zstd(mut coder) => {
                while with_room(to, |room| coder.finish(room, true))? > 0 {}
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Squeeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Squeeze")
    }
}

fn deflate(coder: &mut Compress, mut data: &[u8], flush: FlushCompress, to: &mut Vec<u8>) -> io::Result<()> {
    loop {
        to.reserve(ROOM);
        let before = coder.total_in();
        let status = coder.compress_vec(data, to, flush)?;
        data = &data[(coder.total_in() - before) as usize..];
        // Room that is left over says that nothing is held back for want of it.
        let is_done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => data.is_empty() && to.len() < to.capacity(),
        };
        if is_done {
            return Ok(());
        }
    }
}

fn with_room<T>(
    to: &mut Vec<u8>,
    write: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> io::Result<T>,
) -> io::Result<T> {
    to.reserve(ROOM);
    let end = to.len();
    write(&mut OutBuffer::around_pos(to, end))
}

#[cfg(test)]
mod tests;
