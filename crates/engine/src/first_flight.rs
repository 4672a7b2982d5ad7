//! What a client has sent before its server is reached, or before that has answered.

use std::future::poll_fn;
use std::task::{Poll, ready};

use towpath_config::Replay;
use towpath_wire::client_hello::{Sniffed, sniff};

use crate::buffers::Buffers;
use crate::stream::Stream;

/// At most so many bytes are taken before there is a server for them, and kept until it has answered.
pub(crate) const ROOM: usize = 16 * 1024;

/// The first byte of a TLS handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// The first bytes of a client, to be sent to whichever server is reached.
#[derive(Debug, Default)]
pub(crate) struct FirstFlight(pub(crate) Vec<u8>);

impl FirstFlight {
    /// Takes what has come so far, without waiting. What stands against more (an end, an error) is left for the relay
    /// to meet.
    pub(crate) async fn take_more(&mut self, client: &mut Stream, buffers: &Buffers) {
        poll_fn(|cx| {
            buffers.with_hot(|hot| {
                let room = hot.len().min(ROOM.saturating_sub(self.0.len()));
                if room > 0
                    && let Poll::Ready(Ok(received)) = client.poll_recv(cx, &mut hot[..room])
                {
                    self.0.extend_from_slice(&hot[..received.count]);
                }
            });
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for more; false when no more comes, or there is no room for it.
    pub(crate) async fn wait_for_more(&mut self, client: &mut Stream, buffers: &Buffers) -> bool {
        poll_fn(|cx| {
            buffers.with_hot(|hot| {
                let room = hot.len().min(ROOM.saturating_sub(self.0.len()));
                if room == 0 {
                    return Poll::Ready(false);
                }
                let received = ready!(client.poll_recv(cx, &mut hot[..room]));
                let count = received.map_or(0, |received| received.count);
                self.0.extend_from_slice(&hot[..count]);
                Poll::Ready(count > 0)
            })
        })
        .await
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A copy of the first flight while it may have to be sent again: until the server's first byte.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    replay: Replay,
    /// They may have left with the first packet, which a server can still refuse.
    leaves_early: bool,
}

impl Kept {
    /// Keeps a copy of what was read so far, where `replay` may have a use for it, or where it `leaves_early`.
    pub(crate) fn new(first: &FirstFlight, replay: Replay, leaves_early: bool) -> Option<Box<Self>> {
        let kept = Self { bytes: Vec::new(), replay, leaves_early };
        kept.has_use_for(&first.0).then(|| Box::new(Self { bytes: first.0.clone(), ..kept }))
    }

    /// Adds what was read after it; false when it is of no more use.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= ROOM;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits && self.has_use_for(&self.bytes)
    }

    /// The bytes, if they may be sent to another server. One that `was_refused` has not taken them.
    pub(crate) fn into_bytes(self, was_refused: bool) -> Option<Vec<u8>> {
        (was_refused || may_go_again(self.replay, &self.bytes)).then_some(self.bytes)
    }

    fn has_use_for(&self, bytes: &[u8]) -> bool {
        match self.replay {
            _ if self.leaves_early => true,
            Replay::Never => false,
            Replay::Always => true,
            Replay::Safe => bytes.first().is_none_or(|first| *first == TLS_HANDSHAKE),
        }
    }
}

/// Whether these first bytes of a client may be sent to another server, though one may have them.
pub(crate) fn may_go_again(replay: Replay, first: &[u8]) -> bool {
    match replay {
        Replay::Always => true,
        _ if first.is_empty() => true,
        Replay::Never => false,
        Replay::Safe => match sniff(first) {
            Sniffed::Hello(hello) => !hello.early_data && hello.length == first.len(),
            Sniffed::Incomplete => true,
            Sniffed::NotTls => false,
        },
    }
}
