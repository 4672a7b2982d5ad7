//! Streams that HTTP has gone over to another protocol on, for the relay.

use std::io::ErrorKind;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::gated::Gated;
use crate::stream::Stream;

/// The stream behind an upgrade, with what was read ahead.
pub(super) fn into_stream(upgraded: Upgraded) -> Result<Stream, ErrorKind> {
    let upgraded = match upgraded.downcast::<TokioIo<Gated>>() {
        Ok(parts) => {
            return parts.io.into_inner().into_stream(&parts.read_buf).ok_or(ErrorKind::NotConnected);
        }
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<Stream>>() {
        Ok(parts) => Ok(parts.io.into_inner().unread(&parts.read_buf)),
        Err(_) => Err(ErrorKind::Unsupported),
    }
}
