//! How the streams of sockets are cut, queued and paced: from keys of the file, and from the URL of a proxy.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crate::error::Mistake;
use crate::file;
use crate::model::{Pieces, Segments, SocketOptions};
use crate::near::excerpt;
use crate::read::{Field, Shape, Word};
use crate::report::Report;
use crate::units::Bad;
use crate::words::{ByteRate, CongestionWord, PieceGap, SocketBuffer, Unsent, code_point};

/// The keys that the URL of a proxy may have for its socket, for messages.
pub(crate) const KEYS: &str = "mss, write_size, write_gap, nodelay, cork, send_buffer, receive_buffer, notsent_lowat, \
    congestion, pacing_rate, fastopen, mptcp, dscp and quickack";

/// What a table says of segments; `None` when that is nothing. `has_tcp` tells whether any of its sockets is one of TCP.
pub(crate) fn segments(
    shape: file::Segments,
    nodelay: bool,
    has_tcp: bool,
    report: &mut Report,
) -> Option<Box<Segments>> {
    let spans = shape.spans();
    if let Some((key, span)) = spans.first().filter(|_| !has_tcp) {
        let mistake = Mistake::at(span.clone(), format!("`{key}` is of TCP, and here are only unix sockets"));
        report.push(mistake.hint(format!("leave `{key}` out")));
        return None;
    }
    let is_on = |field: Field<crate::read::Switch>| field.given().is_some_and(|switch| switch.0);
    let gap = shape.write_gap.clone().given().map(|gap| gap.0);
    let bytes = shape.write_size.clone().given().map(|bytes| bytes.number() as usize);
    if let Some(span) = shape.write_gap.span().filter(|_| shape.write_size.is_absent()) {
        let (message, hint) = GAP_ALONE;
        report.push(Mistake::at(span, message).hint(hint));
    }
    let segments = Segments {
        mss: shape.mss.given().and_then(|mss| u16::try_from(mss.number()).ok()),
        pieces: bytes.map(|bytes| Pieces { bytes, gap }),
        cork: is_on(shape.cork),
        send_buffer: shape.send_buffer.given().map(|size| size.0),
        receive_buffer: shape.receive_buffer.given().map(|size| size.0),
        notsent_lowat: shape.notsent_lowat.given().and_then(|size| u32::try_from(size.0).ok()),
        congestion: shape.congestion.given().map(|word| word.0),
        pacing_rate: shape.pacing_rate.given().map(|rate| rate.0),
        fastopen: is_on(shape.fastopen),
        mptcp: is_on(shape.mptcp),
        dscp: shape.dscp.given().map(|point| point.0),
        quickack: is_on(shape.quickack),
    };
    let span_of = |key| spans.iter().find(|(of, _)| *of == key).map(|(_, span)| span.clone());
    if let Some((message, hint)) = conflict(&segments, nodelay) {
        let span: Range<usize> = span_of("write_size").unwrap_or_default();
        report.push(Mistake::at(span, message).hint(hint));
    }
    (segments != Segments::default()).then(|| Box::new(segments))
}

const GAP_ALONE: (&str, &str) =
    ("`write_gap` goes with `write_size`", "add write_size = 100, the most bytes of a piece");

/// What keeps a stream from being written in pieces: a message and a hint.
fn conflict(segments: &Segments, nodelay: bool) -> Option<(&'static str, &'static str)> {
    segments.pieces?;
    if segments.cork {
        let hint = "leave `cork` or `write_size` out";
        return Some(("a stream that is corked is not written in pieces", hint));
    }
    if !nodelay {
        let hint = "leave `nodelay` or `write_size` out";
        return Some(("pieces do not wait for each other, and without `nodelay` they would", hint));
    }
    if segments.mptcp {
        let hint = "leave `mptcp` or `write_size` out";
        return Some(("MPTCP cuts its stream itself", hint));
    }
    None
}

/// What the URL of a proxy says of the socket to it.
#[derive(Default)]
pub(crate) struct OfUrl {
    /// What it says of segments, beside what was there before.
    segments: Segments,
    nodelay: Option<bool>,
    cork: Option<bool>,
    fastopen: Option<bool>,
    mptcp: Option<bool>,
    quickack: Option<bool>,
    gap: Option<Duration>,
    is_given: bool,
}

impl OfUrl {
    /// Whether it says anything.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }

    /// Takes a key and its value; false when it is none of a socket.
    ///
    /// # Errors
    /// When the value is none.
    pub(crate) fn take(&mut self, key: &str, value: &str) -> Result<bool, Bad> {
        let segments = &mut self.segments;
        match key {
            "mss" => segments.mss = u16::try_from(number(key, value, 88..=32_767)?).ok(),
            "write_size" => {
                let bytes = number(key, value, 1..=65_535)? as usize;
                segments.pieces = Some(Pieces { bytes, gap: None });
            }
            "write_gap" => self.gap = Some(PieceGap::from_word(value)?.0),
            "nodelay" => self.nodelay = Some(switch(key, value)?),
            "cork" => self.cork = Some(switch(key, value)?),
            "send_buffer" => segments.send_buffer = Some(SocketBuffer::from_word(value)?.0),
            "receive_buffer" => segments.receive_buffer = Some(SocketBuffer::from_word(value)?.0),
            "notsent_lowat" => segments.notsent_lowat = u32::try_from(Unsent::from_word(value)?.0).ok(),
            "congestion" => segments.congestion = Some(CongestionWord::from_word(value)?.0),
            "pacing_rate" => segments.pacing_rate = Some(ByteRate::from_word(value)?.0),
            "fastopen" => self.fastopen = Some(switch(key, value)?),
            "mptcp" => self.mptcp = Some(switch(key, value)?),
            "dscp" => segments.dscp = Some(code_point(value)?),
            "quickack" => self.quickack = Some(switch(key, value)?),
            _ => return Ok(false),
        }
        self.is_given = true;
        Ok(true)
    }

