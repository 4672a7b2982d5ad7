//! Finding the backends of a pool, and going on finding them while it is at work.

mod file;
mod members;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use towpath_config::{Backend, Dns};
use towpath_engine::{Answer, Member, Pool, Reason, ResolveError, Resolver};
use towpath_wire::addr::Target;

use file::WatchedFile;

use crate::layout::Layout;

/// How often a file of backends is looked at.
const FILE_PAUSE: Duration = Duration::from_secs(1);

/// A name that could not be looked up is asked for again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// Where the backends of a pool come from, and what was found there last.
#[derive(Debug)]
pub(crate) struct Discovery {
    pool: Arc<Pool>,
    dns: Dns,
    entries: Vec<Entry>,
    file: Option<WatchedFile>,
}

/// One backend as it is written down.
#[derive(Debug)]
struct Entry {
    backend: Backend,
    /// The last good answer for its name.
    answer: Option<Answer>,
    /// When to ask for it; `None` for one without a name.
    due: Option<Instant>,
    /// Why there is no answer at all.
    missing: Option<ResolveError>,
}

impl Entry {
    /// `is_far` says that names are looked up by a proxy on the way, not here.
    fn new(backend: Backend, is_far: bool) -> Self {
        let has_name = match backend.address {
            Target::Name { .. } => !is_far,
            Target::Srv(_) => true,
            Target::Ip { .. } | Target::Unix(_) => false,
        };
        Self { backend, answer: None, due: has_name.then(Instant::now), missing: None }
    }

    /// Asks for its name. Returns whether the answer is another than before. The last good one stays when there is no new
    /// one. `is_first` says that a name which does not exist is told elsewhere, as a mistake.
    async fn look_up(&mut self, pool: &str, resolver: &Resolver, dns: &Dns, is_first: bool) -> bool {
        let result = match &self.backend.address {
            Target::Name { host, .. } => resolver.host(host).await,
            Target::Srv(name) => resolver.service(name).await,
            Target::Ip { .. } | Target::Unix(_) => return false,
        };
        let now = Instant::now();
        match result {
            Ok(mut answer) => {
                self.complete(&mut answer);
                self.keep_family(&mut answer, resolver).await;
                self.due = Some(answer.valid_until.clamp(now + dns.ttl_min, now + dns.ttl_max));
                let hosts = |answer: &Answer| members::sorted(&answer.hosts);
                let is_new = self.answer.as_ref().map(hosts) != Some(hosts(&answer));
                if self.missing.take().is_some() {
                    tracing::info!("pool {pool}: {} is found again", self.backend.address);
                }
                self.answer = Some(answer);
                is_new
            }
            Err(error) => {
                self.due = Some(now + RETRY.max(dns.ttl_min));
                let is_new = self.missing.is_none();
                let is_mistake = is_first && !matches!(error, ResolveError::Failed { .. });
                if is_new && !is_mistake {
                    let last = if self.answer.is_some() { "; going on with the last answer" } else { "" };
                    tracing::warn!("pool {pool}: {error}{last}");
                }
                self.missing = Some(error);
                false
            }
        }
    }

    /// Gives hosts of a service whose addresses could not be looked up those of the last answer.
    fn complete(&self, answer: &mut Answer) {
        let last = self.answer.as_ref().map_or(&[][..], |answer| &answer.hosts);
        for host in answer.hosts.iter_mut().filter(|host| host.ips.is_empty()) {
            let known = last.iter().find(|known| (&known.name, known.port) == (&host.name, host.port));
            host.ips = known.map(|known| known.ips.clone()).unwrap_or_default();
        }
    }

    /// Gives a host the addresses that it had of a family, when there are none now and the name servers are not sure of that.
    async fn keep_family(&self, answer: &mut Answer, resolver: &Resolver) {
        let Target::Name { host: name, .. } = &self.backend.address else { return };
        let (Some(last), Some(host)) = (&self.answer, answer.hosts.first_mut()) else { return };
        for v4 in [true, false] {
            let had: Vec<_> =
                last.hosts.iter().flat_map(|host| &host.ips).filter(|ip| ip.is_ipv4() == v4).collect();
            let has_some = host.ips.iter().any(|ip| ip.is_ipv4() == v4);
            if !had.is_empty() && !has_some && !resolver.lacks(name, v4).await {
                host.ips.extend(had);
            }
        }
    }

    /// Whether nobody could tell so far what its name means.
    fn is_unknown(&self) -> bool {
        self.answer.is_none() && matches!(self.missing, Some(ResolveError::Failed { .. }))
    }
}

impl Discovery {
    /// The backends that the configuration of `pool` names.
    pub(crate) fn new(pool: Arc<Pool>, dns: Dns) -> Self {
        let is_far = pool.config.leaves_names;
        let entries =
            pool.config.backends.iter().cloned().map(|backend| Entry::new(backend, is_far)).collect();
        let file = pool.config.backends_file.clone().map(WatchedFile::new);
        Self { pool, dns, entries, file }
    }

