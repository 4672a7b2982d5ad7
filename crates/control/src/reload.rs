//! Loading the configuration again: when, from what, and what is told of it.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use towpath_config::{Config, Identity};

/// How often a watched file is looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

type Load = Box<dyn Fn() -> Result<Config, String>>;

/// How an instance comes to a new configuration.
pub(crate) struct Again {
    load: Load,
    watched: Vec<Watched>,
    /// Whether the configuration file itself is one of them.
    watches_itself: bool,
    looks: Interval,
}

/// A file that is looked at now and then.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    loaded: Look,
    seen: Look,
}

/// What changes when a file does.
type Look = Option<(u64, u64, i64, i64)>;

impl Watched {
    fn new(path: PathBuf) -> Self {
        let look = look(&path);
        Self { path, loaded: look, seen: look }
    }

    /// Whether it has changed since it was loaded, and stays as it is.
    fn has_changed(&mut self) -> bool {
        let now = look(&self.path);
        let rests = now == std::mem::replace(&mut self.seen, now);
        let has_changed = now.is_some() && now != self.loaded && rests;
        if has_changed {
            self.loaded = now;
        }
        has_changed
    }
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Again").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl Again {
    /// Within a runtime. `watch` is the configuration file, if changes of it count.
    pub(crate) fn new(load: Load, watch: Option<PathBuf>, config: &Config) -> Self {
        let mut looks = interval(LOOK_PAUSE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watches_itself = watch.is_some();
        let watched = watch.into_iter().map(Watched::new).collect();
        let mut again = Self { load, watched, watches_itself, looks };
        again.goes_over_to(config);
        again
    }

    /// Looks from now on at the files that `config` has read besides itself: certificates, keys and users.
    pub(crate) fn goes_over_to(&mut self, config: &Config) {
        let mut before: Vec<Watched> = self.watched.split_off(usize::from(self.watches_itself));
        for path in files_of(config) {
            let known = before.iter().position(|watched| watched.path == *path);
            let watched = known.map(|place| before.swap_remove(place));
            if !self.watched.iter().any(|watched| watched.path == *path) {
                self.watched.push(watched.unwrap_or_else(|| Watched::new(path.clone())));
            }
        }
    }

    /// The configuration as it is now, or every mistake in it.
    pub(crate) fn load(&self) -> Result<Config, String> {
        (self.load)()
    }

    /// Waits until a watched file has changed and stays as it is for a moment. What was seen is kept when the future is
    /// dropped.
    pub(crate) async fn changed(&mut self) {
        if self.watched.is_empty() {
            return std::future::pending().await;
        }
        loop {
            self.looks.tick().await;
            // All of them are looked at: a certificate changes together with its key.
            let changed: Vec<bool> = self.watched.iter_mut().map(Watched::has_changed).collect();
            if changed.contains(&true) {
                return;
            }
        }
    }
}

fn of_identity(identity: &Identity) -> [&PathBuf; 2] {
    [&identity.cert.path, &identity.key.path]
}

/// The files that a configuration has read.
fn files_of(config: &Config) -> impl Iterator<Item = &PathBuf> {
    let listeners = config.listeners.iter().flat_map(|listener| {
        let tls = listener.tls.iter();
        let identities = tls.clone().flat_map(|tls| &tls.identities).flat_map(of_identity);
        let authorities = tls.filter_map(|tls| tls.client_ca.as_ref()).map(|pem| &pem.path);
        let of_proxy = listener.proxy.iter().filter_map(|proxy| proxy.auth_file.as_ref());
        let rules = listener.http.iter().flat_map(|http| http.all_rules());
        let users = of_proxy.chain(rules.filter_map(|rules| rules.auth_file.as_ref())).map(|(path, _)| path);
        identities.chain(authorities).chain(users)
    });
    let pools = config.pools.iter().flat_map(|pool| {
        let hops = pool.via.iter().filter_map(|hop| hop.tls.as_ref());
        pool.tls.iter().chain(hops).flat_map(|tls| {
            let identity = tls.identity.iter().flat_map(of_identity);
            identity.chain(tls.ca.iter().map(|pem| &pem.path))
        })
    });
    listeners.chain(pools)
}

fn look(path: &Path) -> Look {
    let metadata = path.metadata().ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

/// What goes over from one configuration to the next, in a line; and in others, what waits for the next start.
pub(crate) fn summary(old: &Config, new: &Config) -> String {
    let mut text = format!(
        "reloaded: {}, {}",
        changes("listener", &old.listeners, &new.listeners, |listener| &listener.name),
        changes("pool", &old.pools, &new.pools, |pool| &pool.name),
    );
    let waiting = [
        ("workers", old.workers != new.workers),
        ("max_connections", old.max_connections != new.max_connections),
        ("[log]", old.log != new.log),
        ("[relay]", old.relay != new.relay),
        ("[admin]", old.admin != new.admin),
    ];
    for (what, _) in waiting.iter().filter(|(_, has_changed)| *has_changed) {
        text.push_str(&format!("\n{what} has changed: that takes effect at the next start"));
    }
    text.push('\n');
    text
}

/// How many things came, went and changed.
fn changes<'a, T: PartialEq>(
    what: &str,
    old: &'a [T],
    new: &'a [T],
    name: impl Fn(&'a T) -> &'a str,
) -> String {
    let was = |item: &'a T| old.iter().find(|other| name(other) == name(item));
    let added = new.iter().filter(|item| was(item).is_none()).count();
    let changed = new.iter().filter(|item| was(item).is_some_and(|other| other != *item)).count();
    let removed = old.len() - (new.len() - added);
    let unchanged = new.len() - added - changed;
    format!("{what}s: {unchanged} as before, {changed} changed, {added} added, {removed} removed")
}
