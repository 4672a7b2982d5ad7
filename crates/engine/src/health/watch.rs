//! Checking the backends of a pool for as long as it is at work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;
use towpath_config::Check;

use super::checked::Checked;
use super::{Door, Way, ask};
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
            backend.set_unchecked(Instant::now());
        }
        return;
    };
    let mut news = pool.member_news();
    let mut watched: Vec<Watched> = Vec::new();
    loop {
        let backends = pool.backends();
        watched.retain(|one| backends.iter().any(|backend| backend.is_same(&one.backend)));
        for backend in backends {
            if watched.iter().any(|one| backend.is_same(&one.backend)) {
                continue;
            }
            let task = spawn_local(keep_asking(pool.clone(), check.clone(), backend.clone()));
            watched.push(Watched { backend, task: task.abort_handle() });
        }
        if news.changed().await.is_err() {
            return;
        }
    }
}

async fn keep_asking(pool: Arc<Pool>, check: Check, backend: Arc<Backend>) {
    let mut checked = Checked::go_on(backend.checked());
    let (name, place): (_, &Place) = (&pool.config.name, &backend.member.place);
    let door = match place.at(0) {
        Address::Tcp(address) => Door::Tcp(address),
        Address::Unix(path) => Door::Unix(path.as_path()),
        Address::Name(name, port) => Door::Name(name, port),
    };
    loop {
        let result = ask(&check, door, Way::of(&pool, &backend.member, &check, door)).await;
        if let Err(error) = &result
            && error.is_ours()
        {
            tracing::debug!("pool {name}: backend {place} cannot be checked: {error}");
            sleep(check.down_interval).await;
            continue;
        }
        checked.note(result.is_ok(), &check);
        if backend.set_up(Instant::now(), checked.is_up()) {
            match result {
                Ok(()) => tracing::info!("pool {name}: backend {place} is up"),
                Err(error) => tracing::warn!("pool {name}: backend {place} is down: {error}"),
            }
        }
        sleep(checked.pause(&check, fastrand::f64()).max(Duration::from_millis(1))).await;
    }
}
