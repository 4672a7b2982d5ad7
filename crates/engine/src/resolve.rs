//! From a target to the addresses to try, through DNS where it has a name.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver as Hickory, TokioResolver};
use tokio::time::timeout;
use towpath_config::Dns;
use towpath_wire::addr::{HostName, Target};

/// Answers are kept at least so long, whatever their TTL: a TTL of 0 must not cost a query a connection.
const TTL_FLOOR: Duration = Duration::from_secs(1);

/// An answer that has run out is used for so long when no new one can be had, before the servers are asked again.
const STALE: Duration = Duration::from_secs(30);

/// Names whose answers are kept; beyond it the cache starts anew.
const CACHED_NAMES: usize = 4096;

/// Hosts of a service that are looked up.
const SERVICE_HOSTS: usize = 64;

/// Looks names up, and keeps each answer for its TTL. One for each event loop.
pub struct Resolver {
    hickory: Option<TokioResolver>,
    limit: Duration,
    answers: RefCell<HashMap<Question, Answer>>,
}

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name servers are sure that it does not exist.
    #[error("no such host: {0}")]
    NoSuchHost(HostName),
    /// It exists, without an address.
    #[error("{0} has no address")]
    NoAddress(HostName),
    /// Nobody knows: no answer, or a bad one.
    #[error("cannot look up {name}: {reason}")]
    Failed {
        /// What was asked for.
        name: HostName,
        /// What went wrong.
        reason: String,
    },
}

/// The addresses of one host; a service has several, each with its place in the service and its own port.
#[derive(Clone, Debug)]
struct Host {
    priority: u16,
    weight: u16,
    port: Option<u16>,
    ips: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    Host(HostName),
    Service(HostName),
}

struct Answer {
    hosts: Rc<[Host]>,
    valid_until: Instant,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that asks the servers of `dns`, or those of /etc/resolv.conf where it names none. It works within the
    /// tokio runtime in which it is made.
    pub fn new(dns: &Dns) -> Self {
        let hickory = build(dns)
            .inspect_err(|error| tracing::warn!("names cannot be looked up: {error}; check /etc/resolv.conf"))
            .ok();
        Self { hickory, limit: dns.timeout, answers: RefCell::default() }
    }

    /// All addresses of a TCP target in the order to try them, for the listener at `offset` of its port range; none for
    /// a unix target.
    ///
    /// # Errors
    /// When it has a name and the name has no address.
    pub async fn addresses(&self, target: &Target, offset: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let (question, ports) = match target {
            Target::Unix(_) => return Ok(Vec::new()),
            Target::Ip { ip, ports } => return Ok(vec![SocketAddr::new(*ip, ports.at(offset))]),
            Target::Name { host, ports } => (Question::Host(host.clone()), Some(*ports)),
            Target::Srv(name) => (Question::Service(name.clone()), None),
        };
        let hosts = match self.cached(&question) {
            Some(hosts) => hosts,
            None => Box::pin(self.ask(question)).await?,
        };
        let port = |host: &Host| host.port.or(ports.map(|ports| ports.at(offset))).unwrap_or_default();
        let addresses =
            |host: &Host| host.ips.iter().map(|ip| SocketAddr::new(*ip, port(host))).collect::<Vec<_>>();
        Ok(match &*hosts {
            [host] => addresses(host),
            hosts => draw(hosts).flat_map(addresses).collect(),
        })
    }

    /// All addresses of a host that towpath listens on.
    ///
    /// # Errors
    /// When the name has no address.
    pub async fn host(&self, name: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        let hosts = self.ask(Question::Host(name.clone())).await?;
        Ok(hosts.iter().flat_map(|host| host.ips.iter().copied()).collect())
    }

    fn cached(&self, question: &Question) -> Option<Rc<[Host]>> {
        let answers = self.answers.borrow();
        let answer = answers.get(question)?;
        (answer.valid_until > Instant::now()).then(|| answer.hosts.clone())
    }

    /// The answer that was good last, for a while longer: better than none while the name servers are silent.
    fn last_answer(&self, question: &Question) -> Option<Rc<[Host]>> {
        let mut answers = self.answers.borrow_mut();
        let answer = answers.get_mut(question)?;
        answer.valid_until = Instant::now() + STALE;
        tracing::warn!("name servers do not answer for {question:?}; going on with the last answer");
        Some(answer.hosts.clone())
    }

