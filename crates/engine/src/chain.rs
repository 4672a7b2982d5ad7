//! The way to a backend: straight, or through the proxies that its pool names, one after another.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use towpath_config::HopProtocol;
use towpath_wire::addr::Target;
use towpath_wire::destination::{Destination, Host};

use crate::early::{Early, Leaving, Speaks};
use crate::error::{ConnectError, HopError, HopFault, Reason};
use crate::near;
use crate::outbound;
pub(crate) use crate::outbound::Connecting;
use crate::place::Address;
use crate::pool::{Backend, Hop, Lease, Member, Picked, Pool};
use crate::sessions::Opening;
use crate::stream::Stream;

/// A client whose proxies all fail tries no more than so many of one hop.
const TRIES: usize = 8;

/// A connection of HTTP/2 tells first that it has been silent for too long.
const SLACK: Duration = Duration::from_millis(5);

/// What comes of an attempt at the far end of a tunnel, which has as much time for it, takes so long to be told.
const TELLING: Duration = Duration::from_secs(1);

/// Starts to connect to `address` as `pool` wants it, for `client`, who `speaks` when there is a way, or a server. What leaves early
/// may have come to the server unless this tells that it was refused.
///
/// # Errors
/// Why it cannot come about.
pub(crate) fn connect(
    address: Address<'_>,
    member: &Member,
    pool: &Arc<Pool>,
    client: Option<SocketAddr>,
    speaks: &Speaks,
) -> Result<Connecting, ConnectError> {
    if pool.hops.is_empty() && pool.tls.is_none() {
        return outbound::connect(address, &pool.config, client, !matches!(speaks, Speaks::Later));
    }
    let wanted = match address {
        Address::Tcp(address) => destination(Host::Ip(address.ip()), address.port()),
        Address::Name(name, port) => destination(Host::Name(name.clone()), port),
        Address::Unix(_) if pool.hops.is_empty() => destination(Host::Ip(Ipv4Addr::LOCALHOST.into()), 1),
        Address::Unix(_) => return Err(hop_error(pool.hops.len(), HopFault::Unnameable)),
    };
    let straight = match pool.hops.is_empty() {
        true => Some(outbound::connect(address, &pool.config, client, true)?),
        false => None,
    };
    let host = host_of(member);
    let (hops, tls, limit) = (pool.hops.clone(), pool.tls.clone(), pool.config.connect_timeout);
    // From now on this is an attempt that could come to a server, however long its way takes.
    let leaving = speaks.early().map(Early::leave);
    let telling = if pool.ends_with_tunnel() { TELLING } else { Duration::ZERO };
    let going = async move {
        let stream = match straight {
            Some(Connecting::Done(stream)) => stream,
            Some(Connecting::Pending(pending)) => pending.await?,
            None => go(&hops, &wanted, client, leaving, limit / 2).await?,
        };
        match tls {
            None => Ok(stream),
            Some(tls) => Ok(tls.connect(&host, stream).await.map_err(ConnectError::Tls)?.0),
        }
    };
    Ok(Connecting::Pending(Box::pin(async move {
        timeout(limit + telling, going).await.unwrap_or(Err(ConnectError::TimedOut(limit)))
    })))
}

/// Goes through all of `hops` to `wanted`. Where a hop has several proxies, the next is tried when one fails.
async fn go(
    hops: &Arc<[Hop]>,
    wanted: &Destination,
    client: Option<SocketAddr>,
    mut leaving: Option<Leaving>,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let mut failed = Failed(hops.iter().map(|_| Vec::new()).collect());
    let mut may_be_stale = true;
    loop {
        let tunnel = hops.iter().rposition(|hop| hop.tunnel.is_some());
        let session = open_session(hops).filter(|(place, _)| may_be_stale && Some(*place) > tunnel);
        let is_reused = session.is_some();
        let start = match (session, tunnel) {
            (Some((place, opening)), _) => Start::Session(place, opening),
            (None, Some(place)) => Start::Tunnel(place),
            (None, None) => {
                let (lease, stream) = reach(&hops[0], client, None, &mut failed.0[0]).await?;
                Start::First(lease, stream)
            }
        };
        let Broken { error, place, lease } =
            match go_on(hops, wanted, (start, &mut leaving), &failed, limit).await {
                Ok(stream) => return Ok(stream),
                Err(broken) => broken,
            };
        if is_reused && error.fault == HopFault::Closed {
            may_be_stale = false; // it was closed when we came: a new one tells whether the proxy is well
            continue;
        }
        let (Some(lease), Some(hop)) = (lease, hops.get(place)) else { return Err(ConnectError::Hop(error)) };
        // What is silent may be the destination.
        if error.fault != HopFault::TimedOut {
            hop.pool.note_failure(&lease, lease.probe(), reason(error.fault));
        }
        failed.0[place].push(lease);
        let has_other = hop.pool.has_other(|other| failed.has(place, other));
        if !has_other || failed.0.iter().map(Vec::len).sum::<usize>() >= TRIES {
            return Err(ConnectError::Hop(error));
        }
    }
}

