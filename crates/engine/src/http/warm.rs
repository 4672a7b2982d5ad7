//! Connections to backends that are made before there is a request for them.

use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::idle::Way;
use super::server::Server;
use crate::chain::{self, Connecting};
use crate::early::Speaks;
use crate::listen::Door;
use crate::pool::Standing;
use crate::stream::Stream;
use crate::worker::Worker;

/// How often those that were used or closed are replaced.
const LOOKS: Duration = Duration::from_millis(500);

/// Keeps connections ready for the clients of a door, for as long as there are any. Asleep while no pool wants that.
pub(crate) async fn keep_warm(worker: Weak<Worker>, door: std::sync::Weak<Door>) {
    loop {
        let (Some(worker), Some(door)) = (worker.upgrade(), door.upgrade()) else { return };
        if worker.is_draining() {
            return;
        }
        // Before the look at where it leads, so that no change is missed.
        let change = door.change();
        let (source, offset) = (door.source(), door.offset);
        drop(door);
        let pools = source.rulebook.iter().flat_map(|book| book.pools());
        let mut pools = pools.filter(|pool| pool.config.http.warm > 0).peekable();
        if pools.peek().is_some() {
            // One that is slow to connect to keeps the others of none.
            let all = pools.flat_map(|pool| pool.backends().into_iter().map(move |backend| (pool, backend)));
            join_all(all.map(async |(pool, backend)| {
                warm(&worker, Way { pool, backend: &backend, offset }).await;
            }))
            .await;
        } else {
            drop(pools);
            drop(source);
            tokio::select! {
                () = change => {}
                () = worker.draining() => return,
            }
        }
        drop(worker);
        // A door that has closed is gone by then.
        sleep(LOOKS).await;
    }
}

async fn warm(worker: &Rc<Worker>, way: Way<'_>) {
    let is_open = || way.backend.standing(std::time::Instant::now()) == Standing::Open;
    while !worker.idle.is_warm(way) && is_open() {
        // One that fails is a matter for those with requests.
        let Some(stream) = connect(way).await else { return };
        if !way.pool.config.http.is_h2 {
            worker.idle.put(way, stream, None);
        } else if Server::open(worker, stream, way).await.is_err() {
            return;
        }
    }
}

async fn connect(Way { pool, backend, offset }: Way<'_>) -> Option<Stream> {
    let address = backend.member.place.at(offset);
    match chain::connect(address, &backend.member, pool, None, &Speaks::Later).ok()? {
        Connecting::Done(stream) => Some(stream),
        Connecting::Pending(pending) => timeout(pool.config.connect_timeout, pending).await.ok()?.ok(),
    }
}
