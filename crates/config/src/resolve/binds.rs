//! Binds that cannot be together: two on one port, and port ranges that do not fit those of backends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use towpath_wire::addr::{Listen, ListenHost, PortRange};

use super::listener::Found;
use super::pool::Pools;
use crate::error::Mistake;
use crate::report::Report;

/// Where a socket is bound, as far as the text tells: equal places with a common port collide.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Ip(IpAddr),
    Name(String),
    Unix(String),
}

/// The binds so far: for each place the first port of each run, its last port and its bytes.
type Taken = HashMap<Place, BTreeMap<u16, (u16, Range<usize>)>>;

/// Notes every bind that takes a port, or a unix path, of an earlier one.
pub(crate) fn note_collisions(listeners: &[Found], report: &mut Report) {
    let mut taken = Taken::new();
    for (listen, span) in listeners.iter().flat_map(|found| &found.binds) {
        let (places, first, last) = places(listen);
        let earlier = places.iter().find_map(|place| earlier(&taken, place, first, last));
        if let Some((ports, at)) = earlier {
            let message = match listen {
                Listen::Unix(_) => format!("`{listen}` is bound already"),
                Listen::Tcp { .. } => format!("`{listen}` takes {ports} that is bound already"),
            };
            let mistake = Mistake::at(span.clone(), message).also(at, "bound here first");
            report.push(mistake.hint("give each bind its own address or port"));
            continue;
        }
        for place in places {
            taken.entry(place).or_default().insert(first, (last, span.clone()));
        }
    }
}

fn earlier(taken: &Taken, place: &Place, first: u16, last: u16) -> Option<(String, Range<usize>)> {
    let (&low, (high, span)) = taken.get(place)?.range(..=last).next_back()?;
    let (low, high) = (low.max(first), last.min(*high));
    let ports = if low == high { format!("port {low}") } else { format!("a port of {low}-{high}") };
    (low <= high).then(|| (ports, span.clone()))
}

/// `:PORT` is bound for v4 and v6 alike; `0.0.0.0` and `[::]` for one family each.
fn places(listen: &Listen) -> (Vec<Place>, u16, u16) {
    let (host, ports) = match listen {
        Listen::Unix(path) => return (vec![Place::Unix(path.to_string())], 0, 0),
        Listen::Tcp { host, ports } => (host, ports),
    };
    let places = match host {
        ListenHost::Any => {
            vec![Place::Ip(Ipv4Addr::UNSPECIFIED.into()), Place::Ip(Ipv6Addr::UNSPECIFIED.into())]
        }
        ListenHost::Ip(ip) => vec![Place::Ip(ip.to_canonical())],
        ListenHost::Name(name) => vec![Place::Name(super::loops::plain(name))],
    };
    (places, ports.first(), last(*ports))
}

/// The highest port.
pub(super) fn last(ports: PortRange) -> u16 {
    ports.iter().last().unwrap_or(ports.first())
}

/// Notes every bind whose ports cannot be matched one to one with a range of ports of its pool.
pub(crate) fn note_range_lengths(listeners: &[Found], pools: &Pools, report: &mut Report) {
    let ranges: Vec<_> = (0..pools.count()).map(|index| ranges(pools, index)).collect();
    for found in listeners {
        for (listen, span) in &found.binds {
            let mut ranges = found.pools().flat_map(|index| &ranges[index]);
            let Some((target, count, at)) = ranges.find(|(_, count, _)| *count != listen.count()) else {
                continue;
            };
            let (ours, theirs) = (listen.count(), count);
            let s = if ours == 1 { "" } else { "s" };
            let message = format!("`{listen}` has {ours} port{s}, but the backend `{target}` has {theirs}");
            let mistake = Mistake::at(span.clone(), message).also(at.clone(), "this backend");
            report.push(mistake.hint("make both ranges equally long, or give the backend a single port"));
        }
    }
}

/// The ranges of ports of a pool, one of each length.
fn ranges(pools: &Pools, index: usize) -> Vec<(String, usize, Range<usize>)> {
    let found = pools.at(index);
    let mut seen = HashSet::new();
    let several =
        found.pool.backends.iter().zip(&found.spans).filter(|(backend, _)| backend.address.count() > 1);
    several
        .filter(|(backend, _)| seen.insert(backend.address.count()))
        .map(|(backend, span)| (backend.address.to_string(), backend.address.count(), span.clone()))
        .collect()
}
