//! From backends as they are written, and the answers for their names, to the members of a pool.

use std::collections::HashSet;
use std::sync::Arc;

use towpath_config::Backend;
use towpath_engine::{Host, Member, Place};
use towpath_wire::addr::{PortRange, Target};

/// Backups come behind all priorities of SRV records.
const BACKUP: u32 = 1 << 16;

/// The members that the backends stand for, each place once: every address of a name is one, or the name itself where it
/// is not looked up here.
pub(super) fn members<'a>(found: impl Iterator<Item = (&'a Backend, &'a [Host], bool)>) -> Vec<Member> {
    let mut seen = HashSet::new();
    found
        .flat_map(|(backend, hosts, as_written)| of_backend(backend, hosts, as_written))
        .filter(|member| seen.insert(member.place.clone()))
        .collect()
}

fn of_backend(backend: &Backend, hosts: &[Host], as_written: bool) -> Vec<Member> {
    let target: Arc<str> = backend.address.to_string().into();
    let member = |place, weight: u32, priority: u16| Member {
        place,
        target: target.clone(),
        weight,
        tier: u32::from(priority) + if backend.backup { BACKUP } else { 0 },
        max_connections: backend.max_connections,
        drain: backend.drain,
    };
    let of_host = |host: &Host, ports: PortRange, weight: u32| -> Vec<Member> {
        let place = |ip| Place::Tcp { ip, ports };
        host.ips.iter().map(|ip| member(place(*ip), weight, host.priority)).collect()
    };
    match &backend.address {
        Target::Unix(path) => vec![member(Place::Unix(path.clone()), backend.weight, 0)],
        Target::Ip { ip, ports } => vec![member(Place::Tcp { ip: *ip, ports: *ports }, backend.weight, 0)],
        Target::Name { host, ports } if as_written => {
            vec![member(Place::Name { host: host.clone(), ports: *ports }, backend.weight, 0)]
        }
        Target::Name { ports, .. } => {
            hosts.iter().flat_map(|host| of_host(host, *ports, backend.weight)).collect()
        }
        // A weight of 0 is a very small one (RFC 2782).
        Target::Srv(_) => hosts
            .iter()
            .filter_map(|host| Some((host, PortRange::single(host.port?)?)))
            .flat_map(|(host, port)| of_host(host, port, backend.weight * u32::from(host.weight.max(1))))
            .collect(),
    }
}

/// Those of `before` that came of the name of `backend`, with what it says of them now; without places of `found`.
pub(super) fn as_now<'a>(
    backend: &Backend,
    before: impl Iterator<Item = &'a Member>,
    found: &[Member],
) -> Vec<Member> {
    let target = backend.address.to_string();
    let is_new = |member: &&Member| !found.iter().any(|other| other.place == member.place);
    let backup = if backend.backup { BACKUP } else { 0 };
    before
        .filter(|member| *member.target == *target)
        .filter(is_new)
        .map(|member| Member {
            // The weights of an SRV record are kept, as those of the file are only a part of them.
            weight: if matches!(backend.address, Target::Srv(_)) { member.weight } else { backend.weight },
            tier: member.tier % BACKUP + backup,
            max_connections: backend.max_connections,
            drain: backend.drain,
            ..member.clone()
        })
        .collect()
}

/// The hosts in an order that does not depend on that of the answer, to tell whether something has changed.
pub(super) fn sorted(hosts: &[Host]) -> Vec<Host> {
    let mut hosts = hosts.to_vec();
    hosts.iter_mut().for_each(|host| host.ips.sort());
    hosts.sort_by(|a, b| (a.priority, a.port, &a.ips).cmp(&(b.priority, b.port, &b.ips)));
    hosts
}
