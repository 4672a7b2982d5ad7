//! The search of one client for a server: backends in turn, beside each other, and again.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::coop::consume_budget;

use crate::attempts::Failure;
use crate::chain;
use crate::early::Speaks;
use crate::error::{ConnectError, Reason};
use crate::flow::Flow;
use crate::outbound::Connecting;
use crate::pool::{Backend, Lease, Picked, Pool, Standing, hash_key};
use crate::race::{News, Race};
use crate::search::Search;
use crate::stream::Stream;

/// A connection to a backend.
pub(crate) enum Way<K> {
    /// One that was made for this.
    New(Stream),
    /// One that was there.
    Kept(K),
}

impl Way<Infallible> {
    /// The connection, where there are only new ones.
    pub(crate) fn stream(self) -> Stream {
        match self {
            Self::New(stream) => stream,
        }
    }
}

/// For those that keep no connections.
pub(crate) fn nothing_kept(_: &Arc<Pool>, _: &Lease, _: Instant) -> Option<Infallible> {
    None
}

/// For those that need not know when a client has gone.
pub(crate) fn stays(_: &mut Context<'_>) -> Poll<()> {
    Poll::Pending
}

/// Connects to the first server that answers: backends in the order of the pool's balance, none twice while another is
/// left, a second one beside the first when that is silent; and while none works, again, for as long as the pool holds
/// its clients.
///
/// `hangup` tells that the client has gone; what leaves early as the client `speaks` comes to no second server that may not have it; `key` is the hash that the balance goes by, where it is not one of connections; `kept`
/// may have a connection to a backend already, by a clock that was read just now.
pub(crate) async fn reach<K>(
    flow: &mut Flow,
    mut hangup: impl FnMut(&mut Context<'_>) -> Poll<()>,
    speaks: &Speaks,
    key: Option<u64>,
    kept: impl Fn(&Arc<Pool>, &Lease, Instant) -> Option<K>,
) -> Option<(Lease, Way<K>)> {
    let pool = flow.pool().clone();
    let key = key.unwrap_or_else(|| hash_key(pool.config.balance, flow.client, flow.server_name()));
    let introduces = pool.config.send_proxy.is_some() && matches!(speaks, Speaks::Later);
    let speaks = if introduces { &Speaks::AtOnce } else { speaks };
    let mut now = Instant::now();
    let (mut search, mut race) = (Search::new(&pool, now), Race::default());
    loop {
        let mut pause = None;
        if race.may_join() && (race.is_empty() || speaks.may_go_again()) {
            let was_tried = |backend: &Backend| race.has(backend) || flow.has_tried(backend);
            match pick(&mut search, now, key, flow.preferred(), was_tried) {
                Picked::Backend(server) => {
                    flow.tries(&server);
                    if let Some(connection) = kept(&pool, &server, now) {
                        race.leave(&pool);
                        return Some((server, Way::Kept(connection)));
                    }
                    let begun = Instant::now();
                    let address = server.member.place.at(flow.offset);
                    match chain::connect(address, &server.member, &pool, flow.client, speaks) {
                        Ok(Connecting::Done(stream)) => {
                            pool.note_connected(&server, begun.elapsed());
                            race.leave(&pool);
                            return Some((server, Way::New(stream)));
                        }
                        Ok(Connecting::Pending(pending)) => race.join(server, pending, pool.hedge_after()),
                        Err(error) => {
                            note_failure(flow, &pool, &server, &error);
                            consume_budget().await;
                        }
                    }
                    now = Instant::now();
                    continue;
                }
                nothing => {
                    race.close();
                    match search.wait(&nothing, flow.attempts()) {
                        Ok(time) => pause = Some(time),
                        Err(_) if !race.is_empty() => {}
                        Err(reason) => {
                            flow.not_connected(reason);
                            return None;
                        }
                    }
                }
            }
        }
        match unless_gone(flow, &mut hangup, news(&mut race, &search, pause)).await? {
            News::Reached(server, stream) => {
                race.leave(&pool);
                return Some((server, Way::New(stream)));
            }
            News::Failed(server, error) => {
                note_failure(flow, &pool, &server, &error);
                if race.is_empty() && !speaks.may_go_again() {
                    return None; // it may have come to this one
                }
            }
            News::Open => {
                search.start_round(flow.attempts());
                race.open();
            }
            News::Late => {
                race.leave(&pool);
                flow.not_connected(Reason::ConnectTimedOut);
                return None;
            }
        }
        now = Instant::now();
    }
}

/// A backend that was not tried: the one that the client has a cookie of, while it takes connections, or else by the balance.
fn pick(
    search: &mut Search<'_>,
    now: Instant,
    key: u64,
    preferred: Option<&Arc<Backend>>,
    was_tried: impl Fn(&Backend) -> bool,
) -> Picked {
    if let Some(preferred) = preferred
        && preferred.standing(now) == Standing::Open
        && let picked @ Picked::Backend(_) =
            search.pick(now, key, |other| !other.is_same(preferred) || was_tried(other))
    {
        return picked;
    }
    search.pick(now, key, was_tried)
}

/// What happens next: in the race, or after a `pause`, before which a backend may come up.
async fn news(race: &mut Race, search: &Search<'_>, pause: Option<Duration>) -> News {
    let Some(pause) = pause else { return race.news(search.pool(), search.end()).await };
    if race.is_empty() {
        search.change(pause).await;
        return News::Open;
    }
    tokio::select! {
        biased;
        news = race.news(search.pool(), search.end()) => news,
        () = search.change(pause) => News::Open,
    }
}

fn note_failure(flow: &mut Flow, pool: &Pool, server: &Lease, error: &ConnectError) {
    let reason = Reason::from(error);
    tracing::debug!("pool {}: backend {}: {error}", pool.config.name, server.member.place);
    pool.note_failure(server, server.probe(), reason);
    flow.tries(server);
    flow.not_connected(reason);
    flow.attempts().failed(server, if error.may_pass() { Failure::Down } else { Failure::Never });
}

/// What `work` comes to, unless the client resets its connection before: that is noted.
async fn unless_gone<T>(
    flow: &mut Flow,
    hangup: &mut impl FnMut(&mut Context<'_>) -> Poll<()>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let result = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => hangup(cx).map(|()| None),
    })
    .await;
    if result.is_none() {
        flow.not_connected(Reason::ClientReset);
    }
    result
}
