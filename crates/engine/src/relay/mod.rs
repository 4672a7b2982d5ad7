//! Moving the bytes of one connection both ways until it ends, and ending both sides alike.

mod direction;
mod idle;
mod last_bytes;
mod settle;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use direction::{Direction, Step};
use futures_util::future::join_all;
pub(crate) use idle::IdleTimer;
pub(crate) use last_bytes::deliver;
use settle::Settle;
use towpath_config::Pool;

use crate::buffers::Buffers;
use crate::first_flight::{FirstFlight, Kept};
use crate::flow::{End, Flow, Meter, Side};
use crate::stream::Stream;
use crate::throttle::Throttle;

/// The two connections of a client and its server, while bytes are carried between them.
pub(crate) struct Relay {
    client: Stream,
    server: Stream,
    up: Direction,
    down: Direction,
    first_end: Option<Side>,
    /// What the client has sent, while the server has not answered and it may have to be sent to another.
    kept: Option<Box<Kept>>,
    idle: Option<Box<IdleTimer>>,
    settle: Option<Box<Settle>>,
    rare: Option<Box<Rare>>,
}

/// What few connections have at a time.
#[derive(Default)]
struct Rare {
    throttle: Option<Box<Throttle>>,
    /// While bytes from before a break are delivered.
    patience: Option<Box<IdleTimer>>,
}

impl Relay {
    /// `first` is what was read from the client already.
    pub(crate) fn new(
        client: Stream,
        server: Stream,
        first: FirstFlight,
        idle_timeout: Option<Duration>,
        throttle: Option<Box<Throttle>>,
        pool: &Arc<Pool>,
    ) -> Self {
        let idle = idle_timeout.map(IdleTimer::new);
        let leaves_early =
            pool.via.is_empty() && pool.socket.segments.as_ref().is_some_and(|segments| segments.fastopen);
        let kept = Kept::new(&first, pool.replay, leaves_early);
        Self {
            client,
            server,
            up: Direction::new(first),
            down: Direction::new(FirstFlight::default()),
            first_end: None,
            kept,
            idle,
            settle: Some(Settle::new(pool)),
            rare: throttle.map(|throttle| Box::new(Rare { throttle: Some(throttle), patience: None })),
        }
    }

    /// Carries bytes both ways until both streams have ended or one connection breaks.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, buffers: &Buffers, meter: &impl Meter) -> Poll<End> {
        let Self { client, server, up, down, kept, rare, .. } = self;
        let mut throttle = rare.as_mut().and_then(|rare| rare.throttle.as_mut());
        let most = throttle.as_mut().map_or((usize::MAX, usize::MAX), |throttle| {
            // 0 waits for its time; writes and endings go on.
            let or_none = |grant: Poll<usize>| if let Poll::Ready(bytes) = grant { bytes } else { 0 };
            (or_none(throttle.poll_up(cx)), or_none(throttle.poll_down(cx)))
        });
        let (mut sent_up, mut sent_down) = (0, 0);
        let up_step = up.poll(cx, client, server, down.is_over(), most.0, buffers, kept, |count| {
            sent_up += count;
            meter.up(count);
        });
        self.first_end = self.first_end.or(up.has_ended().then_some(Side::Client));
        let down_step = down.poll(cx, server, client, up.is_over(), most.1, buffers, &mut (), |count| {
            sent_down += count;
            *kept = None;
            meter.down(count);
        });
        let carried = sent_up + sent_down;
        // Who waits for a limit of ours is not idle.
        let mut is_active = carried > 0;
        if let Some(throttle) = throttle {
            is_active |= throttle.is_waiting();
            if carried > 0 {
                throttle.pay(sent_up, sent_down);
                poll_again_after_others(cx);
            }
        }
        self.first_end = self.first_end.or(down.has_ended().then_some(Side::Server));

