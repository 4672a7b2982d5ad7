//! The body of a request on its way to a server, and to another one when that fails.

use std::task::{Context, Poll};

use http::HeaderMap;

use super::head::Request;
use super::pump::{Break, Tap, poll_pump};
use super::side::{Data, Side};
use crate::buffers::Buffers;
use crate::flow::{Flow, Meter};

/// The body of a request on its way, as much of it as may have to be sent again.
#[derive(Debug)]
pub(super) struct Upload {
    /// Whether all of it was read from the client.
    pub(super) is_over: bool,
    /// Whether the server has all of it.
    pub(super) is_sent: bool,
    pub(super) trailers: Option<HeaderMap>,
    /// What was read; `None` once it is too much to keep.
    pub(super) kept: Option<Vec<u8>>,
    kept_max: usize,
    /// How much there may be.
    limit: Option<u64>,
    pub(super) count: u64,
    pub(super) is_too_long: bool,
}

impl Upload {
    pub(super) fn new(request: &Request, kept_max: usize, limit: Option<u64>) -> Self {
        Self {
            is_over: !request.has_body,
            is_sent: false,
            trailers: None,
            kept: Some(Vec::new()),
            kept_max,
            limit,
            count: 0,
            is_too_long: false,
        }
    }

    /// The same for a copy of the request, if it was kept whole.
    pub(super) fn copy(&self) -> Option<Self> {
        let kept = self.kept.clone().filter(|_| self.is_over)?;
        Some(Self {
            is_over: true,
            is_sent: false,
            trailers: self.trailers.clone(),
            kept: Some(kept),
            kept_max: self.kept_max,
            limit: None,
            count: 0,
            is_too_long: false,
        })
    }

    /// Moves what has come of it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        flow: &Flow,
        client: &mut Side,
        server: &mut Side,
        buffers: &Buffers,
    ) -> Poll<Result<(), Break>> {
        let mut is_over = self.is_over;
        let pumped = poll_pump(cx, client, server, &mut is_over, &mut Counted(self, flow), buffers);
        self.is_over = is_over;
        self.is_sent = matches!(pumped, Poll::Ready(Ok(())));
        pumped
    }
}

/// An upload that is counted.
struct Counted<'a>(&'a mut Upload, &'a Flow);

impl Tap for Counted<'_> {
    fn pass(&mut self, cx: &mut Context<'_>, part: Data<'_>, sink: &mut Side) {
        let (Self(upload, flow), data) = (self, part.bytes);
        flow.up(data.len() as u64);
        upload.count += data.len() as u64;
        upload.is_too_long |= upload.limit.is_some_and(|limit| upload.count > limit);
        if let Some(kept) = &mut upload.kept {
            if kept.len() + data.len() <= upload.kept_max {
                kept.extend_from_slice(data);
            } else {
                upload.kept = None;
            }
        }
        if !upload.is_too_long {
            sink.put(cx, part);
        }
    }

    fn rest(&mut self, _: &mut Context<'_>, _: &mut Side) {}

    fn end(&mut self, _: &mut Context<'_>, trailers: Option<HeaderMap>, sink: &mut Side) {
        self.0.trailers.clone_from(&trailers);
        // Half a body must not look like a whole one.
        if !self.0.is_too_long {
            sink.put_end(trailers);
        }
    }
}
