//! Which backend a connection tries first, and which after it: one file for each algorithm.

pub(crate) mod latency;
mod least_conn;
mod maglev;
pub(crate) mod outlier;
mod p2c;
mod random;
mod round_robin;
#[cfg(test)]
mod tests;
mod view;

use maglev::Maglev;
use random::Lots;
use round_robin::RoundRobin;
use towpath_config::Balance;

pub(crate) use view::View;

/// How a pool spreads its connections, and the state that takes. All workers share it.
#[derive(Clone, Debug)]
pub(crate) enum Algorithm {
    RoundRobin(RoundRobin),
    LeastConn,
    P2c(Lots),
    Random(Lots),
    Hash(Maglev),
}

impl Algorithm {
    /// For backends of these names, which place them for [`Balance::Hash`], and weights.
    pub(crate) fn new(balance: Balance, backends: &[(&str, u32)]) -> Self {
        let lots = || Lots::new(backends.iter().map(|(_, weight)| *weight));
        match balance {
            Balance::RoundRobin => Self::RoundRobin(RoundRobin::new(backends.len())),
            Balance::LeastConn => Self::LeastConn,
            Balance::P2c => Self::P2c(lots()),
            Balance::Random => Self::Random(lots()),
            Balance::Hash(_) => Self::Hash(Maglev::new(backends)),
        }
    }

    /// The backend for a new connection among those that are open; `None` when none is. `key` is the hash of what
    /// [`Balance::Hash`] goes by.
    pub(crate) fn pick(&self, view: &impl View, key: u64, rng: &mut fastrand::Rng) -> Option<usize> {
        match self {
            Self::RoundRobin(turns) => turns.pick(view),
            Self::LeastConn => least_conn::pick(view, rng),
            Self::P2c(lots) => p2c::pick(view, lots, rng),
            Self::Random(lots) => lots.pick(view, rng, |_| true),
            Self::Hash(table) => table.pick(view, key),
        }
    }
}

/// The places that are open.
fn open(view: &impl View) -> impl Iterator<Item = usize> {
    (0..view.count()).filter(|place| view.is_open(*place))
}
