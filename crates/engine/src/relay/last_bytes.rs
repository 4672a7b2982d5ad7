//! Bytes that came before a reset: they are delivered, and then the reset.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::stream::Stream;

/// The peer may take so long for the next byte before the reset comes all the same.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the peer has acknowledged what was written, then resets the connection: a reset makes the kernel throw
/// away what it has not sent yet, and no event tells when it has sent all (tcp(7), SIOCOUTQ).
pub(crate) async fn deliver(mut stream: Stream) {
    let _ = timeout(PATIENCE, poll_fn(|cx| stream.poll_flushed(cx))).await;
    let mut left = stream.unacknowledged();
    let mut pause = Duration::from_millis(1);
    let mut progress = Instant::now();
    while left > 0 && progress.elapsed() < PATIENCE {
        // What was written to a peer that has reset the connection stays there for ever.
        if poll_fn(|cx| Poll::Ready(stream.poll_hangup(cx).is_ready())).await {
            break;
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
        let now = stream.unacknowledged();
        if now != left {
            progress = Instant::now();
        }
        left = now;
    }
    drop(stream);
}
