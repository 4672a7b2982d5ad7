//! A stream of HTTP/2 as hyper hands it out, as a layer.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use towpath_config::SocketOptions;

use super::Io;

impl Io for TokioIo<Upgraded> {
    fn poll_hangup(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // Its connection tells when it is read or written.
        Poll::Pending
    }

    fn keep_alive(&self, _wanted: &SocketOptions) {}

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn unacknowledged(&self) -> usize {
        0
    }

    fn finish(self: Box<Self>) {}
}
