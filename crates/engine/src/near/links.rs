//! The links of a tunnel: from each of its local addresses to each address of the far end. Lanes go over all of them, as evenly as can be.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use towpath_config::{Pool as PoolConfig, SourceAddress};
use towpath_wire::tunnel::LaneId;

use crate::pool::{Backend, Hop};

/// How long nobody tries a link after a lane that failed there: twice as long each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// One of the links.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The far end at one of its addresses; `None` while none is known.
    pub(crate) host: Option<Arc<Backend>>,
    /// How its sockets are to be, one of several local addresses among it.
    pub(crate) config: Arc<PoolConfig>,
    id: LinkId,
}

impl fmt::Display for Link {
    /// As in `192.0.2.7:7000 from 10.0.0.2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => host.member.place.fmt(f)?,
            None => f.write_str("which has no address")?,
        }
        match &self.config.source {
            SourceAddress::These(ips) if ips.len() == 1 => write!(f, " from {}", ips[0]),
            _ => Ok(()),
        }
    }
}

/// The host, and the place of the local address.
type LinkId = (usize, usize);

#[derive(Debug, Default)]
struct Standing {
    failures: u32,
    not_before: Option<Instant>,
}

/// All links of a session, and what is known of them.
#[derive(Debug)]
pub(super) struct Links {
    hop: Hop,
    /// For each local address one.
    configs: Vec<Arc<PoolConfig>>,
    standings: RefCell<HashMap<LinkId, Standing>>,
    /// Where the lanes are, those among them that are being opened.
    lanes: RefCell<BTreeMap<LaneId, LinkId>>,
}

impl Links {
    /// Those of a hop that begin at these addresses, or wherever the system has it.
    pub(super) fn new(hop: Hop, bind: &[IpAddr]) -> Rc<Self> {
        let bound = |ip: &IpAddr| {
            let source = SourceAddress::These(vec![*ip]);
            Arc::new(PoolConfig { source, ..PoolConfig::clone(&hop.pool.config) })
        };
        let mut configs: Vec<_> = bind.iter().map(bound).collect();
        if configs.is_empty() {
            configs.push(hop.pool.config.clone());
        }
        Rc::new(Self { hop, configs, standings: RefCell::default(), lanes: RefCell::default() })
    }

    /// All that there are now.
    fn all(&self) -> Vec<Link> {
        let hosts = self.hop.pool.backends();
        let hosts: Vec<_> = match hosts.is_empty() {
            true => vec![None],
            false => hosts.into_iter().map(Some).collect(),
        };
        let mut links = Vec::new();
        // In such an order that the first lanes go over as many as can be of both.
        for shift in 0..self.configs.len() {
            for (turn, host) in hosts.iter().enumerate() {
                let place = (turn + shift) % self.configs.len();
                if self.fits(host.as_deref(), place) {
                    let id = (host.as_ref().map_or(0, |host| host.id()), place);
                    links.push(Link { host: host.clone(), config: self.configs[place].clone(), id });
                }
            }
        }
        links
    }

    /// Whether a local address is of the same family as a host.
    fn fits(&self, host: Option<&Backend>, place: usize) -> bool {
        let SourceAddress::These(ips) = &self.configs[place].source else { return true };
        let of_host = host.and_then(|host| host.member.place.socket_address(0));
        of_host.is_none_or(|address| ips.iter().any(|ip| ip.is_ipv4() == address.is_ipv4()))
    }

    fn count(&self, id: LinkId) -> usize {
        self.lanes.borrow().values().filter(|link| **link == id).count()
    }

    /// The one with the fewest lanes that may be tried now.
    pub(super) fn next(&self) -> Option<Link> {
        let now = Instant::now();
        let standings = self.standings.borrow();
        let may = |link: &Link| {
            let until = standings.get(&link.id).and_then(|standing| standing.not_before);
            until.is_none_or(|at| at <= now)
        };
        self.all().into_iter().filter(may).min_by_key(|link| self.count(link.id))
    }

    /// One that no lane was tried over, where others are being tried.
    pub(super) fn untried(&self) -> Option<Link> {
        self.next().filter(|link| self.count(link.id) == 0 && !self.standings.borrow().contains_key(&link.id))
    }

    /// One that has fewer lanes than its share, while another has more: it was away, and may be back, or is new.
    pub(super) fn neglected(&self) -> Option<Link> {
        let crowd = self.crowd();
        let most = self.lanes.borrow().values().map(crowd).max()?;
        self.next().filter(|link| self.count(link.id).saturating_add(1) < most)
    }

    /// How many lanes a link has; one that is no more has too many of them.
    fn crowd(&self) -> impl Fn(&LinkId) -> usize {
        let all: Vec<_> = self.all().iter().map(|link| link.id).collect();
        move |id| if all.contains(id) { self.count(*id) } else { usize::MAX }
    }

    /// Whether lanes have failed over all of them.
    pub(super) fn have_all_failed(&self) -> bool {
        let standings = self.standings.borrow();
        let has_failed = |link: &Link| standings.get(&link.id).is_some_and(|standing| standing.failures > 0);
        self.all().iter().all(has_failed)
    }

    /// A lane is about to go over a link.
    pub(super) fn take(&self, lane: LaneId, link: &Link) {
        self.lanes.borrow_mut().insert(lane, link.id);
    }

    /// A lane has ended that was of use, or failed: then the next has to wait.
    pub(super) fn note(&self, lane: LaneId, link: &Link, was_of_use: bool) {
        self.lanes.borrow_mut().remove(&lane);
        let mut standings = self.standings.borrow_mut();
        let standing = standings.entry(link.id).or_default();
        if was_of_use {
            *standing = Standing::default();
            return;
        }
        let pause = PAUSE_MAX.min(PAUSE_MIN * 2_u32.saturating_pow(standing.failures.min(8)));
        standing.failures += 1;
        standing.not_before = Some(Instant::now() + pause);
    }

    /// The lane of those that are `open` that is best gone without: the latest one of the link that has most.
    pub(super) fn give_up(&self, open: &[LaneId]) -> Option<LaneId> {
        let crowd_of = self.crowd();
        let crowd = |lane: &&LaneId| self.lanes.borrow().get(*lane).map_or(usize::MAX, &crowd_of);
        let lane = *open.iter().max_by_key(crowd)?;
        self.lanes.borrow_mut().remove(&lane);
        Some(lane)
    }
}
