//! The story of one connection, from accept to its record.

use std::future::poll_fn;

use crate::flow::Flow;
use crate::outbound;
use crate::relay::Relay;
use crate::stream::Stream;

/// Brings one accepted client to a server, carries the bytes of both until both have ended, and leaves a record: that
/// of `flow`, when it is dropped.
///
/// The client's socket is reset on every way out but the orderly one, so a client that could not be served, or whose
/// stream was cut, knows it.
#[allow(clippy::manual_async_fn, reason = "it would keep its arguments twice")]
pub(crate) fn serve(mut flow: Flow, client: Stream, offset: u16) -> impl Future<Output = ()> {
    async move {
        // Boxed, so that a live connection does not keep room for what connecting took.
        let Some(server) = Box::pin(reach(&mut flow, offset)).await else { return };
        flow.connected();
        let mut relay = Relay::new(client, server, flow.seat.idle_timeout());
        let end = poll_fn(|cx| relay.poll(cx, &flow.worker.buffers, &flow)).await;
        flow.ended(end);
        if let Some(last_bytes) = relay.close(end) {
            last_bytes.await;
        }
    }
}

/// Connects to the first server that answers: each backend once, in the order of the pool's balance, and each address
/// of a backend's name.
async fn reach(flow: &mut Flow, offset: u16) -> Option<Stream> {
    let balancer = flow.seat.balancer.clone();
    let pool = balancer.pool();
    for backend in balancer.order() {
        let target = &pool.backends[backend].address;
        flow.tries(backend, None);
        let addresses = match flow.worker.resolver.addresses(target, offset).await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::debug!("{} of pool {}: {error}", target, pool.name);
                flow.not_connected((&error).into());
                continue;
            }
        };
        for place in outbound::places(target, &addresses) {
            flow.tries(backend, place.address());
            match outbound::connect(place, pool).await {
                Ok(server) => return Some(server),
                Err(error) => {
                    tracing::debug!("{} of pool {}: {error}", target, pool.name);
                    flow.not_connected((&error).into());
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_takes_little_memory() {
        let bytes = size_of_future(serve);
        assert!(bytes <= 400, "the task of a connection has grown to {bytes} bytes");
    }
}
