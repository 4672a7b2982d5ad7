//! The part of the story in which a client of a proxy says where it wants to go, and a way there is found, or not.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use towpath_config::Proxy;
use towpath_wire::addr::PortRange;
use towpath_wire::destination::{Destination, Host};

use crate::error::Reason;
use crate::first_flight::FirstFlight;
use crate::flow::{Flow, Stage};
use crate::inbound::{self, Answer, Asked, Asking, Refusal, Tunnel};
use crate::place::Place;
use crate::pool::{Member, Pool};
use crate::route::{Rules, meant};
use crate::stream::Stream;
use crate::worker::Worker;

/// A client that is sent away has so long to take its answer.
const PARTING: Duration = Duration::from_secs(2);

/// And may still send so many bytes, which nobody wants: a close before they are read would be a reset, and cut the answer.
const PARTING_BYTES: usize = 8 * 1024 * 1024;

/// What a client of a proxy wants.
pub(crate) enum Wish {
    /// A connection, to where its flow goes now, and an answer when it is there.
    Tunnel(Stream, Answer),
    /// Requests of HTTP/1, which are still to be read.
    Requests(Stream),
    /// Streams of HTTP/2, likewise.
    Streams(Stream),
    /// Nothing more: it was sent away.
    None,
}

/// Hears a client of a proxy.
pub(crate) async fn ask(
    worker: &Worker,
    flow: &mut Flow,
    mut client: Stream,
    first: &mut FirstFlight,
    proxy: &Proxy,
) -> Wish {
    let source = flow.seat.source().clone();
    let users = source.users.as_deref();
    let until = Instant::now() + proxy.header_timeout;
    if first.is_empty() {
        // Who has said nothing is not waited for in a drain.
        let hearing = timeout_at(until, first.wait_for_more(&mut client, &worker.buffers));
        tokio::select! {
            heard = hearing => drop(heard),
            () = worker.draining() => {
                flow.turned_away(Stage::Ask, Reason::Shutdown);
                return Wish::None;
            }
        }
    }
    let asking =
        Asking { client: &mut client, first, buffers: &worker.buffers, users, address: flow.client, until };
    match inbound::ask(asking).await {
        Ok(Asked::Tunnel(Tunnel { destination, user, answer })) => {
            flow.guest().user = user;
            flow.guest().wanted = Some(destination.clone());
            match find_way(worker, flow, proxy, &destination).await {
                Ok(pool) => {
                    flow.guest().pool = Some(pool);
                    Wish::Tunnel(client, answer)
                }
                Err(NoWay { reason, judged }) => {
                    flow.turned_away(Stage::Route, reason);
                    part(client, &answer.refused(reason, &told(reason, &destination, judged))).await;
                    Wish::None
                }
            }
        }
        Ok(Asked::Requests) => Wish::Requests(client),
        Ok(Asked::Streams) => Wish::Streams(client),
        Err(Refusal { why, parting }) => {
            tracing::debug!("listener {}, client {:?}: {why}", source.listener.name, flow.client);
            flow.turned_away(Stage::Ask, Reason::BadRequest(why));
            part(client, &parting).await;
            Wish::None
        }
    }
}

/// Why there is no way to a destination.
pub(crate) struct NoWay {
    pub(crate) reason: Reason,
    /// The address that was judged, where one was.
    pub(crate) judged: Option<IpAddr>,
}

impl From<Reason> for NoWay {
    fn from(reason: Reason) -> Self {
        Self { reason, judged: None }
    }
}

/// The way to a destination: a pool of its own that holds the addresses to which this user may go.
pub(crate) async fn find_way(
    worker: &Worker,
    flow: &Flow,
    proxy: &Proxy,
    destination: &Destination,
) -> Result<Arc<Pool>, NoWay> {
    let user = flow.user();
    let rules = Rules { destinations: &proxy.destinations, user: user.as_deref() };
    let (way, own, port) = (&flow.seat.pool, &flow.seat.own, destination.port);
    let ports = PortRange::single(port).ok_or(NoWay::from(Reason::Unreachable))?;
    let check = |name: Option<&str>, ip: IpAddr| {
        let denied = |denial| NoWay { reason: Reason::Denied(denial), judged: Some(meant(ip)) };
        rules.check(name, ip, port, || own.has(SocketAddr::new(ip.to_canonical(), port))).map_err(denied)
    };
    let places = match &destination.host {
        Host::Ip(ip) => {
            let ip = ip.to_canonical();
            check(None, ip)?;
            vec![Place::Tcp { ip, ports }]
        }
        Host::Name(name) => {
            let is_left = way.config.leaves_names;
            rules.check_name(name.as_str(), port, is_left).map_err(Reason::Denied)?;
            if is_left {
                vec![Place::Name { host: name.clone(), ports }]
            } else {
                let resolver = worker.resolver(&proxy.dns);
                let answer = resolver.host(name).await.map_err(|error| Reason::from(&error))?;
                let ips: Vec<_> = answer.hosts.into_iter().flat_map(|host| host.ips).collect();
                // Those that are let through are those that are connected to: nobody can change them in between.
                let judged = ips.iter().map(|ip| check(Some(name.as_str()), *ip).map(|()| *ip));
                let (allowed, denied): (Vec<_>, Vec<_>) = judged.partition(Result::is_ok);
                if allowed.is_empty() {
                    let no_way = denied.into_iter().find_map(Result::err);
                    return Err(no_way.unwrap_or(Reason::NoSuchHost.into()));
                }
                allowed.into_iter().flatten().map(|ip| Place::Tcp { ip, ports }).collect()
            }
        }
    };
    let target: Arc<str> = destination.to_string().into();
    // Each address is tried in its turn.
    let member = |(tier, place)| Member {
        place,
        target: target.clone(),
        weight: 1,
        tier,
        max_connections: None,
        drain: false,
    };
    Ok(Arc::new(way.to((0..).zip(places).map(member).collect())))
}

/// What a client is told of a connection that did not come about.
/// `judged` is the address that was found wanting.
pub(crate) fn told(reason: Reason, destination: &Destination, judged: Option<IpAddr>) -> String {
    match reason {
        Reason::Denied(denial) => {
            let host = judged.map_or_else(|| destination.host.to_string(), |ip| ip.to_string());
            denial.told(&host, destination.port)
        }
        reason => format!("{destination}: {reason}"),
    }
}

/// Tells a client that its destination could not be reached.
pub(crate) async fn refuse(flow: &Flow, client: Stream, answer: Answer) {
    let Some(wanted) = flow.wanted() else { return };
    let reason = flow.reason();
    part(client, &answer.refused(reason, &told(reason, wanted, None))).await;
}

/// Gives a client its last answer, and closes in order.
pub(crate) async fn part(mut client: Stream, answer: &[u8]) {
    let parting = async {
        client.send_all(answer, false).await?;
        client.end_writes();
        poll_fn(|cx| client.poll_flushed(cx)).await?;
        let mut left = PARTING_BYTES;
        while left > 0 {
            // Whoever is slow to end takes no buffer meanwhile.
            match poll_fn(|cx| client.poll_recv(cx, &mut [0; 4096])).await?.count {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        std::io::Result::Ok(())
    };
    let _ = timeout(PARTING, parting).await;
    if let Some(finishing) = client.finish() {
        finishing.await;
    }
}
