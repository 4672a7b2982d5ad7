//! Where a client of a proxy wants to go: what it asks, in whichever protocol it asks, and how it is answered.

pub(crate) mod answer;
pub(crate) mod http;
mod socks;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use towpath_wire::destination::Destination;

use crate::auth::{Authenticator, Verdict};
use crate::buffers::Buffers;
use crate::error::Misasked;
use crate::first_flight::FirstFlight;
use crate::stream::Stream;

pub(crate) use answer::Answer;

/// What a client asks for.
pub(crate) enum Asked {
    /// To be connected to a destination.
    Tunnel(Tunnel),
    /// Requests of HTTP/1 to be passed on, which are still to be read.
    Requests,
    /// Streams of HTTP/2, likewise.
    Streams,
}

/// A connection that a client asks for.
pub(crate) struct Tunnel {
    /// Where to.
    pub(crate) destination: Destination,
    /// Who asks, where users have names.
    pub(crate) user: Option<Arc<str>>,
    /// How to answer.
    pub(crate) answer: Answer,
}

/// A client that is not understood, or not known.
pub(crate) struct Refusal {
    /// Why.
    pub(crate) why: Misasked,
    /// What it is told.
    pub(crate) parting: Vec<u8>,
}

impl From<Misasked> for Refusal {
    fn from(why: Misasked) -> Self {
        Self { why, parting: Vec::new() }
    }
}

/// A client that asks, and what is needed to hear it.
pub(crate) struct Asking<'a> {
    pub(crate) client: &'a mut Stream,
    pub(crate) first: &'a mut FirstFlight,
    pub(crate) buffers: &'a Buffers,
    pub(crate) users: Option<&'a Authenticator>,
    pub(crate) address: Option<SocketAddr>,
    /// When the client has to have said what it wants.
    pub(crate) until: Instant,
}

/// Reads what a client asks for, within the time that it has. Bytes behind that are left in `first`.
pub(crate) async fn ask(mut asking: Asking<'_>) -> Result<Asked, Refusal> {
    let asking = &mut asking;
    while asking.first.is_empty() {
        asking.more().await?;
    }
    match asking.first.0[0] {
        5 => socks::ask_v5(asking).await.map(Asked::Tunnel),
        4 => socks::ask_v4(asking).await.map(Asked::Tunnel),
        0x16 => Err(Misasked::Tls.into()),
        byte if byte.is_ascii_graphic() || byte == b'\r' => http::ask(asking).await,
        _ => Err(Misasked::Protocol.into()),
    }
}

impl Asking<'_> {
    /// Waits for more bytes.
    async fn more(&mut self) -> Result<(), Misasked> {
        match timeout_at(self.until, self.first.wait_for_more(self.client, self.buffers)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Misasked::Ended),
            Err(_) => Err(Misasked::Late),
        }
    }

    /// Looks whether a login is right. That takes as long as it takes us, which is not the client's time.
    async fn check(&mut self, users: &Authenticator, name: &[u8], password: &[u8]) -> Verdict {
        let begun = Instant::now();
        let verdict = users.check(self.address.map(|address| address.ip()), name, password).await;
        self.until += begun.elapsed();
        verdict
    }

    /// Takes bytes that were understood off the front.
    fn take(&mut self, length: usize) {
        self.first.0.drain(..length);
    }

    /// Answers within the negotiation.
    async fn say(&mut self, bytes: &[u8]) -> Result<(), Misasked> {
        match timeout_at(self.until, self.client.send_all(bytes, false)).await {
            Ok(sent) => sent.map_err(|_| Misasked::Ended),
            Err(_) => Err(Misasked::Late),
        }
    }
}
