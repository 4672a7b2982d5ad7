//! What comes before the first connection: names looked up, addresses bound, and no listener that leads back to itself.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use listenfd::ListenFd;
use tokio::task::spawn_local;
use towpath_config::Config;
use towpath_engine::{Bound, ResolveError, Resolver, bind};
use towpath_wire::addr::Target;

use crate::hints::bind_hint;
use crate::instance::StartError;
use crate::loops::{self, End, Node};

/// The addresses of each target, as they were at the start; those that could not be looked up are missing.
type Answers = HashMap<Target, Vec<SocketAddr>>;

/// Looks up the names of all targets and binds all listeners.
pub(crate) async fn prepare(config: &Config, workers: usize) -> Result<Vec<Bound>, StartError> {
    let resolver = Rc::new(Resolver::new(&config.dns));
    let answers = look_up_targets(config, &resolver).await?;
    let mut inherited = inherited();
    let bound = bind(config, workers, &resolver, &mut inherited)
        .await
        .map_err(|error| StartError::Bind { hint: bind_hint(&error), error })?;
    if !inherited.is_empty() {
        tracing::warn!("{} inherited sockets fit no listener and are not used", inherited.len());
    }
    refuse_circles(&bound, &answers)?;
    for bound in &bound {
        if let Some(end) = own_end(bound) {
            tracing::info!("listener {} on {end}", bound.listener().name);
        }
    }
    Ok(bound)
}

/// A name that does not exist is a mistake; one that cannot be looked up now may come back.
async fn look_up_targets(config: &Config, resolver: &Rc<Resolver>) -> Result<Answers, StartError> {
    let lookups: Vec<_> = config
        .pools
        .iter()
        .flat_map(|pool| {
            pool.backends.iter().map(move |backend| (pool.name.clone(), backend.address.clone()))
        })
        .map(|(pool, target)| {
            let resolver = resolver.clone();
            spawn_local(async move {
                let answer = resolver.addresses(&target, 0).await;
                (pool, target, answer)
            })
        })
        .collect();
    let mut answers = Answers::new();
    for lookup in lookups {
        match lookup.await.map_err(io::Error::other)? {
            (_, target, Ok(addresses)) => drop(answers.insert(target, addresses)),
            (pool, _, Err(error @ ResolveError::Failed { .. })) => tracing::warn!("pool {pool}: {error}"),
            (pool, _, Err(error)) => return Err(StartError::NoSuchHost { pool, error }),
        }
    }
    Ok(answers)
}

/// Fails where a connection could come back to the listener that it came in at, be it through others.
fn refuse_circles(bound: &[Bound], answers: &Answers) -> Result<(), StartError> {
    let (sockets, nodes): (Vec<_>, Vec<_>) = bound
        .iter()
        .filter_map(|bound| {
            let backends = bound.listener().pool.backends.iter();
            let targets = backends.flat_map(|backend| ends(&backend.address, bound.offset(), answers));
            Some((bound, Node { at: own_end(bound)?, targets: targets.collect() }))
        })
        .unzip();
    match loops::find_circle(&nodes).as_deref() {
        None => Ok(()),
        Some([alone]) => {
            let (bound, node) = (sockets[*alone], &nodes[*alone]);
            let listener = bound.listener();
            let leads = |target: &Target| {
                ends(target, bound.offset(), answers).iter().any(|end| loops::leads_back(&node.at, end))
            };
            let mut targets = listener.pool.backends.iter().map(|backend| &backend.address);
            match targets.find(|target| leads(target)) {
                Some(target) => {
                    Err(StartError::Loop { listener: listener.name.clone(), target: target.clone() })
                }
                None => Ok(()),
            }
        }
        Some(circle) => {
            let stations = circle.iter().chain(circle.first());
            let told =
                stations.map(|&place| format!("{} ({})", sockets[place].listener().name, nodes[place].at));
            Err(StartError::Circle { circle: told.collect::<Vec<_>>().join(" -> ") })
        }
    }
}

/// Where connections come in.
fn own_end(bound: &Bound) -> Option<End> {
    bound.path().map(End::Unix).or_else(|| bound.address().map(End::Tcp))
}

/// Where connections to `target` go, for the listener at `offset` of its port range. What it was looked up with was 0.
fn ends(target: &Target, offset: u16, answers: &Answers) -> Vec<End> {
    let ports = match target {
        Target::Unix(path) => return vec![End::Unix(path.to_path_buf())],
        Target::Ip { ports, .. } | Target::Name { ports, .. } => Some(*ports),
        Target::Srv(_) => None,
    };
    let at = |address: &SocketAddr| {
        let port = ports.map_or(address.port(), |ports| ports.at(offset));
        End::Tcp(SocketAddr::new(address.ip(), port))
    };
    answers.get(target).into_iter().flatten().map(at).collect()
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
