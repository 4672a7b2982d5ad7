//! From names to addresses, through DNS.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver as Hickory, TokioResolver};
use tokio::time::timeout;
use towpath_config::Dns;
use towpath_wire::addr::HostName;

/// Hosts of a service that are looked up.
const SERVICE_HOSTS: usize = 64;

/// Addresses of one name that are used.
const ADDRESSES: usize = 1024;

/// Names that clients of a proxy gave, of which answers are kept.
const CACHED_NAMES: u64 = 4096;

/// A name that does not exist may do so soon.
const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// Looks names up.
pub struct Resolver {
    hickory: Option<TokioResolver>,
    limit: Duration,
}

/// What a name means for a while.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The hosts of a service; of a host, itself alone.
    pub hosts: Vec<Host>,
    /// When it is to be asked for again.
    pub valid_until: Instant,
}

/// The addresses of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its place in its service: the lowest is used first.
    pub priority: u16,
    /// Its share beside others of the same priority.
    pub weight: u16,
    /// Its port in its service.
    pub port: Option<u16>,
    /// What it is called.
    pub name: HostName,
    /// None only where nobody could tell them, as opposed to hosts that have none, which are left out.
    pub ips: Vec<IpAddr>,
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

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that asks the servers of `dns`, or those of /etc/resolv.conf where it names none. It works within the
    /// tokio runtime in which it is made, and keeps no answers.
    pub fn new(dns: &Dns) -> Self {
        Self::with_cache(dns, 0)
    }

    /// The same for names that clients give: it keeps answers for as long as they are valid.
    pub(crate) fn with_memory(dns: &Dns) -> Self {
        Self::with_cache(dns, CACHED_NAMES)
    }

    fn with_cache(dns: &Dns, names: u64) -> Self {
        let hickory = build(dns, names)
            .inspect_err(|error| tracing::warn!("names cannot be looked up: {error}; check /etc/resolv.conf"))
            .ok();
        Self { hickory, limit: dns.timeout }
    }

    /// All addresses of a host.
    ///
    /// # Errors
    /// When it has none, or nobody knows.
    pub async fn host(&self, name: &HostName) -> Result<Answer, ResolveError> {
        self.ask(name, async |hickory| look_up_host(hickory, name).await).await
    }

    /// Whether the name servers are sure that a host has no address of a family: a look-up of both succeeds with one alone.
    pub async fn lacks(&self, name: &HostName, v4: bool) -> bool {
        let Some(hickory) = &self.hickory else { return false };
        let asking = async {
            match v4 {
                true => hickory.ipv4_lookup(name.as_str()).await.err(),
                false => hickory.ipv6_lookup(name.as_str()).await.err(),
            }
        };
        let error = timeout(self.limit, asking).await.unwrap_or(None);
        error.is_some_and(|error| error.is_nx_domain() || error.is_no_records_found())
    }

    /// All hosts of a service, by its SRV records (RFC 2782).
    ///
    /// # Errors
    /// When it has none with an address, or nobody knows.
    pub async fn service(&self, name: &HostName) -> Result<Answer, ResolveError> {
        self.ask(name, async |hickory| look_up_service(hickory, name, self.limit / 2).await).await
    }

    async fn ask(
        &self,
        name: &HostName,
        look_up: impl AsyncFnOnce(&TokioResolver) -> Result<Answer, ResolveError>,
    ) -> Result<Answer, ResolveError> {
        let failed = |reason: &str| ResolveError::Failed { name: name.clone(), reason: reason.to_owned() };
        let hickory = self.hickory.as_ref().ok_or_else(|| failed("no name servers are known"))?;
        let answer = timeout(self.limit, look_up(hickory)).await;
        let answer = answer.unwrap_or_else(|_| Err(failed("the name servers do not answer")))?;
        if answer.hosts.is_empty() {
            return Err(ResolveError::NoAddress(name.clone()));
        }
        if answer.hosts.iter().all(|host| host.ips.is_empty()) {
            return Err(failed("the addresses of its hosts cannot be looked up"));
        }
        Ok(answer)
    }
}

fn build(dns: &Dns, names: u64) -> Result<TokioResolver, NetError> {
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
    options.cache_size = names;
    options.positive_min_ttl = Some(dns.ttl_min);
    options.positive_max_ttl = Some(dns.ttl_max);
    options.negative_max_ttl = Some(NEGATIVE_TTL.min(dns.ttl_max));
    builder.build()
}

async fn look_up_host(hickory: &TokioResolver, name: &HostName) -> Result<Answer, ResolveError> {
    let lookup = hickory.lookup_ip(name.as_str()).await.map_err(|error| explain(name, &error))?;
    let mut ips: Vec<IpAddr> = lookup.iter().collect();
    // v4 first: where v6 leads nowhere it does so slowly.
    ips.sort_by_key(IpAddr::is_ipv6);
    let mut seen = HashSet::new();
    ips.retain(|ip| seen.insert(*ip));
    if ips.len() > ADDRESSES {
        tracing::warn!("{name} has {} addresses; the first {ADDRESSES} are used", ips.len());
        ips.truncate(ADDRESSES);
    }
    let host = Host { priority: 0, weight: 1, port: None, name: name.clone(), ips };
    Ok(Answer { hosts: vec![host], valid_until: lookup.valid_until() })
}

/// A host that is not found within `limit` does not stop the others.
async fn look_up_service(
    hickory: &TokioResolver,
    name: &HostName,
    limit: Duration,
) -> Result<Answer, ResolveError> {
    let lookup = hickory.srv_lookup(name.as_str()).await.map_err(|error| explain(name, &error))?;
    let mut valid_until = lookup.valid_until();
    let services = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(service) => Some((service, service.target.to_string().parse::<HostName>().ok()?)),
        _ => None,
    });
    let look_ups = services.take(SERVICE_HOSTS).map(|(service, name)| async move {
        (service, timeout(limit, look_up_host(hickory, &name)).await, name)
    });
    let found = join_all(look_ups).await;
    let mut hosts = Vec::new();
    for (service, result, name) in found {
        let (priority, weight, port) = (service.priority, service.weight, Some(service.port));
        match result {
            Ok(Ok(answer)) => {
                valid_until = valid_until.min(answer.valid_until);
                let of_service = |host| Host { priority, weight, port, ..host };
                hosts.extend(answer.hosts.into_iter().map(of_service));
            }
            Err(_) | Ok(Err(ResolveError::Failed { .. })) => {
                valid_until = Instant::now();
                hosts.push(Host { priority, weight, port, name, ips: Vec::new() });
            }
            Ok(Err(_)) => {}
        }
    }
    Ok(Answer { hosts, valid_until })
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