/// Where a way begins.
enum Start {
    /// At a connection of HTTP/2 to the proxy of this hop, which is there already.
    Session(usize, Opening),
    /// At the tunnel to this hop.
    Tunnel(usize),
    /// At a new connection to a proxy of the first hop.
    First(Lease, Stream),
}

/// Room for a stream on a connection of HTTP/2, the farther the better.
fn open_session(hops: &[Hop]) -> Option<(usize, Opening)> {
    let speaking = hops.iter().enumerate().rev().filter(|(_, hop)| hop.protocol == HopProtocol::H2);
    speaking.into_iter().find_map(|(place, hop)| Some((place, hop.sessions.take()?)))
}

/// The proxies of each hop that have failed one connection.
struct Failed(Vec<Vec<Lease>>);

impl Failed {
    fn has(&self, place: usize, backend: &Backend) -> bool {
        self.0[place].iter().any(|lease| lease.is_same(backend))
    }
}

/// A way that leads nowhere.
struct Broken {
    error: HopError,
    /// The hop that is to blame, and its proxy; behind the last, it is the server.
    place: usize,
    lease: Option<Lease>,
}

/// Asks each proxy in turn for the next, and the last for `wanted`.
async fn go_on(
    hops: &Arc<[Hop]>,
    wanted: &Destination,
    (start, leaving): (Start, &mut Option<Leaving>),
    failed: &Failed,
    limit: Duration,
) -> Result<Stream, Broken> {
    // The places of the proxies since the last connection of HTTP/2, which keeps those before.
    let mut leases = Leases(Vec::new());
    let (mut link, from) = match start {
        Start::Session(place, opening) => (Link::Session(opening), place),
        Start::Tunnel(place) => (Link::Tunnel, place),
        Start::First(lease, stream) => {
            let host = host_of(&lease.member);
            leases.0.push((0, lease));
            (Link::Stream(host, stream), 0)
        }
    };
    for (place, hop) in hops.iter().enumerate().skip(from) {
        let next = match hops.get(place + 1) {
            None => wanted.clone(),
            Some(next) => {
                let Picked::Backend(lease) = next.pool.pick(0, |backend| failed.has(place + 1, backend))
                else {
                    return Err(leases.broken(place + 1, place + 1, HopFault::NoBackend));
                };
                let next = match lease.member.place.at(0) {
                    Address::Tcp(address) => destination(Host::Ip(address.ip()), address.port()),
                    Address::Name(name, port) => destination(Host::Name(name.clone()), port),
                    Address::Unix(_) => return Err(leases.broken(place, hops.len(), HopFault::Unnameable)),
                };
                leases.0.push((place + 1, lease));
                next
            }
        };
        // What is behind the far end of the last tunnel has all the time there is; of one before, it is a proxy, which speaks for itself.
        let is_told = matches!(link, Link::Tunnel) && place + 1 == hops.len();
        let patience = if is_told { 2 * limit + TELLING } else { limit + SLACK };
        let asking = async {
            match link {
                Link::Session(opening) => opening.ask(hop.login.as_ref(), &next, limit).await,
                Link::Tunnel => match &hop.tunnel {
                    Some(tunnel) => {
                        let opened = tunnel
                            .open(hops, place, &next, leaving.take().filter(|_| is_told), limit)
                            .await?;
                        if is_told { opened.granted().await } else { Ok(opened.stream()) }
                    }
                    None => Err(HopFault::NoBackend),
                },
                Link::Stream(host, stream) => {
                    ask(hop, &host, &next, stream, (&mut leases, place), limit).await
                }
            }
        };
        let stream = match timeout(patience, asking).await.unwrap_or(Err(HopFault::TimedOut)) {
            Ok(stream) => stream,
            // What a proxy cannot reach, or may not, is the fault of what is behind it.
            Err(fault) => {
                let blamed = if fault.is_behind() || fault.is_denial() { place + 1 } else { place };
                return Err(leases.broken(place, blamed, fault));
            }
        };
        leases.of(place).into_iter().for_each(|lease| hop.pool.note_success(lease));
        let host = leases.of(place + 1).map_or(next.host, |lease| host_of(&lease.member));
        link = Link::Stream(host, stream);
    }
    match link {
        Link::Stream(_, stream) => Ok(stream.holding(leases.0.into_iter().map(|(_, lease)| lease).collect())),
        Link::Session(_) | Link::Tunnel => Err(leases.broken(from, from, HopFault::NoBackend)),
    }
}

