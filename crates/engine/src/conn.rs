//! The story of one connection, from accept to its record.

use std::rc::Rc;

use crate::balance::Balancer;
use crate::error::Reason;
use crate::flow::{Flow, Picked};
use crate::listen::Accepted;
use crate::outbound;
use crate::relay;
use crate::stream::Stream;
use crate::worker::Worker;

/// Brings one accepted client to a server, carries the bytes of both until both have ended, and leaves a record.
///
/// The client's socket is reset on every way out but the orderly one, so a client that could not be served, or whose
/// stream was cut, knows it.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { socket, client, source, offset, permits } = accepted;
    let mut flow = Flow::begin(worker, source.listener.clone(), client);
    let client = Stream::new(socket);
    if let Some(server) = reach(&mut flow, &source.balancer, offset).await {
        flow.connected();
        let end = relay::run(client, server, source.idle_timeout(), &flow.worker.buffers, &flow).await;
        flow.ended(end);
    }
    drop((flow, permits));
}

/// Connects to the first server that answers: each backend once, in the order of the pool's balance, and each address
/// of a backend's name.
async fn reach(flow: &mut Flow, balancer: &Balancer, offset: u16) -> Option<Stream> {
    let pool = balancer.pool();
    for index in balancer.order() {
        let target = &pool.backends[index].address;
        let picked = |address| Picked { pool: pool.clone(), backend: index, address };
        flow.tries(picked(None));
        let addresses = match flow.worker.resolver.addresses(target, offset).await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::debug!("{} of pool {}: {error}", target, pool.name);
                flow.not_connected(error.into());
                continue;
            }
        };
        for place in outbound::places(target, &addresses) {
            flow.tries(picked(place.address()));
            match outbound::connect(place, pool).await {
                Ok(server) => return Some(server),
                Err(error) => {
                    tracing::debug!("{} of pool {}: {error}", target, pool.name);
                    flow.not_connected(Reason::from(&error));
                }
            }
        }
    }
    None
}
