//! What comes before the first connection of a configuration: backends found, addresses bound, and no listener that
//! leads back to itself.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use listenfd::ListenFd;
use towpath_config::{Config, Listener};
use towpath_engine::{Backend, Bound, Place, Pool, Pools, Resolver, bind};
use towpath_wire::addr::Listen;

use crate::discover::Discovery;
use crate::hints::bind_hint;
use crate::instance::StartError;
use crate::loops::{self, End, Node};

/// What runs already when a configuration is prepared.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub(crate) pools: Pools,
    pub(crate) stations: Vec<Station>,
}

/// One bound address.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    listen: Listen,
    offset: u16,
    at: End,
}

/// All that a configuration needs to run.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) running: Running,
    /// The addresses that are new.
    pub(crate) bound: Vec<Bound>,
    /// The pools that are new or have changed.
    pub(crate) discoveries: Vec<(Arc<Pool>, Discovery)>,
}

/// Finds the backends of all pools that are new or have changed, and binds all addresses that are new.
pub(crate) async fn prepare(
    config: &Config,
    before: &Running,
    keeps: impl Fn(&Pool) -> bool,
    workers: usize,
) -> Result<Prepared, StartError> {
    let resolver = Resolver::new(&config.dns);
    let (pools, discoveries) = find(config, before, keeps, &resolver).await?;
    let is_new = |listen: &Listen| !before.stations.iter().any(|station| station.listen == *listen);
    let is_first = before.pools.is_empty();
    let mut inherited = if is_first { inherited() } else { Vec::new() };
    let bound = bind(config, is_new, workers, &resolver, &mut inherited)
        .await
        .map_err(|error| StartError::Bind { hint: bind_hint(&error), error })?;
    if !inherited.is_empty() {
        tracing::warn!("{} inherited sockets fit no listener and are not used", inherited.len());
    }
    let wanted = |listen: &Listen| config.listeners.iter().any(|listener| listener.bind.contains(listen));
    let mut stations: Vec<_> =
        before.stations.iter().filter(|station| wanted(&station.listen)).cloned().collect();
    stations.extend(bound.iter().filter_map(station));
    refuse_circles(config, &stations, &pools)?;
    for bound in &bound {
        if let Some(station) = station(bound) {
            tracing::info!("listener {} on {}", bound.listener().name, station.at);
        }
    }
    Ok(Prepared { running: Running { pools, stations }, bound, discoveries })
}

/// The pools of a configuration with their backends, without listening anywhere.
pub(crate) async fn find_all(config: &Config) -> Result<Pools, StartError> {
    let resolver = Resolver::new(&config.dns);
    Ok(find(config, &Running::default(), |_| false, &resolver).await?.0)
}

/// The pools, and how those among them that are new or have changed are found.
async fn find(
    config: &Config,
    before: &Running,
    keeps: impl Fn(&Pool) -> bool,
    resolver: &Resolver,
) -> Result<(Pools, Vec<(Arc<Pool>, Discovery)>), StartError> {
    let (mut pools, mut discoveries) = (Pools::new(), Vec::new());
    for shape in &config.pools {
        let old = before.pools.get(&shape.name);
        let pool = match old {
            Some(old) if old.config == *shape && keeps(old) => old.clone(),
            Some(old) => Arc::new(old.renewed(shape.clone())),
            None => Arc::new(Pool::new(shape.clone())),
        };
        if old.is_none_or(|old| !Arc::ptr_eq(old, &pool)) {
            discoveries.push((pool.clone(), Discovery::new(pool.clone(), config.dns.clone())));
        }
        pools.insert(shape.name.clone(), pool);
    }
    let first = discoveries.iter_mut().map(async |(pool, discovery)| {
        let pool = pool.config.name.clone();
        discovery.first(resolver).await.map_err(|error| StartError::Discover { pool, error })
    });
    futures_util::future::try_join_all(first).await?;
    Ok((pools, discoveries))
}

/// Where connections come in.
fn station(bound: &Bound) -> Option<Station> {
    let at = bound.path().map(End::Unix).or_else(|| bound.address().map(End::Tcp))?;
    Some(Station { listen: bound.listen().clone(), offset: bound.offset(), at })
}

/// Fails where a connection could come back to the listener that it came in at, be it through others.
fn refuse_circles(config: &Config, stations: &[Station], pools: &Pools) -> Result<(), StartError> {
    let owner = |station: &Station| -> Option<&Arc<Listener>> {
        config.listeners.iter().find(|listener| listener.bind.contains(&station.listen))
    };
    let backends = |listener: &Listener| -> Vec<Arc<Backend>> {
        pools.get(&listener.pool.name).map(|pool| pool.backends()).unwrap_or_default()
    };
    let (owners, nodes): (Vec<_>, Vec<_>) = stations
        .iter()
        .filter_map(|station| {
            let listener = owner(station)?;
            let backends = backends(listener);
            let targets = backends.iter().map(|backend| end(&backend.member.place, station.offset));
            Some(((listener, station.offset), Node { at: station.at.clone(), targets: targets.collect() }))
        })
        .unzip();
    match loops::find_circle(&nodes).as_deref() {
        None => Ok(()),
        Some([alone]) => {
            let ((listener, offset), node) = (owners[*alone], &nodes[*alone]);
            let leads =
                |backend: &Arc<Backend>| loops::leads_back(&node.at, &end(&backend.member.place, offset));
            match backends(listener).iter().find(|backend| leads(backend)) {
                Some(backend) => Err(StartError::Loop {
                    listener: listener.name.clone(),
                    target: backend.member.target.clone(),
                }),
                None => Ok(()),
            }
        }
        Some(circle) => {
            let stops = circle.iter().chain(circle.first());
            let told = stops.map(|&place| format!("{} ({})", owners[place].0.name, nodes[place].at));
            Err(StartError::Circle { circle: told.collect::<Vec<_>>().join(" -> ") })
        }
    }
}

/// Where connections to `place` go, for the listener at `offset` of its port range.
fn end(place: &Place, offset: u16) -> End {
    match place {
        Place::Unix(path) => End::Unix(path.to_path_buf()),
        Place::Tcp { ip, ports } => End::Tcp((*ip, ports.at(offset)).into()),
    }
}

/// The sockets that the process was started with (LISTEN_FDS, sd_listen_fds(3)).
fn inherited() -> Vec<OwnedFd> {
    let mut listen_fds = ListenFd::from_env();
    (0..listen_fds.len())
        .filter_map(|index| {
            let tcp = listen_fds.take_tcp_listener(index).ok().flatten().map(OwnedFd::from);
            tcp.or_else(|| listen_fds.take_unix_listener(index).ok().flatten().map(OwnedFd::from))
        })
        .collect()
}
