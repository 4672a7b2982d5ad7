//! A stream within TLS, as a layer. Its end in order is told by an alert (close_notify), so that a cut shows as such.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use tokio_rustls::{client, server};
use towpath_config::SocketOptions;
use towpath_sys::path::TcpPath;

use crate::stream::{Io, Stream};

macro_rules! io_of_tls {
    ($name:ty) => {
        impl Io for $name {
            fn poll_hangup(&mut self, cx: &mut Context<'_>) -> Poll<()> {
                self.get_mut().0.poll_hangup(cx)
            }

            fn keep_alive(&self, wanted: &SocketOptions) {
                self.get_ref().0.keep_alive(wanted);
            }

            fn local_address(&self) -> Option<SocketAddr> {
                self.get_ref().0.local_address()
            }

            fn descriptor(&self) -> Option<BorrowedFd<'_>> {
                self.get_ref().0.descriptor()
            }

            fn unacknowledged(&self) -> usize {
                self.get_ref().0.unacknowledged()
            }

            fn path(&self) -> Option<TcpPath> {
                self.get_ref().0.path()
            }

            fn prepare_lane(&self, options: &SocketOptions) {
                self.get_ref().0.prepare_lane(options);
            }

            fn pace(&self, rate: u64) {
                self.get_ref().0.pace(rate);
            }

            fn finish(self: Box<Self>) {
                // Its writes were shut down, and so were those of what is below it.
                self.into_inner().0.finish_now();
            }
        }
    };
}

io_of_tls!(client::TlsStream<Stream>);
io_of_tls!(server::TlsStream<Stream>);
