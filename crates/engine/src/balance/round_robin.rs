//! Each backend in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Whose turn it is. All workers share it, so that the spread is even to the connection: one atomic addition for each.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    turn: AtomicUsize,
}

impl RoundRobin {
    pub(super) fn next(&self, count: usize) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) % count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_its_turn() {
        let turns = RoundRobin::default();
        let seen: Vec<usize> = (0..7).map(|_| turns.next(3)).collect();
        assert_eq!(seen, [0, 1, 2, 0, 1, 2, 0]);
    }
}
