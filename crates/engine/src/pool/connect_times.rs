//! How long connecting to a pool takes, and from that when a silent backend deserves a rival.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Times are counted by powers of two of a microsecond, each halved once more: 64 cells reach over an hour.
const CELLS: usize = 64;

/// After so many new times the 95th of a hundred is found anew, and the old ones count half.
const ROUND: u32 = 256;

/// Bounds of [`ConnectTimes::hedge_after`].
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(250);

/// The connect times of a pool. All workers share it: two relaxed additions a connection.
#[derive(Debug)]
pub(super) struct ConnectTimes {
    cells: [AtomicU32; CELLS],
    noted: AtomicU32,
    p95_micros: AtomicU64,
}

impl Default for ConnectTimes {
    fn default() -> Self {
        let cells = [const { AtomicU32::new(0) }; CELLS];
        Self { cells, noted: AtomicU32::new(0), p95_micros: AtomicU64::new(u64::MAX) }
    }
}

impl ConnectTimes {
    /// Notes a connection that was made in `time`.
    pub(super) fn note(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.cells[cell(micros)].fetch_add(1, Relaxed);
        if self.noted.fetch_add(1, Relaxed) % ROUND == ROUND - 1 {
            self.p95_micros.store(self.find_p95(), Relaxed);
        }
    }

    /// The time in which 95 of 100 connections are made, within its bounds; the upper one while too little is known.
    pub(super) fn hedge_after(&self) -> Duration {
        Duration::from_micros(self.p95_micros.load(Relaxed)).clamp(SHORTEST, LONGEST)
    }

    fn find_p95(&self) -> u64 {
        let counts: Vec<u32> = self
            .cells
            .iter()
            .map(|cell| {
                let count = cell.load(Relaxed);
                cell.fetch_sub(count / 2, Relaxed);
                count
            })
            .collect();
        let total: u32 = counts.iter().sum();
        let mut left = total - total / 20;
        let found = counts.iter().position(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        upper_end(found.unwrap_or(CELLS - 1))
    }
}

/// The cell of a time: twice the place of its highest bit, and one more in the upper half.
fn cell(micros: u64) -> usize {
    let micros = micros.max(1);
    let octave = micros.ilog2();
    let upper_half = octave > 0 && (micros >> (octave - 1)) & 1 == 1;
    (2 * octave as usize + usize::from(upper_half)).min(CELLS - 1)
}

/// The least time above a cell, in microseconds.
fn upper_end(cell: usize) -> u64 {
    let octave = 1_u64 << (cell / 2);
    if cell.is_multiple_of(2) { octave + octave / 2 } else { 2 * octave }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_below_the_end_of_its_cell() {
        for micros in [1, 2, 3, 5, 100, 999, 1_000_000, 60_000_000] {
            let end = upper_end(cell(micros));
            assert!(micros <= end && end <= micros * 2 + 2, "{micros}: {end}");
        }
    }

    #[test]
    fn the_rival_starts_after_what_is_usual() {
        let times = ConnectTimes::default();
        assert_eq!(times.hedge_after(), LONGEST, "nothing is known");
        (0..ROUND).for_each(|_| times.note(Duration::from_micros(300)));
        assert_eq!(times.hedge_after(), SHORTEST);
        (0..10 * ROUND).for_each(|_| times.note(Duration::from_millis(100)));
        assert!((100..200).contains(&times.hedge_after().as_millis()), "{:?}", times.hedge_after());
        (0..10 * ROUND).for_each(|_| times.note(Duration::from_secs(3)));
        assert_eq!(times.hedge_after(), LONGEST);
    }
}
