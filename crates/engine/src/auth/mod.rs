//! Whether those who log in are users. Hashes are slow, so right ones are kept in mind, and those who guess wait.

mod back_off;
mod basic;
mod cache;
mod hash;
mod line;
#[cfg(test)]
mod tests;
mod users;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use towpath_config::{Login, Proxy, Secret};

use crate::visitor::visitor;
use back_off::BackOff;
use cache::{Cache, Finding, Known};
use line::Line;
use users::{Trial, Users};

pub(crate) use basic::basic;
pub use users::check_user_name;

/// Who may use a proxy, if not everybody.
pub(crate) fn of_proxy(proxy: &Proxy) -> Option<Authenticator> {
    of_rules(&proxy.users, proxy.auth_file.as_ref())
}

/// Those who log in, if not everybody may ask.
pub(crate) fn of_rules(logins: &[Login], file: Option<&(PathBuf, Secret)>) -> Option<Authenticator> {
    let has_users = !logins.is_empty() || file.is_some();
    // Where something is wrong with them, which `check_users` tells, nobody may.
    has_users.then(|| Authenticator::new(read_users(logins, file).unwrap_or_default()))
}

/// Fails with all that is wrong with the users of a proxy, and what to do about it.
pub fn check_users(logins: &[Login], file: Option<&(PathBuf, Secret)>) -> Result<(), Vec<String>> {
    read_users(logins, file).map(drop)
}

fn read_users(logins: &[Login], file: Option<&(PathBuf, Secret)>) -> Result<Users, Vec<String>> {
    let mut faults = Vec::new();
    let mut users = Users::default();
    if let Some((path, text)) = file {
        match Users::parse_file(text.reveal()) {
            Ok(read) => users = read,
            Err(found) => faults.extend(found.iter().map(|fault| format!("{}: {fault}", path.display()))),
        }
    }
    for login in logins {
        faults.extend(users.add_plain(&login.name, login.password.reveal()).err());
    }
    if faults.is_empty() { Ok(users) } else { Err(faults) }
}

/// The users of a listener, and what is known of those who logged in. All workers share it.
#[derive(Debug)]
pub(crate) struct Authenticator {
    users: Arc<Users>,
    cache: Arc<Cache>,
    back_off: Arc<BackOff>,
    line: Arc<Line>,
}

/// Whether a login is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is this user's.
    Welcome(Arc<str>),
    /// It is nobody's.
    Wrong,
    /// There are too many others, of all clients or of this one; nothing was looked at.
    Busy,
}

impl Authenticator {
    pub(crate) fn new(users: Users) -> Self {
        Self {
            users: Arc::new(users),
            cache: Arc::new(Cache::new()),
            back_off: Arc::new(BackOff::new()),
            line: Arc::new(Line::new()),
        }
    }

    /// The one that a new configuration makes of this one: with the users of `new`, but guessers stay known.
    pub(crate) fn renewed(&self, new: &Self) -> Self {
        Self {
            users: new.users.clone(),
            cache: new.cache.clone(),
            back_off: self.back_off.clone(),
            line: self.line.clone(),
        }
    }

    /// Whether `name` is a user and has this password. Takes a long time for clients that guess. Those at a unix socket,
    /// which have no address, never wait: they may be many behind one proxy.
    pub(crate) async fn check(&self, client: Option<IpAddr>, name: &[u8], password: &[u8]) -> Verdict {
        let client = client.map(visitor);
        let wait = client.map(|client| BackOff::enter(&self.back_off, client, Instant::now()));
        let Ok(wait) = wait.transpose() else { return Verdict::Busy };
        let wait = wait.flatten();
        if let Some(wait) = &wait {
            sleep(wait.time).await;
        }
        let trial = self.users.trial(name, password);
        if trial.is_quick() {
            return note(&self.back_off, client, trial.outcome(password));
        }
        loop {
            match Cache::look_up(&self.cache, name, password, Instant::now()) {
                Known::Right(user) => return note(&self.back_off, client, Some(user)),
                Known::Nothing(finding) => return self.find_out(finding, trial, client, password).await,
                Known::Underway(underway) => {
                    if let Ok(user) = underway.found().await {
                        return note(&self.back_off, client, user);
                    }
                }
            }
        }
    }

    /// Verifies a hash, beside the worker. That goes on to its end without the caller, so that a client that leaves early
    /// has guessed all the same.
    async fn find_out(
        &self,
        finding: Finding,
        trial: Trial,
        client: Option<IpAddr>,
        password: &[u8],
    ) -> Verdict {
        let Some(place) = Line::join(&self.line, client) else { return Verdict::Busy };
        let Ok(turn) = place.turn().await else { return Verdict::Busy };
        let back_off = self.back_off.clone();
        let password = password.to_vec();
        let work = spawn_blocking(move || {
            let user = trial.outcome(&password);
            drop(turn); // before anybody hears of it and comes again
            let verdict = note(&back_off, client, user.clone());
            finding.settle(user, Instant::now());
            verdict
        });
        work.await.unwrap_or(Verdict::Busy)
    }
}

fn note(back_off: &BackOff, client: Option<IpAddr>, user: Option<Arc<str>>) -> Verdict {
    if let Some(client) = client {
        back_off.note(client, user.is_some(), Instant::now());
    }
    user.map_or(Verdict::Wrong, Verdict::Welcome)
}
