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

impl Checked {
    /// Goes on from what checks have said before, as across a reload: whether it was up, if there was one.
    pub(super) fn go_on(was_up: Option<bool>) -> Self {
        Self { is_down: was_up == Some(false), was_asked: was_up.is_some(), against: 0 }
    }

    /// Takes the result of a check; `rise` good ones in a row bring it up, `fall` bad ones down.
    pub(super) fn note(&mut self, is_good: bool, check: &Check) {
        let is_first = !std::mem::replace(&mut self.was_asked, true);
        if is_good != self.is_down {
            self.against = 0;
            return;
        }
        self.against += 1;
        let needed = if self.is_down { check.rise } else { check.fall };
        if self.against >= needed || is_first {
            (self.is_down, self.against) = (!is_good, 0);
        }
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
        let mut is_up = |is_good| {
            checked.note(is_good, &CHECK);
            checked.is_up()
        };
        assert!(is_up(true));
        assert_eq!([is_up(false), is_up(false), is_up(true)], [true; 3]);
        assert_eq!([is_up(false), is_up(false), is_up(false)], [true, true, false]);
        assert_eq!([is_up(true), is_up(false), is_up(true), is_up(true)], [false, false, false, true]);
    }

    #[test]
    fn the_first_check_decides_alone_but_not_after_a_reload() {
        let after = |mut checked: Checked| {
            checked.note(false, &CHECK);
            checked.is_up()
        };
        assert!(!after(Checked::default()));
        assert!(after(Checked::go_on(Some(true))));
        assert!(!after(Checked::go_on(Some(false))));
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
