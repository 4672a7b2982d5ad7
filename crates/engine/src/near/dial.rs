//! Opening a lane: the way to the far end, its key, and the hello.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towpath_wire::tunnel::hello::{self, ANSWER_BYTES, Answer, Hello, Refusal, Terms};

use super::Link;
use crate::chain;
use crate::error::HopFault;
use crate::pool::Hop;
use crate::stream::Stream;
use crate::tls::{SharedKey, is_no_tls};

/// How long a lane may take to be there.
pub(super) const LANE_TIME: Duration = Duration::from_secs(10);

/// What an end with a key answers to what is no TLS begins with (RFC 8446, section 6).
const TLS_ALERT: u8 = 0x15;

/// Why there is no lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failed {
    Fault(HopFault),
    Refused(Refusal),
    Stranger(hello::HelloFault),
    /// It is plain, and this end has a key.
    Plain,
    /// It has a key, and this end is plain.
    Encrypted,
}

impl Failed {
    pub(super) fn fault(self) -> HopFault {
        match self {
            Self::Fault(fault) => fault,
            Self::Refused(why) => HopFault::NoLane(why),
            Self::Stranger(hello::HelloFault::Version(_)) => HopFault::NoLane(Refusal::Version),
            Self::Stranger(hello::HelloFault::Stranger) => HopFault::BadAnswer,
            Self::Plain | Self::Encrypted => HopFault::Tls,
        }
    }
}

/// Tells of a lane over a link that failed, now and then.
pub(super) fn note(hop: &Hop, over: &Link, failed: &Failed) {
    if !hop.warnings.is_due() {
        return;
    }
    let name = &hop.pool.config.name;
    match failed {
        Failed::Fault(HopFault::Tls) => {
            tracing::warn!("pool {name}: the far end of the tunnel has another key, or is no tunnel: {over}");
        }
        Failed::Fault(fault) => {
            tracing::warn!("pool {name}: no lane to the far end of the tunnel, {over}: {fault}");
        }
        Failed::Refused(why) => {
            tracing::warn!("pool {name}: the far end of the tunnel, {over}, takes no lane: {why}");
        }
        Failed::Stranger(why) => tracing::warn!("pool {name}: no tunnel at {over}: {why}"),
        Failed::Plain => {
            tracing::warn!(
                "pool {name}: the far end of the tunnel, {over}, is plain, or is no tunnel; this end has a key"
            );
        }
        Failed::Encrypted => {
            tracing::warn!("pool {name}: the far end of the tunnel, {over}, has a key; this end is plain");
        }
    }
}

/// Connects to the far end, and says hello.
pub(super) async fn open_lane(
    key: Option<SharedKey>,
    hops: &Arc<[Hop]>,
    place: usize,
    over: &Link,
    hello: &Hello,
) -> Result<(Stream, Terms), Failed> {
    let mut stream = chain::reach_hop(hops, place, over, LANE_TIME).await.map_err(Failed::Fault)?;
    stream.prepare_lane(&hops[place].pool.config.socket);
    stream.keep_alive(&hops[place].pool.config.socket);
    if let Some(key) = &key {
        stream = key.connect(stream).await.map_err(|error| match error.kind() {
            _ if is_no_tls(&error) => Failed::Plain,
            ErrorKind::InvalidData => Failed::Fault(HopFault::Tls),
            _ => Failed::Fault(HopFault::Closed),
        })?;
    }
    let closed = |_| Failed::Fault(HopFault::Closed);
    stream.write_all(&hello.bytes()).await.map_err(closed)?;
    stream.flush().await.map_err(closed)?;
    let mut answer = [0; ANSWER_BYTES];
    let (first, rest) = answer.split_at_mut(1);
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::InvalidData => Failed::Fault(HopFault::Tls),
        _ => Failed::Fault(HopFault::Closed),
    };
    stream.read_exact(first).await.map_err(failed)?;
    if first[0] == TLS_ALERT {
        return Err(Failed::Encrypted);
    }
    stream.read_exact(rest).await.map_err(failed)?;
    match Answer::read(&answer).map_err(Failed::Stranger)? {
        Answer::Welcome(terms) => Ok((stream, terms)),
        Answer::Refused(why) => Err(Failed::Refused(why)),
    }
}
