//! Connections to servers for the requests of one client, kept for its next ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::body::Up;
use crate::pool::{Backend, Lease, Pool};
use crate::stream::Stream;

/// Connections that are kept idle for one client.
const KEPT: usize = 4;

/// For so long: servers often close after 5 seconds or more (Apache), and a request that meets the close has to be sent again.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// A connection to a server, and for whom it was made.
pub(super) struct Sender {
    pub(super) requests: SendRequest<Up>,
    pub(super) key: Key,
    /// Where it leads.
    pub(super) pool: Arc<Pool>,
    pub(super) backend: Arc<Backend>,
}

/// What connections may be shared by: the destination and the user.
pub(super) type Key = (String, Option<Arc<str>>);

/// Those of one client that wait for its next request.
#[derive(Default)]
pub(super) struct Idle(Vec<(Sender, Instant)>);

impl Idle {
    /// One to this destination that seems to live.
    pub(super) fn take(&mut self, key: &Key) -> Option<Sender> {
        self.0.retain(|(sender, since)| sender.requests.is_ready() && since.elapsed() < KEPT_FOR);
        let place = self.0.iter().position(|(sender, _)| sender.key == *key)?;
        Some(self.0.swap_remove(place).0)
    }

    /// Keeps one whose answer was read to its end.
    pub(super) fn put(&mut self, sender: Sender) {
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        self.0.push((sender, Instant::now()));
    }
}

impl Sender {
    /// Speaks HTTP/1 on a new connection to a backend of `pool`, whose place there is `lease`.
    pub(super) async fn new(
        stream: Stream,
        lease: Lease,
        pool: Arc<Pool>,
        key: Key,
    ) -> Result<Self, hyper::Error> {
        let handshake = http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(stream));
        let (requests, connection) = handshake.await?;
        let backend = Arc::clone(&lease);
        spawn_local(async move {
            // What fails here fails the request too.
            let _ = connection.with_upgrades().await;
            drop(lease);
        });
        Ok(Self { requests, key, pool, backend })
    }
}