    /// Finds all of them for the first time.
    ///
    /// # Errors
    /// The first name that does not exist, or the file that cannot be read. A name that cannot be looked up now may come
    /// back, and is only warned of.
    pub(crate) async fn first(&mut self, resolver: &Resolver) -> Result<(), DiscoverError> {
        if let Some(file) = &mut self.file {
            let found =
                file.read().map_err(|reason| DiscoverError::File { path: file.path().clone(), reason })?;
            let is_far = self.pool.config.leaves_names;
            self.entries.extend(found.into_iter().map(|backend| Entry::new(backend, is_far)));
        }
        let (pool, dns) = (&self.pool.config.name, &self.dns);
        let lookups = self.entries.iter_mut().filter(|entry| entry.due.is_some());
        futures_util::future::join_all(lookups.map(|entry| entry.look_up(pool, resolver, dns, true))).await;
        let missing = self.entries.iter().filter_map(|entry| entry.missing.clone());
        match missing.into_iter().find(|error| !matches!(error, ResolveError::Failed { .. })) {
            Some(error) => Err(DiscoverError::Name(error)),
            None => {
                self.publish(|_| true);
                Ok(())
            }
        }
    }

    /// Keeps the pool's backends true for as long as it is polled. What would lead back to a listener of those `running`
    /// is not taken.
    pub(crate) async fn go_on(mut self, running: watch::Receiver<Arc<Layout>>) {
        let resolver = Resolver::new(&self.dns);
        loop {
            let due = self.entries.iter().filter_map(|entry| entry.due);
            let file = self.file.is_some().then(|| Instant::now() + FILE_PAUSE);
            let Some(next) = due.chain(file).min() else { return };
            sleep_until(next.into()).await;
            if self.read_file() | self.look_up_due(&resolver).await {
                let running = running.borrow().clone();
                self.publish(|member| self.goes_on(&running, member));
                let (name, count) = (&self.pool.config.name, self.pool.backends().len());
                tracing::info!("pool {name} has {count} backends now");
            }
        }
    }

    async fn look_up_due(&mut self, resolver: &Resolver) -> bool {
        let (pool, dns, now) = (&self.pool.config.name, &self.dns, Instant::now());
        let due = self.entries.iter_mut().filter(|entry| entry.due.is_some_and(|due| due <= now));
        let news =
            futures_util::future::join_all(due.map(|entry| entry.look_up(pool, resolver, dns, false))).await;
        news.contains(&true)
    }

    /// Takes over what has changed in the file. Its last good content stays when it has mistakes or is gone.
    fn read_file(&mut self) -> bool {
        let Some(file) = &mut self.file else { return false };
        let name = &self.pool.config.name;
        let found = match file.read_if_changed() {
            None => return false,
            Some(Err(reason)) => {
                tracing::warn!("pool {name}: {}: {reason}; going on as before", file.path().display());
                return false;
            }
            Some(Ok(found)) => found,
        };
        let written = self.pool.config.backends.len();
        let is_far = self.pool.config.leaves_names;
        let mut before: Vec<Entry> = self.entries.drain(written..).collect();
        for backend in found {
            let known = before.iter().position(|entry| entry.backend == backend);
            self.entries
                .push(known.map_or_else(|| Entry::new(backend, is_far), |place| before.swap_remove(place)));
        }
        true
    }

    /// Whether connections to `member` go on from here, and do not come back to a listener.
    fn goes_on(&self, running: &Layout, member: &Member) -> bool {
        let is_known = self.pool.backends().iter().any(|known| known.member.place == member.place);
        let leads_back = !is_known && running.leads_back(&self.pool, &member.place);
        if leads_back {
            let (pool, Member { place, target, .. }) = (&self.pool.config.name, member);
            tracing::warn!("pool {pool}: {target} is {place} now, which leads back to a listener: not used");
        }
        !leads_back
    }

    fn publish(&self, takes: impl Fn(&Member) -> bool) {
        let mut found: Vec<Member> = members::members(self.entries.iter().map(|entry| {
            let hosts = entry.answer.as_ref().map_or(&[][..], |answer| &answer.hosts);
            (&entry.backend, hosts, entry.due.is_none())
        }));
        // A reload while the name servers fail: what was known before it stays.
        let before = self.pool.backends();
        for entry in self.entries.iter().filter(|entry| entry.is_unknown()) {
            let known = before.iter().map(|known| &known.member);
            found.extend(members::as_now(&entry.backend, known, &found));
        }
        found.retain(takes);
        let missing = self.entries.iter().find_map(|entry| entry.missing.as_ref());
        self.pool.set_members(found, missing.map(Reason::from));
    }
}

/// Why the backends of a pool cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A name has no address.
    #[error("{0}; check the spelling, or the name servers in /etc/resolv.conf or [dns]")]
    Name(ResolveError),
    /// A file of backends cannot be used.
    #[error("backends_file {}: {reason}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it, with its line.
        reason: String,
    },
}
