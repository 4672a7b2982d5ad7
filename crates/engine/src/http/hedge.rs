//! A second request beside one that gets no answer for too long: the first answer counts.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::clock::Clock;
use super::exchange::{Answering, Exchange, Failed};
use super::side::Side;
use super::upload::Upload;

impl Exchange<'_> {
    /// Finds a server that answers, and asks a second one when none has after `time`.
    pub(super) async fn answer_hedged(&mut self, time: Duration) -> Result<Answering, Failed> {
        let order = self.order;
        let (worker, pool) = (order.worker, order.pool);
        let (trying, begin) = (self.trying.insert(Rc::default()).clone(), self.flow.begins_sibling());
        let mut first = Box::pin(self.answer_alone());
        tokio::select! {
            biased;
            answered = first.as_mut() => return answered,
            () = sleep(time) => {}
        }
        let tried = trying.borrow().clone();
        let is_of_use = tried.as_ref().is_some_and(|tried| pool.has_other(|other| other.is_same(tried)));
        let budget = || worker.budget(&pool.config.name);
        if !is_of_use || !budget().try_retry(pool.config.http.retry_budget, Instant::now()) {
            return first.await;
        }
        let Some(flow) = &mut begin() else { return first.await };
        flow.attempts().leave_out(tried);
        let (mut clock, mut nobody) = (Clock::new(), Side::Nobody);
        let mut upload = Upload::new(order.request, 0, None);
        let mut second = Exchange::new(order, flow, &mut clock, &mut nobody, &mut upload);
        let won = {
            let mut second = pin!(second.answer_alone());
            tokio::select! {
                biased;
                answered = first.as_mut() => match answered {
                    Err(Failed::Server) => second.await.map_err(|_| Failed::Server)?,
                    answered => return answered,
                },
                answered = second.as_mut() => match answered {
                    Ok(won) => won,
                    Err(_) => return first.await,
                },
            }
        };
        drop(first);
        self.flow.connected_with(&won.lease);
        self.attempts += 1;
        Ok(won)
    }
}
