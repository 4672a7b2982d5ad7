//! Checking the backends of a pool for as long as it is at work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;
use towpath_config::Check;

use super::checked::{Change, Checked};
use super::{Door, ask};
use crate::place::{Address, Place};
use crate::pool::{Backend, Pool};

/// One check under way, which ends with this.
struct Watched {
    backend: Arc<Backend>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Checks the backends of a pool as its configuration says, those that come later too, for as long as it is polled.
/// Within a local runtime.
pub async fn watch_health(pool: Arc<Pool>) {
    let Some(check) = pool.config.check.clone() else {
        // What checks said before a reload took them away counts no more.
        for backend in pool.backends() {
            backend.set_up(Instant::now(), true);
        }
        return;
    };
    let mut news = pool.member_news();
    let mut watched: Vec<Watched> = Vec::new();
    loop {
        let backends = pool.backends();
        watched.retain(|one| backends.iter().any(|backend| Arc::ptr_eq(backend, &one.backend)));
        for backend in backends {
            if watched.iter().any(|one| Arc::ptr_eq(&backend, &one.backend)) {
                continue;
            }
            let task = spawn_local(keep_asking(pool.config.name.clone(), check.clone(), backend.clone()));
            watched.push(Watched { backend, task: task.abort_handle() });
        }
        if news.changed().await.is_err() {
            return;
        }
    }
}

async fn keep_asking(pool: Arc<str>, check: Check, backend: Arc<Backend>) {
    let mut checked = Checked::default();
    loop {
        let result = match backend.member.place.at(0) {
            Address::Tcp(address) => ask(&check, Door::Tcp(address)).await,
            Address::Unix(path) => ask(&check, Door::Unix(path.as_path())).await,
        };
        let place: &Place = &backend.member.place;
        if let Err(error) = &result
            && error.is_ours()
        {
            tracing::debug!("pool {pool}: backend {place} cannot be checked: {error}");
            sleep(check.down_interval).await;
            continue;
        }
        match checked.note(result.is_ok(), &check) {
            Some(Change::Up) => {
                backend.set_up(Instant::now(), true);
                tracing::info!("pool {pool}: backend {place} is up");
            }
            Some(Change::Down) => {
                backend.set_up(Instant::now(), false);
                let why = result.err().map(|error| error.to_string()).unwrap_or_default();
                tracing::warn!("pool {pool}: backend {place} is down: {why}");
            }
            // One that was down before this task began, as across a reload, is up with its first good check.
            None if result.is_ok() && checked.is_up() && backend.set_up(Instant::now(), true) => {
                tracing::info!("pool {pool}: backend {place} is up");
            }
            None => {}
        }
        sleep(checked.pause(&check, fastrand::f64()).max(Duration::from_millis(1))).await;
    }
}
