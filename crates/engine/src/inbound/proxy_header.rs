//! The PROXY header of a client that is a forwarder: it tells whom it speaks for.

use std::net::SocketAddr;

use tokio::time::timeout;
use towpath_config::ProxyHeaderIn;
use towpath_wire::proxy_header::{Accepted, Header, LENGTH_MAX, Parsed, parse};

use crate::buffers::Buffers;
use crate::error::HeaderFault;
use crate::first_flight::FirstFlight;
use crate::stream::Stream;

/// Takes the header off the front of what `client` sends; the bytes behind it are left in `first`. A unix client is trusted:
/// whoever may open the socket may say who it is.
pub(crate) async fn identify(
    wanted: &ProxyHeaderIn,
    peer: Option<SocketAddr>,
    client: &mut Stream,
    first: &mut FirstFlight,
    buffers: &Buffers,
) -> Result<Header, HeaderFault> {
    let ip = peer.map(|peer| peer.ip().to_canonical());
    if ip.is_some_and(|ip| !wanted.trusted.iter().any(|network| network.contains(&ip))) {
        return Err(HeaderFault::NotTrusted);
    }
    let accepted = Accepted { v1: wanted.v1, v2: wanted.v2 };
    let reading = async {
        loop {
            if let Parsed::Complete { header, length } = parse(&first.0, accepted)? {
                first.0.drain(..length);
                return Ok(header);
            }
            if first.0.len() > LENGTH_MAX || !first.wait_for_more(client, buffers).await {
                return Err(HeaderFault::Ended);
            }
        }
    };
    timeout(wanted.timeout, reading).await.unwrap_or(Err(HeaderFault::Late))
}
