//! Listeners that forward to themselves, where the text alone shows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use towpath_wire::addr::{HostName, Listen, ListenHost, PortRange, Target};

use super::binds::last;
use super::listener::Found;
use super::pool::Pools;
use crate::error::Mistake;
use crate::report::Report;

/// Pairs of bind and backend that are compared in all: far above any real file, and a bound for others.
const PAIRS_MAX: usize = 4_000_000;

/// Notes every bind with a backend that leads back to it.
pub(crate) fn note_loops(listeners: &[Found], pools: &Pools, report: &mut Report) {
    let mut pairs = 0;
    for found in listeners {
        for (listen, span) in &found.binds {
            let mut back = None;
            for pool in found.pools().map(|index| pools.at(index)) {
                pairs += pool.spans.len();
                if pairs > PAIRS_MAX || report.is_full() {
                    return;
                }
                let mut backends = pool.pool.backends.iter().zip(&pool.spans);
                back = back.or_else(|| backends.find(|(backend, _)| leads_back(listen, &backend.address)));
            }
            let Some((backend, at)) = back else { continue };
            let message = format!("`{listen}` forwards to itself through the backend `{}`", backend.address);
            let mistake = Mistake::at(span.clone(), message).also(at.clone(), "this backend");
            report.push(mistake.hint("give the listener or the backend another port or address"));
        }
    }
}

/// Whether a connection to `target` would come in at `listen` again.
fn leads_back(listen: &Listen, target: &Target) -> bool {
    match (listen, target) {
        (Listen::Unix(ours), Target::Unix(theirs)) => ours == theirs,
        (Listen::Tcp { host, ports }, Target::Ip { ip, ports: theirs }) => {
            meet(*ports, *theirs) && accepts(host, reached(*ip))
        }
        (Listen::Tcp { host, ports }, Target::Name { host: name, ports: theirs }) => {
            let same = matches!(host, ListenHost::Name(ours) if plain(ours) == plain(name));
            let local = is_localhost(name) && LOOPBACKS.into_iter().any(|ip| accepts(host, ip));
            meet(*ports, *theirs) && (same || local)
        }
        _ => false,
    }
}

/// Whether a port of the backend is one of the bind. Ranges of unequal length are another mistake.
fn meet(ours: PortRange, theirs: PortRange) -> bool {
    let fit = theirs.count() == 1 || theirs.count() == ours.count();
    fit && ours.first() <= last(theirs) && theirs.first() <= last(ours)
}

/// What a connection to an address reaches: Linux takes the unspecified ones for loopback.
fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Whether a socket bound to `host` certainly takes connections to `ip`.
fn accepts(host: &ListenHost, ip: IpAddr) -> bool {
    match host {
        ListenHost::Any => ip.is_loopback(),
        ListenHost::Ip(bound) if bound.is_unspecified() => {
            ip.is_loopback() && bound.is_ipv4() == ip.is_ipv4()
        }
        ListenHost::Ip(bound) => bound.to_canonical() == ip,
        ListenHost::Name(name) => is_localhost(name) && LOOPBACKS.contains(&ip),
    }
}

pub(super) fn is_localhost(name: &HostName) -> bool {
    plain(name) == "localhost"
}

/// A name as it is compared: case and the root dot do not matter.
pub(super) fn plain(name: &HostName) -> String {
    name.as_str().trim_end_matches('.').to_ascii_lowercase()
}
