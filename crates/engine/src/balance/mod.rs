//! Which backend a connection tries first, and which after it.

mod round_robin;

use std::sync::Arc;

use round_robin::RoundRobin;
use towpath_config::{Balance, Pool};

/// A pool and the state of its balance, which all workers share.
#[derive(Debug)]
pub(crate) struct Balancer {
    pool: Arc<Pool>,
    algorithm: Algorithm,
}

#[derive(Debug)]
enum Algorithm {
    RoundRobin(RoundRobin),
}

impl Balancer {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        let algorithm = match pool.balance {
            Balance::RoundRobin | _ => Algorithm::RoundRobin(RoundRobin::default()),
        };
        Self { pool, algorithm }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The places of all backends in the pool, each once, in the order to try them for one connection.
    pub(crate) fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.pool.backends.len();
        let first = match &self.algorithm {
            Algorithm::RoundRobin(turn) => turn.next(count),
        };
        (first..count).chain(0..first)
    }
}