/// What leads to the next proxy.
enum Link {
    /// A connection to the proxy at this host.
    Stream(Host, Stream),
    /// A connection of HTTP/2 to it, with room.
    Session(Opening),
    /// The tunnel to it.
    Tunnel,
}

/// Asks one proxy, which is `at` a host, for `next`.
async fn ask(
    hop: &Hop,
    at: &Host,
    next: &Destination,
    mut stream: Stream,
    (leases, place): (&mut Leases, usize),
    limit: Duration,
) -> Result<Stream, HopFault> {
    if let Some(tls) = &hop.tls {
        stream = match tls.connect(at, stream).await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if hop.warnings.is_due() {
                    tracing::warn!("pool {}: no TLS with the proxy at {at}: {error}", hop.pool.config.name);
                }
                // A certificate that is not trusted now is not in a while; a connection that breaks may be.
                return Err(if error.kind() == ErrorKind::InvalidData {
                    HopFault::Tls
                } else {
                    HopFault::Closed
                });
            }
        };
    }
    if hop.protocol == HopProtocol::H2 {
        let held = leases.up_to(place);
        stream.keep_alive(&hop.pool.config.socket);
        return hop.sessions.begin(stream, held).await?.ask(hop.login.as_ref(), next, limit).await;
    }
    outbound::ask(hop.protocol, hop.login.as_ref(), next, stream).await
}

/// The places at proxies that one connection holds, each with its hop.
struct Leases(Vec<(usize, Lease)>);

impl Leases {
    fn of(&self, place: usize) -> Option<&Lease> {
        self.0.iter().find(|(of, _)| *of == place).map(|(_, lease)| lease)
    }

    /// Takes those of the hops up to `place`.
    fn up_to(&mut self, place: usize) -> Vec<Lease> {
        self.0.extract_if(.., |(of, _)| *of <= place).map(|(_, lease)| lease).collect()
    }

    /// A way that broke at the hop `place`, for which `blamed` is to blame.
    fn broken(mut self, place: usize, blamed: usize, fault: HopFault) -> Broken {
        let number = u8::try_from(place + 1).unwrap_or(u8::MAX);
        let found = self.0.iter().position(|(of, _)| *of == blamed);
        let lease = found.map(|found| self.0.swap_remove(found).1);
        Broken { error: HopError { number, fault }, place: blamed, lease }
    }
}

/// What the certificate of a server must be for: its name where it was written with one.
fn host_of(member: &Member) -> Host {
    match (member.target.parse::<Target>(), member.place.at(0)) {
        (Ok(Target::Name { host, .. }), _) => Host::Name(host),
        (_, Address::Tcp(address)) => Host::Ip(address.ip()),
        (_, Address::Name(name, _)) => Host::Name(name.clone()),
        (_, Address::Unix(_)) => Host::Ip(Ipv4Addr::LOCALHOST.into()),
    }
}

/// Whether a link leads to another proxy.
fn is_elsewhere(over: Option<&near::Link>, backend: &Backend) -> bool {
    over.and_then(|link| link.host.as_ref()).is_some_and(|host| !host.is_same(backend))
}

