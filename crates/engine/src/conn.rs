//! The story of one connection, from accept to its record.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::error::Reason;
use crate::first_flight::FirstFlight;
use crate::flow::Flow;
use crate::outbound;
use crate::relay::Relay;
use crate::stream::Stream;
use crate::worker::Worker;

/// Brings one accepted client to a server, and on to [`carry`], here or on another worker.
///
/// The client's socket is reset on every way out but the orderly one, so a client that could not be served, or whose
/// stream was cut, knows it. The record is that of `flow`, when it is dropped.
pub(crate) async fn serve(worker: Rc<Worker>, mut flow: Flow, mut client: Stream, offset: u16) {
    let first = FirstFlight::take(&mut client, &worker.buffers).await;
    if let Some(server) = reach(&worker, &mut flow, &mut client, &first, offset).await {
        flow.connected();
        worker.go_on(flow, client, server, first);
    }
}

/// Carries the bytes of both sides until both have ended.
///
/// A task of its own: a live connection keeps no room for what connecting took.
pub(crate) fn carry(
    worker: Rc<Worker>,
    mut flow: Flow,
    client: Stream,
    server: Stream,
    first: FirstFlight,
) -> impl Future<Output = ()> {
    let mut relay = Relay::new(client, server, first, flow.seat.idle_timeout(), flow.seat.balancer.pool());
    async move {
        let end = poll_fn(|cx| relay.poll(cx, &worker.buffers, &flow)).await;
        flow.ended(end);
        if let Some(last_bytes) = relay.close(end) {
            last_bytes.await;
        }
    }
}

/// Connects to the first server that answers: each backend once, in the order of the pool's balance, and each address
/// of a backend's name.
async fn reach(
    worker: &Worker,
    flow: &mut Flow,
    client: &mut Stream,
    first: &FirstFlight,
    offset: u16,
) -> Option<Stream> {
    let balancer = flow.seat.balancer.clone();
    let pool = balancer.pool();
    for backend in balancer.order() {
        let target = &pool.backends[backend].address;
        flow.tries(backend, None);
        let addresses = match worker.resolver.addresses(target, offset).await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::debug!("{} of pool {}: {error}", target, pool.name);
                flow.not_connected((&error).into());
                continue;
            }
        };
        for place in outbound::places(target, &addresses) {
            flow.tries(backend, place.address());
            match unless_gone(client, outbound::connect(place, pool, !first.is_empty())).await {
                Some(Ok(server)) => return Some(server),
                None => {
                    flow.not_connected(Reason::ClientReset);
                    return None;
                }
                Some(Err(error)) => {
                    tracing::debug!("{} of pool {}: {error}", target, pool.name);
                    flow.not_connected((&error).into());
                }
            }
        }
    }
    None
}

/// What `work` comes to, unless the client resets its connection before.
async fn unless_gone<T>(client: &mut Stream, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => client.poll_hangup(cx).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_takes_little_memory() {
        let bytes = size_of_future(carry);
        assert!(bytes <= 400, "the task of a connection has grown to {bytes} bytes");
    }
}
