//! Listeners that forward to themselves or in a circle, which only shows once names are looked up and sockets bound.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

/// Where a connection goes to or comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket and where its connections may go.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: End,
    pub(crate) targets: Vec<End>,
}

/// The places of nodes that forward in a circle, in order, each once; `None` where there is no circle.
pub(crate) fn find_circle(nodes: &[Node]) -> Option<Vec<usize>> {
    let mut by_port: HashMap<Option<u16>, Vec<usize>> = HashMap::new();
    for (place, node) in nodes.iter().enumerate() {
        by_port.entry(port(&node.at)).or_default().push(place);
    }
    let next: Vec<Vec<usize>> = nodes
        .iter()
        .map(|node| {
            node.targets
                .iter()
                .flat_map(|target| taken_by(target, nodes, by_port.get(&port(target))))
                .collect()
        })
        .collect();
    circle(&next)
}

/// Whether a connection to `target` would arrive at the socket bound to `bound`.
pub(crate) fn leads_back(bound: &End, target: &End) -> bool {
    match (bound, target) {
        (End::Tcp(bound), End::Tcp(target)) => tcp_leads_back(bound, target),
        (bound, target) => bound == target,
    }
}

fn port(end: &End) -> Option<u16> {
    match end {
        End::Tcp(address) => Some(address.port()),
        End::Unix(_) => None,
    }
}

/// Those of `candidates` that connections to `target` may arrive at: a v6 socket gets those to v4 addresses only where
/// no v4 socket does.
fn taken_by(target: &End, nodes: &[Node], candidates: Option<&Vec<usize>>) -> Vec<usize> {
    let candidates = candidates.into_iter().flatten().copied();
    let mut found: Vec<usize> = candidates.filter(|&place| leads_back(&nodes[place].at, target)).collect();
    let of_its_family = |place: &usize| match (&nodes[*place].at, target) {
        (End::Tcp(bound), End::Tcp(target)) => bound.is_ipv4() == target.ip().to_canonical().is_ipv4(),
        _ => true,
    };
    if found.iter().any(of_its_family) {
        found.retain(of_its_family);
    }
    found
}

/// A circle of the graph in which `next` has the successors of each node: a search in depth, without recursion, as
/// there may be as many nodes as ports.
fn circle(next: &[Vec<usize>]) -> Option<Vec<usize>> {
    let (mut done, mut on_path) = (vec![false; next.len()], vec![false; next.len()]);
    for start in 0..next.len() {
        let mut path = if done[start] { Vec::new() } else { vec![(start, next[start].iter())] };
        on_path[start] = true;
        while let Some((node, successors)) = path.last_mut() {
            match successors.next() {
                None => {
                    (done[*node], on_path[*node]) = (true, false);
                    path.pop();
                }
                Some(&to) if on_path[to] => {
                    let nodes = path.iter().map(|(node, _)| *node);
                    return Some(nodes.skip_while(|node| *node != to).collect());
                }
                Some(&to) if !done[to] => {
                    on_path[to] = true;
                    path.push((to, next[to].iter()));
                }
                Some(_) => {}
            }
        }
        on_path[start] = false;
    }
    None
}

fn tcp_leads_back(bound: &SocketAddr, target: &SocketAddr) -> bool {
    if bound.port() != target.port() {
        return false;
    }
    let (bound, target) = (bound.ip().to_canonical(), target.ip().to_canonical());
    let family = bound.is_ipv6() || target.is_ipv4();
    bound == target || (bound.is_unspecified() && family && is_of_this_machine(target))
}

/// Only an address of this machine can be bound to; a connection to the unspecified one stays here as well.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> End {
        End::Tcp(address.parse().unwrap())
    }

    fn find(listeners: &[(&str, &[&str])]) -> Option<Vec<usize>> {
        let node = |(at, targets): &(&str, &[&str])| Node {
            at: tcp(at),
            targets: targets.iter().copied().map(tcp).collect(),
        };
        find_circle(&listeners.iter().map(node).collect::<Vec<_>>())
    }

    #[test]
    fn only_the_same_port_of_this_machine_leads_back() {
        let leads = |bound: &str, target: &str| leads_back(&tcp(bound), &tcp(target));
        assert!(leads("127.0.0.1:80", "127.0.0.1:80"));
        assert!(leads("[::]:80", "127.0.0.1:80"));
        assert!(leads("0.0.0.0:80", "127.0.0.9:80"));
        assert!(leads("[::]:80", "[::1]:80"));
        assert!(!leads("0.0.0.0:80", "[::1]:80"));
        assert!(!leads("[::]:80", "127.0.0.1:81"));
        assert!(!leads("[::]:80", "192.0.2.1:80"));
        assert!(!leads("127.0.0.1:80", "127.0.0.2:80"));
    }

    #[test]
    fn circles_of_any_length_are_found() {
        assert_eq!(find(&[("[::]:80", &["127.0.0.1:80"])]), Some(vec![0]));
        let two = [("127.0.0.1:80", &["127.0.0.1:81"][..]), ("[::]:81", &["192.0.2.1:1", "127.0.0.1:80"])];
        assert_eq!(find(&two), Some(vec![0, 1]));
        let lead_in = [
            ("127.0.0.1:80", &["127.0.0.1:81"][..]),
            ("127.0.0.1:81", &["127.0.0.1:82"]),
            ("127.0.0.1:82", &["127.0.0.1:83"]),
            ("127.0.0.1:83", &["127.0.0.1:81"]),
        ];
        assert_eq!(find(&lead_in), Some(vec![1, 2, 3]));
    }

    #[test]
    fn chains_and_diamonds_are_no_circles() {
        let diamond = [
            ("127.0.0.1:80", &["127.0.0.1:81", "127.0.0.1:82"][..]),
            ("127.0.0.1:81", &["127.0.0.1:83"]),
            ("127.0.0.1:82", &["127.0.0.1:83"]),
            ("127.0.0.1:83", &["192.0.2.1:80"]),
        ];
        assert_eq!(find(&diamond), None);
        let families = [("[::]:80", &["127.0.0.1:80"][..]), ("0.0.0.0:80", &["192.0.2.1:80"])];
        assert_eq!(find(&families), None);
    }
}