        // The end of a stream that is not a socket of its own takes a while to tell.
        let _ = (client.poll_flushed(cx), server.poll_flushed(cx));
        // A stream that was read to its end tells of a reset only when asked.
        if up.has_ended() && !down.is_over() {
            let _ = client.poll_hangup(cx);
        }
        if down.has_ended() && !up.is_over() {
            let _ = server.poll_hangup(cx);
        }
        let broken = self.broken();
        if let Some(end) = self.end(broken) {
            return Poll::Ready(end);
        }
        if up_step == Step::Again || down_step == Step::Again {
            poll_again_after_others(cx);
        }
        if let Some(settle) = &mut self.settle
            && settle.poll(cx, &self.server).is_ready()
        {
            self.settle = None;
            meter.lasts();
        }
        if broken.is_some() {
            // What came before the break is still being delivered, to somebody who may never take it.
            let rare = self.rare.get_or_insert_default();
            rare.patience.get_or_insert_with(|| IdleTimer::new(last_bytes::PATIENCE));
        }
        let patience = self.rare.as_mut().and_then(|rare| rare.patience.as_mut());
        let waiting = || self.client.unacknowledged() + self.server.unacknowledged();
        if let (Some(patience), Some(broken)) = (patience, broken)
            && patience.poll(cx, carried > 0, waiting).is_ready()
        {
            return Poll::Ready(broken);
        }
        match &mut self.idle {
            Some(idle) => idle.poll(cx, is_active, waiting).map(|()| End::Idle),
            None => Poll::Pending,
        }
    }

    /// Closes both connections as `end` wants it: both in order, or both by a reset. Where bytes came before a reset,
    /// the future delivers them first.
    pub(crate) fn close(self, end: End) -> Option<Pin<Box<impl Future<Output = ()> + use<>>>> {
        let Self { client, server, .. } = self;
        let (finishing, cut) = match end {
            End::Closed(_) => ([client.finish(), server.finish()], None),
            End::Broken(Side::Client, _) => ([None, None], Some(server)),
            End::Broken(Side::Server, _) => ([None, None], Some(client)),
            End::Idle | End::BackendDown => return None,
        };
        let is_done = cut.is_none() && finishing.iter().all(Option::is_none);
        (!is_done).then(|| {
            Box::pin(async move {
                join_all(finishing.into_iter().flatten()).await;
                if let Some(stream) = cut {
                    last_bytes::deliver(stream).await;
                }
            })
        })
    }

    /// What the client has sent, after the server broke before its first byte, if another may get it all instead. Of it,
    /// `carried` bytes went to the server.
    pub(crate) fn take_back(&mut self, carried: u64) -> Option<FirstFlight> {
        if self.client.broken().is_some() || self.down.has_ended() {
            return None; // it is gone, or was told the end already
        }
        let unsent = if carried == 0 { self.up.take_unsent() } else { None };
        // Only a first packet is refused.
        let was_refused = self.server.broken() == Some(ErrorKind::ConnectionRefused);
        self.kept.take().and_then(|kept| kept.into_bytes(was_refused)).or(unsent).map(FirstFlight)
    }

    /// Shows the sockets to the story of their connection, which knows whether they are of interest.
    pub(crate) fn show_sockets(&self, flow: &mut Flow) {
        flow.look_at_client(&self.client);
        flow.look_at_server(&self.server);
    }

    /// The client alone; the server is reset.
    pub(crate) fn into_client(self) -> Stream {
        self.client
    }

    /// The break, if one side has broken, whether or not all that came from it was delivered.
    fn broken(&self) -> Option<End> {
        self.broken_client().or_else(|| self.broken_server())
    }

    fn broken_client(&self) -> Option<End> {
        self.client.broken().map(|kind| End::Broken(Side::Client, kind))
    }

    fn broken_server(&self) -> Option<End> {
        self.server.broken().map(|kind| End::Broken(Side::Server, kind))
    }

    /// The end, once nothing is left to carry. Nothing can be carried to a broken side; what came from it still counts.
    fn end(&self, broken: Option<End>) -> Option<End> {
        let (is_up_over, is_down_over) = (self.up.is_over(), self.down.is_over());
        if broken.is_none() {
            let over = is_up_over && is_down_over;
            return over.then(|| End::Closed(self.first_end.unwrap_or(Side::Client)));
        }
        let client = self.broken_client().filter(|_| is_up_over);
        client.or_else(|| self.broken_server().filter(|_| is_down_over))
    }
}

/// Has this task polled again once the event loop has looked at every other connection.
fn poll_again_after_others(cx: &mut Context<'_>) {
    // Its first poll hands the waker to the runtime, which wakes it behind the next look for events.
    let _ = pin!(tokio::task::yield_now()).as_mut().poll(cx);
}