    /// The options of the socket: these, and where they say nothing those of the pool.
    ///
    /// # Errors
    /// When they do not go together.
    pub(crate) fn over(self, pool: &SocketOptions) -> Result<SocketOptions, Bad> {
        let bad = |(message, hint)| Bad::new(message, hint);
        let before = pool.segments.as_deref().cloned().unwrap_or_default();
        let own = self.segments;
        let mut pieces = own.pieces.or(before.pieces);
        match (&mut pieces, self.gap) {
            (Some(pieces), Some(gap)) => pieces.gap = Some(gap),
            (None, Some(_)) => return Err(bad(GAP_ALONE)),
            (_, None) => {}
        }
        let segments = Segments {
            mss: own.mss.or(before.mss),
            pieces,
            cork: self.cork.unwrap_or(before.cork),
            send_buffer: own.send_buffer.or(before.send_buffer),
            receive_buffer: own.receive_buffer.or(before.receive_buffer),
            notsent_lowat: own.notsent_lowat.or(before.notsent_lowat),
            congestion: own.congestion.or(before.congestion),
            pacing_rate: own.pacing_rate.or(before.pacing_rate),
            fastopen: self.fastopen.unwrap_or(before.fastopen),
            mptcp: self.mptcp.unwrap_or(before.mptcp),
            dscp: own.dscp.or(before.dscp),
            quickack: self.quickack.unwrap_or(before.quickack),
        };
        let nodelay = self.nodelay.unwrap_or(pool.nodelay);
        match conflict(&segments, nodelay) {
            Some(conflict) => Err(bad(conflict)),
            None => Ok(SocketOptions { nodelay, segments: Some(Box::new(segments)), ..pool.clone() }),
        }
    }
}

/// A switch of a URL, which is on where nothing is behind it.
fn switch(key: &str, value: &str) -> Result<bool, Bad> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            Err(Bad::new(format!("`{key}` of this URL is no switch"), format!("write {key} or {key}=false")))
        }
    }
}

fn number(key: &str, value: &str, within: RangeInclusive<u32>) -> Result<u32, Bad> {
    let number = value.parse().ok().filter(|number| within.contains(number));
    number.ok_or_else(|| {
        let (least, most) = within.into_inner();
        let message =
            format!("`{key}` of this URL is `{}`, no number from {least} to {most}", excerpt(value));
        Bad::new(message, format!("write it as in {key}={}", least.max(100)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(query: &str) -> Result<SocketOptions, String> {
        let of_pool = Segments { mss: Some(1000), dscp: Some(8), quickack: true, ..Segments::default() };
        let segments = Some(Box::new(of_pool));
        let pool = SocketOptions { nodelay: true, keepalive: None, user_timeout: None, segments };
        let mut of_url = OfUrl::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            assert!(of_url.take(&key, &value).map_err(|bad| bad.message)?, "{key}");
        }
        of_url.over(&pool).map_err(|bad| bad.message)
    }

    #[test]
    fn a_url_says_what_differs_from_the_pool() {
        let all = "mss=1200&write_gap=5ms&write_size=100&send_buffer=1MiB&receive_buffer=64KiB&notsent_lowat=16KiB&\
                   congestion=cubic&pacing_rate=10MiB/s&fastopen&quickack=true";
        let told = over(all).unwrap();
        let expected = Segments {
            mss: Some(1200),
            pieces: Some(Pieces { bytes: 100, gap: Some(Duration::from_millis(5)) }),
            cork: false,
            send_buffer: Some(1 << 20),
            receive_buffer: Some(64 << 10),
            notsent_lowat: Some(16 << 10),
            congestion: Some("cubic".to_owned()),
            pacing_rate: Some(10 << 20),
            fastopen: true,
            mptcp: false,
            dscp: Some(8),
            quickack: true,
        };
        assert_eq!(told.segments.as_deref(), Some(&expected));
        let told = over("nodelay=false&cork&mptcp&dscp=EF&quickack=false").unwrap();
        let segments = told.segments.unwrap();
        assert!(!segments.quickack && over("cork").unwrap().segments.unwrap().quickack);
        let switches = (told.nodelay, segments.cork, segments.mptcp, segments.dscp, segments.mss);
        assert_eq!(switches, (false, true, true, Some(46), Some(1000)));
    }

    #[test]
    fn a_url_that_contradicts_itself_is_refused() {
        for query in [
            "write_gap=5ms",
            "write_size=100&cork",
            "write_size=100&nodelay=false",
            "mptcp&write_size=9",
            "mss=87",
            "mss=",
            "dscp=64",
            "dscp=+4",
            "cork=1",
            "congestion=a%20b",
            "write_size=0",
        ] {
            assert!(over(query).is_err(), "{query}");
        }
    }
}
