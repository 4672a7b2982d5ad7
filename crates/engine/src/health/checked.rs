//! What the checks of one backend come to: up or down.

use std::time::Duration;

use towpath_config::Check;

/// The intervals differ by up to a tenth, so that checks of many backends do not come all at once.
const JITTER: f64 = 0.1;

/// How a backend stands by its checks. It counts as up until its first check, which decides alone.
#[derive(Debug, Default)]
pub(super) struct Checked {
    is_down: bool,
    was_asked: bool,
    /// Checks in a row that speak against how it stands.
    against: u32,
}

/// A backend that stands otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Up,
    Down,
}

impl Checked {
    /// Takes the result of a check; `rise` good ones in a row bring it up, `fall` bad ones down.
    pub(super) fn note(&mut self, is_good: bool, check: &Check) -> Option<Change> {
        let is_first = !std::mem::replace(&mut self.was_asked, true);
        if is_good != self.is_down {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if self.is_down { check.rise } else { check.fall };
        if self.against < needed && !is_first {
            return None;
        }
        (self.is_down, self.against) = (!is_good, 0);
        Some(if is_good { Change::Up } else { Change::Down })
    }

    /// Whether it counts as up.
    pub(super) fn is_up(&self) -> bool {
        !self.is_down
    }

    /// How long until the next check; `lot` is from 0 to 1.
    pub(super) fn pause(&self, check: &Check, lot: f64) -> Duration {
        let is_settled = !self.is_down && self.against == 0;
        let interval = if is_settled { check.interval } else { check.down_interval };
        interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * lot)
    }
}

#[cfg(test)]
mod tests {
    use towpath_config::CheckKind;

    use super::*;

    const CHECK: Check = Check {
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(2),
        down_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
        port: None,
    };

    #[test]
    fn it_takes_a_run_of_checks_to_change() {
        let mut checked = Checked::default();
        let mut note = |is_good| checked.note(is_good, &CHECK);
        assert_eq!(note(true), None);
        assert_eq!([note(false), note(false), note(true)], [None; 3]);
        assert_eq!([note(false), note(false), note(false)], [None, None, Some(Change::Down)]);
        assert_eq!([note(true), note(false), note(true)], [None; 3]);
        assert_eq!(note(true), Some(Change::Up));
    }

    #[test]
    fn the_first_check_decides_alone() {
        assert_eq!(Checked::default().note(false, &CHECK), Some(Change::Down));
    }

    #[test]
    fn one_that_may_be_changing_is_asked_more_often() {
        let mut checked = Checked::default();
        checked.note(true, &CHECK);
        assert_eq!(checked.pause(&CHECK, 0.5), CHECK.interval);
        checked.note(false, &CHECK);
        assert_eq!(checked.pause(&CHECK, 0.5), CHECK.down_interval);
        assert!(checked.pause(&CHECK, 0.0) >= Duration::from_millis(900));
    }
}
