//! Which lane a block goes over: the one that will deliver it first.

use std::time::Duration;

use super::LaneId;

/// How the way of a lane is, as its kernel tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// Bytes that have not left yet.
    pub unsent: u64,
    /// Bytes a second that arrive; 0 where nothing is known.
    pub rate: u64,
    /// The time there and back.
    pub rtt: Duration,
    /// Whether something that was lost is being sent again, for which all behind it waits.
    pub is_recovering: bool,
}

impl Path {
    /// When what is sent now arrives.
    pub(super) fn delay(&self) -> Duration {
        let waiting = match self.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(self.unsent as f64 / rate as f64),
        };
        waiting + self.rtt / 2 + if self.is_recovering { self.rtt } else { Duration::ZERO }
    }
}

/// What is known of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) path: Path,
    /// Since when it takes nothing.
    pub(super) full_since: Option<Duration>,
    /// When something came of it last.
    pub(super) heard: Duration,
    /// When a ping was sent that nothing has answered, and how long the answer may take.
    pub(super) pinged: Option<(Duration, Duration)>,
}

impl Lane {
    pub(super) fn new(id: LaneId, now: Duration) -> Self {
        Self { id, path: Path::default(), full_since: None, heard: now, pinged: None }
    }
}

/// The lane for a block; `None` if it is better to wait for one that takes nothing now, which it is never while there `is_more` than
/// all lanes take. Not `avoided`, while there is another.
pub(super) fn choose(
    lanes: &[Lane],
    now: Duration,
    avoided: Option<LaneId>,
    is_more: bool,
) -> Option<LaneId> {
    let is_avoided = |lane: &Lane| avoided == Some(lane.id) && lanes.len() > 1;
    let open = lanes.iter().filter(|lane| lane.full_since.is_none() && !is_avoided(lane));
    let best = open.min_by_key(|lane| lane.path.delay())?;
    if is_more {
        return Some(best.id);
    }
    // One that takes nothing for long is not to be waited for.
    let is_worth =
        |lane: &Lane, since: Duration| lane.path.delay() + 2 * now.saturating_sub(since) < best.path.delay();
    let better = |lane: &&Lane| lane.full_since.is_some_and(|since| is_worth(lane, since));
    match lanes.iter().find(|lane| better(lane) && !is_avoided(lane)) {
        Some(_) => None,
        None => Some(best.id),
    }
}

/// The lane for what is short; `None` if it takes nothing now, behind which it would have to wait all the same. One of which nothing
/// came since `lately` may not live any more.
pub(super) fn quickest(lanes: &[Lane], lately: Duration) -> Option<LaneId> {
    let key = |lane: &&Lane| (lane.heard < lately, lane.full_since.is_some(), lane.path.delay());
    lanes.iter().min_by_key(key).filter(|lane| lane.full_since.is_none()).map(|lane| lane.id)
}
