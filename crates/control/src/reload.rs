//! Loading the configuration again: when, from what, and what is told of it.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use towpath_config::Config;

/// How often a watched file is looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

type Load = Box<dyn Fn() -> Result<Config, String>>;

/// How an instance comes to a new configuration.
pub(crate) struct Again {
    load: Load,
    watched: Option<Watched>,
}

/// A file that is looked at now and then.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    loaded: Look,
    seen: Look,
    looks: Interval,
}

/// What changes when a file does.
type Look = Option<(u64, u64, i64, i64)>;

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Again").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl Again {
    /// Within a runtime.
    pub(crate) fn new(load: Load, watch: Option<PathBuf>) -> Self {
        let watched = watch.map(|path| {
            let look = look(&path);
            let mut looks = interval(LOOK_PAUSE);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Watched { path, loaded: look, seen: look, looks }
        });
        Self { load, watched }
    }

    /// The configuration as it is now, or every mistake in it.
    pub(crate) fn load(&self) -> Result<Config, String> {
        (self.load)()
    }

    /// Waits until the watched file has changed and stays as it is for a moment. What was seen is kept when the future is
    /// dropped.
    pub(crate) async fn changed(&mut self) {
        let Some(Watched { path, loaded, seen, looks }) = &mut self.watched else {
            return std::future::pending().await;
        };
        loop {
            looks.tick().await;
            let now = look(path);
            let rests = now == std::mem::replace(seen, now);
            if now.is_some() && now != *loaded && rests {
                *loaded = now;
                return;
            }
        }
    }
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
