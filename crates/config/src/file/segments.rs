//! The keys that say how the streams of a listener's or pool's sockets are cut, queued and paced.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::shape::shape;
use crate::error::Mistake;
use crate::read::{Field, Keys, Read, Shape, Switch, Whole};
use crate::report::Report;
use crate::words::{ByteRate, CongestionWord, PieceGap, SocketBuffer, Unsent, code_point};

shape! {
    /// How the stream of a socket is cut, queued and paced.
    Segments, "a socket",
    /// TCP_MAXSEG: bytes of payload in a segment, both ways.
    mss: Mss,
    /// The stream is written in pieces of at most so many bytes, each pushed.
    write_size: PieceBytes,
    /// Time between two pieces, at most 10s; goes with `write_size`.
    write_gap: PieceGap,
    /// TCP_CORK: only full segments leave, others after 200 ms.
    cork: Switch = false,
    /// SO_SNDBUF, from 4KiB to 1GiB; the kernel doubles it, up to twice net.core.wmem_max.
    send_buffer: SocketBuffer,
    /// SO_RCVBUF, from 4KiB to 1GiB; the kernel doubles it, up to twice net.core.rmem_max.
    receive_buffer: SocketBuffer,
    /// TCP_NOTSENT_LOWAT: no more is written while so much was not sent yet.
    notsent_lowat: Unsent,
    /// TCP_CONGESTION: the algorithm of congestion control, as in `bbr`, `cubic` or `reno`.
    congestion: CongestionWord,
    /// SO_MAX_PACING_RATE: the kernel sends no faster, as in `10MiB/s`.
    pacing_rate: ByteRate,
    /// Whether data may come or go with the first packet (TCP Fast Open, RFC 7413).
    fastopen: Switch = false,
    /// Whether MPTCP (RFC 8684) is spoken, or plain TCP where kernel or peer has none.
    mptcp: Switch = false,
    /// The code point of packets (RFC 2474): 0 to 63, or a name such as `ef`, `af41` or `cs1`.
    dscp: Dscp,
    /// TCP_QUICKACK, once, when the connection is made.
    quickack: Switch = false,
}

/// What TCP_MAXSEG takes (tcp(7)).
pub(crate) type Mss = Whole<88, 32_767>;

/// The length of a piece.
pub(crate) type PieceBytes = Whole<1, 65_535>;

/// A code point: a number or a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dscp(pub(crate) u8);

impl Read for Dscp {
    fn expected() -> String {
        "a code point".to_owned()
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_integer() || value.is_str()
    }

    fn convert(_key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.as_str(),
            DeValue::String(text) => text,
            _ => return None,
        };
        match code_point(text) {
            Ok(point) => Some(Self(point)),
            Err(bad) => {
                report.push(Mistake::at(value.span(), bad.message).hint(bad.hint));
                None
            }
        }
    }
}

impl JsonSchema for Dscp {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Dscp".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 63 },
            { "type": "string", "examples": ["ef"], "pattern": "^([0-9]{1,2}|cs[0-7]|af[1-4][1-3]|ef|le|voice-admit)$" },
        ] })
    }
}