/// Connects to a proxy of the first hop, `over` a link if it is to be that one, none of those that `failed`; those that fail now are
/// added to them.
async fn reach(
    hop: &Hop,
    client: Option<SocketAddr>,
    over: Option<&near::Link>,
    failed: &mut Vec<Lease>,
) -> Result<(Lease, Stream), ConnectError> {
    let config = over.map_or(&hop.pool.config, |link| &link.config);
    let mut last = HopFault::NoBackend;
    while failed.len() < TRIES {
        let is_out = |backend: &Backend| {
            is_elsewhere(over, backend) || failed.iter().any(|lease| lease.is_same(backend))
        };
        let picked = hop.pool.pick(0, is_out);
        let Picked::Backend(lease) = picked else { break };
        let begun = Instant::now();
        let connecting = outbound::connect(lease.member.place.at(0), config, client, true);
        let result = match connecting {
            Ok(Connecting::Done(stream)) => Ok(stream),
            Ok(Connecting::Pending(pending)) => pending.await,
            Err(error) => Err(error),
        };
        match result {
            Ok(stream) => {
                hop.pool.note_connected(&lease, begun.elapsed());
                return Ok((lease, stream));
            }
            Err(error) => {
                let reason = Reason::from(&error);
                tracing::debug!("pool {}: proxy {}: {error}", hop.pool.config.name, lease.member.place);
                if !reason.is_servers() {
                    return Err(error);
                }
                hop.pool.note_failure(&lease, lease.probe(), reason);
                last = fault(&error);
                failed.push(lease);
            }
        }
    }
    Err(hop_error(1, last))
}

/// A connection to the hop at `place`, which may take `limit`, for a lane of the tunnel to it that goes `over` a link.
pub(crate) async fn reach_hop(
    hops: &Arc<[Hop]>,
    place: usize,
    over: &near::Link,
    limit: Duration,
) -> Result<Stream, HopFault> {
    let hop = &hops[place];
    if place == 0 {
        let reached = reach(hop, None, Some(over), &mut Vec::new()).await;
        let (lease, stream) = reached.map_err(|error| match error {
            ConnectError::Hop(error) => error.fault,
            error => fault(&error),
        })?;
        return Ok(stream.holding(vec![lease]));
    }
    let picked = hop.pool.pick(0, |backend| is_elsewhere(Some(over), backend));
    let Picked::Backend(lease) = picked else { return Err(HopFault::NoBackend) };
    let wanted = match lease.member.place.at(0) {
        Address::Tcp(address) => destination(Host::Ip(address.ip()), address.port()),
        Address::Name(name, port) => destination(Host::Name(name.clone()), port),
        Address::Unix(_) => return Err(HopFault::Unnameable),
    };
    let before = hops[..place].iter().cloned().collect();
    match go(&before, &wanted, None, None, limit).await {
        Ok(stream) => Ok(stream.holding(vec![lease])),
        Err(ConnectError::Hop(error)) => Err(error.fault),
        Err(error) => Err(fault(&error)),
    }
}

fn destination(host: Host, port: u16) -> Destination {
    Destination { host, port }
}

fn hop_error(number: usize, fault: HopFault) -> ConnectError {
    ConnectError::Hop(HopError { number: u8::try_from(number).unwrap_or(u8::MAX), fault })
}

/// What connecting to a proxy came to.
fn fault(error: &ConnectError) -> HopFault {
    match error {
        ConnectError::TimedOut(_) => HopFault::TimedOut,
        ConnectError::Io(error) if error.kind() == ErrorKind::ConnectionRefused => HopFault::Refused,
        ConnectError::Io(error) if error.kind() == ErrorKind::TimedOut => HopFault::TimedOut,
        _ => HopFault::Unreachable,
    }
}

/// The same for the proxy's own record of failures.
fn reason(fault: HopFault) -> Reason {
    match fault {
        HopFault::Refused => Reason::ConnectRefused,
        HopFault::TimedOut => Reason::ConnectTimedOut,
        HopFault::Tls => Reason::ServerTls,
        HopFault::Closed | HopFault::BadAnswer => Reason::ServerReset,
        fault => Reason::Hop(HopError { number: 1, fault }),
    }
}
