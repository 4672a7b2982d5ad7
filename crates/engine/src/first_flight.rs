//! What a client has sent before its server is reached.

use std::future::poll_fn;
use std::task::Poll;

use crate::relay::Buffers;
use crate::stream::Stream;

/// At most so many bytes are taken before there is a server for them.
const LIMIT: usize = 16 * 1024;

/// The first bytes of a client, to be sent to whichever server is reached.
#[derive(Debug, Default)]
pub(crate) struct FirstFlight(Box<[u8]>);

impl FirstFlight {
    /// Takes what has come so far, without waiting. What stands against more (an end, an error) is left for the relay
    /// to meet.
    pub(crate) async fn take(client: &mut Stream, buffers: &Buffers) -> Self {
        poll_fn(|cx| {
            Poll::Ready(buffers.with_hot(|hot| {
                let limit = hot.len().min(LIMIT);
                match client.poll_recv(cx, &mut hot[..limit]) {
                    Poll::Ready(Ok(received)) => Self(hot[..received.count].into()),
                    Poll::Ready(Err(_)) | Poll::Pending => Self::default(),
                }
            }))
        })
        .await
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_bytes(self) -> Box<[u8]> {
        self.0
    }
}