    async fn ask(&self, question: Question) -> Result<Rc<[Host]>, ResolveError> {
        let name = match &question {
            Question::Host(name) | Question::Service(name) => name.clone(),
        };
        let failed = |reason: &str| ResolveError::Failed { name: name.clone(), reason: reason.to_owned() };
        let hickory = self.hickory.as_ref().ok_or_else(|| failed("no name servers are known"))?;
        let lookup = async {
            match &question {
                Question::Host(name) => look_up_host(hickory, name).await,
                Question::Service(name) => look_up_service(hickory, name).await,
            }
        };
        let answer = timeout(self.limit, lookup).await;
        let (hosts, valid_until) =
            match answer.unwrap_or_else(|_| Err(failed("the name servers do not answer"))) {
                Err(error @ ResolveError::Failed { .. }) => {
                    return self.last_answer(&question).ok_or(error);
                }
                answer => answer?,
            };
        if hosts.is_empty() {
            return Err(ResolveError::NoAddress(name));
        }
        let hosts: Rc<[Host]> = hosts.into();
        let valid_until = valid_until.max(Instant::now() + TTL_FLOOR);
        let mut answers = self.answers.borrow_mut();
        if answers.len() >= CACHED_NAMES {
            answers.clear();
        }
        answers.insert(question, Answer { hosts: hosts.clone(), valid_until });
        Ok(hosts)
    }
}

fn build(dns: &Dns) -> Result<TokioResolver, NetError> {
    let mut builder = if dns.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = dns.servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        Hickory::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = dns.timeout / 2;
    options.attempts = 2;
    builder.build()
}

async fn look_up_host(
    hickory: &TokioResolver,
    name: &HostName,
) -> Result<(Vec<Host>, Instant), ResolveError> {
    let lookup = hickory.lookup_ip(name.as_str()).await.map_err(|error| explain(name, &error))?;
    let mut ips: Vec<IpAddr> = lookup.iter().collect();
    // v4 first: where v6 leads nowhere it does so slowly.
    ips.sort_by_key(IpAddr::is_ipv6);
    let mut seen = HashSet::new();
    ips.retain(|ip| seen.insert(*ip));
    let host = Host { priority: 0, weight: 0, port: None, ips };
    Ok((vec![host], lookup.valid_until()))
}

async fn look_up_service(
    hickory: &TokioResolver,
    name: &HostName,
) -> Result<(Vec<Host>, Instant), ResolveError> {
    let lookup = hickory.srv_lookup(name.as_str()).await.map_err(|error| explain(name, &error))?;
    let mut valid_until = lookup.valid_until();
    let services = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(service) => Some(service),
        _ => None,
    });
    let mut hosts = Vec::new();
    for service in services.take(SERVICE_HOSTS) {
        let Ok(target) = service.target.to_string().parse::<HostName>() else { continue };
        let Ok((found, until)) = look_up_host(hickory, &target).await else { continue };
        valid_until = valid_until.min(until);
        let (priority, weight, port) = (service.priority, service.weight, Some(service.port));
        hosts.extend(found.into_iter().map(|host| Host { priority, weight, port, ..host }));
    }
    Ok((hosts, valid_until))
}

/// The hosts of a service in the order to try them once: lowest priority first and within one by weighted lot, drawn
/// anew for each connection (RFC 2782).
fn draw(hosts: &[Host]) -> impl Iterator<Item = &Host> {
    let mut drawn: Vec<_> = hosts
        .iter()
        .map(|host| {
            // Lots without replacement: the least of exponential variables (Efraimidis and Spirakis, 2006).
            let lot = -fastrand::f64().ln() / (f64::from(host.weight) + 0.01);
            (host.priority, lot, host)
        })
        .collect();
    drawn.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    drawn.into_iter().map(|(_, _, host)| host)
}

fn explain(name: &HostName, error: &NetError) -> ResolveError {
    if error.is_nx_domain() {
        ResolveError::NoSuchHost(name.clone())
    } else if error.is_no_records_found() {
        ResolveError::NoAddress(name.clone())
    } else {
        ResolveError::Failed { name: name.clone(), reason: error.to_string() }
    }
}
