//! Copies of requests for a second pool, whose answers nobody waits for.

use std::cell::Cell;
use std::sync::Arc;

use tokio::task::spawn_local;

use super::Requester;
use super::clock::Clock;
use super::exchange::{Answering, Exchange, Order, Times};
use super::head::Request;
use super::idle::Way;
use super::passing::Passing;
use super::side::Side;
use super::upload::Upload;
use crate::pool::Pool;

/// Copies that a worker has under way at a time; more are left out.
const COPIES: usize = 256;

thread_local! {
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
}

/// One copy under way.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        UNDER_WAY.with(|under_way| {
            let is_free = under_way.get() < COPIES;
            under_way.set(under_way.get() + usize::from(is_free));
            is_free.then(|| Self)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        UNDER_WAY.with(|under_way| under_way.set(under_way.get() - 1));
    }
}

/// Sends a copy of a request whose body was kept, and drops the answer.
pub(super) fn copy(
    requester: &Requester,
    pool: &Arc<Pool>,
    (request, times): (&Request, Times),
    upload: &Upload,
) {
    let (Some(mut flow), Some(mut upload), Some(place)) = (requester.begin(), upload.copy(), Place::take())
    else {
        return;
    };
    let (worker, pool, request) =
        (requester.worker.clone(), pool.clone(), Request { upgrade: None, ..request.clone() });
    flow.speaks_for_others();
    flow.goes_to(&pool);
    spawn_local(async move {
        let _place = place;
        let (mut clock, mut client) = (Clock::new(), Side::Nobody);
        let order = Order { worker: &worker, request: &request, pool: &pool, times, key: None };
        let mut exchange = Exchange::new(order, &mut flow, &mut clock, &mut client, &mut upload);
        let Ok(Answering { mut server, lease, .. }) = exchange.answer().await else { return };
        let (clock, buffers) = (&mut clock, &worker.buffers);
        let mut passing = Passing { flow: &flow, clock, pause: times.body, buffers, squeeze: None };
        if passing.pass(&mut client, &mut server, &mut upload).await.is_ok() {
            let way = Way { pool: &pool, backend: &lease, offset: flow.offset };
            server.leave(&worker, way);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_copies_than_so_many() {
        let mut places: Vec<_> = std::iter::repeat_with(Place::take).take(COPIES).collect();
        assert!(places.iter().all(Option::is_some));
        assert!((0..3).all(|_| Place::take().is_none()));
        places.pop();
        assert!(Place::take().is_some());
    }
}
