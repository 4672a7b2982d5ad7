//! What comes before the first connection of a configuration: backends found, addresses bound, and no listener that
//! leads back to itself.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use listenfd::ListenFd;
use towpath_config::{Config, HopProtocol, Listener, Login, Secret};
use towpath_engine::{Bound, Hop, Pool, Pools, Resolver, TlsError, TlsIn, TlsOut, bind, check_users};
use towpath_wire::addr::Listen;

use crate::discover::Discovery;
use crate::hints::bind_hint;
use crate::instance::StartError;
use crate::layout::{Layout, Station};
use crate::{segments, sources};

/// All that a configuration needs to run.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) running: Arc<Layout>,
    /// The addresses that are new.
    pub(crate) bound: Vec<Bound>,
    /// The pools that are new or have changed.
    pub(crate) discoveries: Vec<(Arc<Pool>, Discovery)>,
}

/// Finds the backends of all pools that are new or have changed, and binds all addresses that are new.
pub(crate) async fn prepare(
    config: &Config,
    before: &Layout,
    keeps: impl Fn(&Pool) -> bool,
    workers: usize,
) -> Result<Prepared, StartError> {
    sources::check(config)?;
    check(config)?;
    segments::warn(config);
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
    stations.extend(bound.iter().filter_map(Station::new));
    let running = Layout { listeners: config.listeners.clone(), pools, stations };
    running.refuse_circles()?;
    for bound in &bound {
        if let Some(station) = Station::new(bound) {
            tracing::info!("listener {} on {}", bound.listener().name, station.at);
        }
    }
    Ok(Prepared { running: Arc::new(running), bound, discoveries })
}

/// Looks at what the text of a configuration does not tell: whether its certificates, keys and users can be used.
///
/// # Errors
/// The first that cannot.
pub fn check(config: &Config) -> Result<(), StartError> {
    segments::check(config)?;
    for pool in &config.pools {
        let bad = |error| bad_tls(format!("pool {}", pool.name), error);
        let hops = pool.via.iter().filter_map(|hop| hop.tls.as_ref());
        for tls in pool.tls.iter().chain(hops) {
            TlsOut::new(tls, &[]).map_err(bad)?;
        }
    }
    for listener in &config.listeners {
        let what = || format!("listener {}", listener.name);
        if let Some(tls) = &listener.tls {
            TlsIn::new(tls, listener.mode).map_err(|error| bad_tls(what(), error))?;
        }
        for (users, file) in users_of(listener) {
            check_users(users, file)
                .map_err(|faults| StartError::Users { what: what(), faults: faults.join("\n  ") })?;
        }
    }
    Ok(())
}

/// Users, and a file of more.
type Users<'a> = (&'a [Login], Option<&'a (PathBuf, Secret)>);

/// The users of a listener, and those of its routes that have others.
fn users_of(listener: &Listener) -> Vec<Users<'_>> {
    let of_proxy = listener.proxy.iter().map(|proxy| (&proxy.users[..], proxy.auth_file.as_ref()));
    let rules = listener.http.iter().flat_map(|http| http.all_rules());
    let mut all: Vec<Users<'_>> = Vec::new();
    for users in of_proxy.chain(rules.map(|rules| (&rules.users[..], rules.auth_file.as_ref()))) {
        if !all.contains(&users) {
            all.push(users);
        }
    }
    all
}

fn bad_tls(what: String, error: TlsError) -> StartError {
    StartError::Tls { what, error: Box::new(error) }
}

/// The pools of a configuration with their backends, without listening anywhere.
pub(crate) async fn find_all(config: &Config) -> Result<Pools, StartError> {
    let resolver = Resolver::new(&config.dns);
    Ok(find(config, &Layout::default(), |_| false, &resolver).await?.0)
}

/// The pools, and how those among them that are new or have changed are found.
async fn find(
    config: &Config,
    before: &Layout,
    keeps: impl Fn(&Pool) -> bool,
    resolver: &Resolver,
) -> Result<(Pools, Vec<(Arc<Pool>, Discovery)>), StartError> {
    let (mut pools, mut discoveries) = (Pools::new(), Vec::new());
    for shape in &config.pools {
        let old = before.pools.get(&shape.name);
        let (hops, are_new) = hops(shape, &pools, &before.pools)?;
        let bad = |error| bad_tls(format!("pool {}", shape.name), error);
        let alpn: &[&str] = if shape.http.is_h2 { &["h2"] } else { &[] };
        let tls = shape.tls.as_ref().map(|tls| TlsOut::new(tls, alpn)).transpose().map_err(bad)?;
        let pool = match old {
            Some(old) if old.config == *shape && keeps(old) && !are_new => old.clone(),
            Some(old) => Arc::new(old.renewed(shape.clone()).through(hops, tls)),
            None => Arc::new(Pool::new(shape.clone()).through(hops, tls)),
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

/// The proxies on the way to the backends of `shape`, whose pools come before it; and whether one of them is not as it was.
fn hops(
    shape: &towpath_config::Pool,
    pools: &Pools,
    before: &Pools,
) -> Result<(Arc<[Hop]>, bool), StartError> {
    let mut hops = Vec::new();
    for hop in &shape.via {
        let Some(pool) = pools.get(&hop.pool.name).cloned() else { continue };
        let bad = |error| bad_tls(format!("pool {}", hop.pool.name), error);
        let alpn = if hop.protocol == HopProtocol::H2 { &["h2"] } else { &["http/1.1"] };
        let tls = hop.tls.as_ref().map(|tls| TlsOut::new(tls, alpn)).transpose().map_err(bad)?;
        hops.push(Hop::new(hop, pool, tls).map_err(bad)?);
    }
    let is_new =
        |hop: &Hop| before.get(&hop.pool.config.name).is_none_or(|before| !Arc::ptr_eq(before, &hop.pool));
    let are_new = hops.iter().any(is_new);
    Ok((hops.into(), are_new))
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
