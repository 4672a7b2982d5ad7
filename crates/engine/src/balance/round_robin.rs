//! Each backend in turn, as often as its weight says and as evenly as that goes.
//!
//! Smooth weighted round robin as nginx has it (Igor Sysoev, commit 52327e0627f4 of 2012): each time every backend gains
//! its weight, the richest is picked and pays what all have gained. Weights of 5, 1 and 1 give a a b a c a a.

use std::sync::{Mutex, PoisonError};

use super::{View, open};

/// What each backend has gained and not paid. All workers share it, so that the sequence is exact.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    gains: Mutex<Vec<f64>>,
}

impl Clone for RoundRobin {
    fn clone(&self) -> Self {
        Self { gains: Mutex::new(self.gains.lock().unwrap_or_else(PoisonError::into_inner).clone()) }
    }
}

impl RoundRobin {
    pub(super) fn new(count: usize) -> Self {
        Self { gains: Mutex::new(vec![0.0; count]) }
    }

    /// Those that are not open neither gain nor pay.
    pub(super) fn pick(&self, view: &impl View) -> Option<usize> {
        let mut gains = self.gains.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0.0;
        let mut richest: Option<usize> = None;
        for place in open(view) {
            let weight = view.weight(place);
            total += weight;
            gains[place] += weight;
            if richest.is_none_or(|other| gains[place] > gains[other]) {
                richest = Some(place);
            }
        }
        gains[richest?] -= total;
        richest
    }
}
