//! Who listens where and forwards to which pool: what circles of listeners show in.

use std::sync::Arc;

use towpath_config::Listener;
use towpath_engine::{Bound, Place, Pool, Pools};
use towpath_wire::addr::Listen;

use crate::instance::StartError;
use crate::loops::{self, End, Node};

/// Listeners, the addresses that they are bound to, and the pools that they forward to.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) pools: Pools,
    pub(crate) stations: Vec<Station>,
}

/// One bound address.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) listen: Listen,
    offset: u16,
    pub(crate) at: End,
}

impl Station {
    /// Where connections come in.
    pub(crate) fn new(bound: &Bound) -> Option<Self> {
        let at = bound.path().map(End::Unix).or_else(|| bound.address().map(End::Tcp))?;
        Some(Self { listen: bound.listen().clone(), offset: bound.offset(), at })
    }
}

impl Layout {
    /// Fails where a connection could come back to the listener that it came in at, be it through others.
    pub(crate) fn refuse_circles(&self) -> Result<(), StartError> {
        let (owners, nodes) = self.nodes(backends);
        match loops::find_circle(&nodes).as_deref() {
            None => Ok(()),
            Some([alone]) => {
                let (listener, station) = owners[*alone];
                Err(StartError::Loop {
                    listener: listener.name.clone(),
                    target: self.target_back(listener, station).unwrap_or_default(),
                })
            }
            Some(circle) => {
                let stops = circle.iter().chain(circle.first());
                let told = stops.map(|&place| format!("{} ({})", owners[place].0.name, nodes[place].at));
                Err(StartError::Circle { circle: told.collect::<Vec<_>>().join(" -> ") })
            }
        }
    }

    /// The backend, as it is written, by which the listener at `station` gets its own connections back.
    fn target_back(&self, listener: &Listener, station: &Station) -> Option<Arc<str>> {
        let leads_back = |place: &Place| {
            end(place, station.offset).is_some_and(|end| loops::leads_back(&station.at, &end))
        };
        self.pools_of(listener).find_map(|pool| {
            let backends = pool.backends();
            let mut members = backends.iter().map(|backend| &backend.member);
            members.find(|member| leads_back(&member.place)).map(|member| member.target.clone())
        })
    }

    /// The pools where connections or requests of a listener may go.
    fn pools_of<'a>(&'a self, listener: &'a Listener) -> impl Iterator<Item = &'a Arc<Pool>> {
        let of_requests = listener.http.iter().flat_map(|http| http.pools());
        let routes = listener.routes.iter().map(|route| &route.pool).chain(of_requests);
        routes.chain([&listener.pool]).filter_map(|pool| self.pools.get(&pool.name))
    }

    /// Whether connections could go in a circle if `pool` had nothing but a backend at `place`.
    pub(crate) fn leads_back(&self, pool: &Pool, place: &Place) -> bool {
        let is_it = |other: &Pool| other.config.name == pool.config.name;
        let (_, nodes) = self.nodes(|other| if is_it(other) { vec![place.clone()] } else { backends(other) });
        loops::find_circle(&nodes).is_some()
    }

    /// Each bound address with its listener, and where its connections may go if pools have the backends that `places`
    /// tells.
    fn nodes<'a>(
        &'a self,
        places: impl Fn(&Pool) -> Vec<Place>,
    ) -> (Vec<(&'a Listener, &'a Station)>, Vec<Node>) {
        let owner = |station: &Station| {
            self.listeners.iter().find(|listener| listener.bind.contains(&station.listen))
        };
        let node = |station: &'a Station| {
            let listener = owner(station)?;
            let places: Vec<Place> = self.pools_of(listener).flat_map(|pool| places(pool)).collect();
            let targets = places.iter().filter_map(|place| end(place, station.offset)).collect();
            Some(((&**listener, station), Node { at: station.at.clone(), targets }))
        };
        self.stations.iter().filter_map(node).unzip()
    }
}

/// Where the connections of a pool go first: to its backends, or to the first proxy on the way to them.
fn backends(pool: &Pool) -> Vec<Place> {
    pool.first_stop().backends().iter().map(|backend| backend.member.place.clone()).collect()
}

/// Where connections to `place` go, for the listener at `offset` of its port range; a name that is looked up elsewhere does
/// not tell.
fn end(place: &Place, offset: u16) -> Option<End> {
    match place {
        Place::Unix(path) => Some(End::Unix(path.to_path_buf())),
        Place::Tcp { ip, ports } => Some(End::Tcp((*ip, ports.at(offset)).into())),
        Place::Name { .. } => None,
    }
}
