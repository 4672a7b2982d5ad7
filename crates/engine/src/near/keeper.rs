//! Who keeps the lanes of a session: opens as many as are wanted, over all links, and others in the place of those that break.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use towpath_config::{Lanes, TunnelOut};
use towpath_wire::tunnel::LaneId;
use towpath_wire::tunnel::growth::Growth;
use towpath_wire::tunnel::hello::{self, Hello, Refusal, SessionId, Terms};

use super::Near;
use super::dial::{Failed, LANE_TIME, note, open_lane};
use super::links::{Link, Links};
use crate::error::HopFault;
use crate::pool::Hop;
use crate::stream::Stream;
use crate::tls::SharedKey;
use crate::tunnel::{Ended, FIRST_WINDOW, Hub, carry};

/// How often the number of lanes is looked at while there is something to carry, and while there is not.
const LOOKS: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_secs(1);

/// So much has to come from one look to the next for more lanes to be tried.
const BUSY_BYTES: u64 = 16 * 1024;

/// A lane that has lived for so long was of use, and so was one while which so much was carried.
const WORTH_TIME: Duration = Duration::from_secs(1);
const WORTH_BYTES: u64 = 256 * 1024;

/// So long a far end that has no room for more lanes is not asked again.
const FULL_TIME: Duration = Duration::from_secs(60);

/// A first lane that is not there after so long gets company on another link.
const HEDGE: Duration = Duration::from_millis(500);

/// How often is looked for links that have fewer lanes than their share.
const BALANCE: Duration = Duration::from_secs(2);

/// Keeps the lanes of a session.
pub(super) struct Keeper {
    pub(super) near: Weak<Near>,
    pub(super) hub: Arc<Hub>,
    /// The way to the far end, without its tunnel: whoever keeps lanes keeps no tunnel that a reload has replaced.
    pub(super) hops: Arc<[Hop]>,
    pub(super) place: usize,
    pub(super) name: SessionId,
    pub(super) config: TunnelOut,
    /// `None` if it is plain.
    pub(super) key: Option<SharedKey>,
}

/// What the lanes of a session have in common.
struct Dials {
    links: Rc<Links>,
    /// How many are being opened, and when the last of them began.
    under_way: Cell<usize>,
    begun: Cell<Instant>,
    /// Whether the far end has taken one.
    is_welcome: Cell<bool>,
    /// What the far end has room for, and until when that is believed.
    most: Cell<Option<(usize, Instant)>>,
    /// The number of the next one.
    next: Cell<LaneId>,
}

/// What comes, which may be more with more lanes: how much more waits at the far end, nobody tells.
#[derive(Debug, Default)]
struct Intake {
    /// When this was looked at last, and what had come by then.
    looked: (Duration, u64),
    is_busy: bool,
}

impl Intake {
    fn is_busy(&mut self, now: Duration, received: u64) -> bool {
        let (at, before) = self.looked;
        if now >= at + LOOKS {
            self.is_busy = received - before >= BUSY_BYTES;
            self.looked = (now, received);
        }
        self.is_busy
    }
}

impl Keeper {
    /// Begins with the session, on this thread.
    pub(super) fn begin(self) {
        spawn_local(Hub::keep_time(Arc::downgrade(&self.hub)));
        // A box, since the way of a lane may lead through another tunnel.
        let keeping: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move { self.keep().await });
        spawn_local(keeping);
    }

    async fn keep(&self) {
        let hub = &self.hub;
        let dials = Rc::new(Dials {
            links: Links::new(self.hops[self.place].clone(), &self.config.bind),
            under_way: Cell::new(0),
            begun: Cell::new(Instant::now()),
            is_welcome: Cell::new(false),
            most: Cell::new(None),
            next: Cell::new(1),
        });
        let mut intake = Intake::default();
        let mut growth = match self.config.lanes {
            Lanes::Auto(most) => Some(Growth::new(most, hub.now())),
            Lanes::Fixed(_) => None,
        };
        let mut balanced = Instant::now();
        loop {
            let mut changed = pin!(hub.changed.notified());
            changed.as_mut().enable();
            let measures = hub.measures();
            let is_of_use = hub.is_of_use() && self.near.upgrade().is_some();
            if hub.is_over() || (!is_of_use && measures.streams == 0) {
                hub.part();
                return;
            }
            let open = hub.lanes();
            let wanted = match (&mut growth, self.config.lanes) {
                _ if !dials.is_welcome.get() => 1,
                (Some(growth), _) => {
                    let is_hungry = measures.is_hungry || intake.is_busy(hub.now(), measures.received);
                    let carried = measures.sent + measures.received;
                    growth.look(hub.now(), open, measures.rtt, carried, is_hungry)
                }
                (None, Lanes::Fixed(count) | Lanes::Auto(count)) => count,
            };
            let most = dials.most.get().filter(|(_, until)| Instant::now() < *until);
            let wanted = most.map_or(wanted, |(most, _)| wanted.min(most));
            let all = open + dials.under_way.get();
            for _ in all..wanted {
                let Some(link) = dials.links.next() else { break };
                self.dial(link, &dials);
            }
            if !dials.is_welcome.get() && all > 0 && dials.begun.get().elapsed() >= HEDGE {
                dials.links.untried().into_iter().for_each(|link| self.dial(link, &dials));
            } else if open > wanted {
                hub.retire_lane(|open| dials.links.give_up(open));
            } else if all == wanted
                && balanced.elapsed() >= BALANCE
                && let Some(link) = dials.links.neglected()
            {
                balanced = Instant::now();
                match most {
                    // There is one too many then, until one goes of where there are most.
                    None => self.dial(link, &dials),
                    Some(_) => hub.retire_lane(|open| dials.links.give_up(open)),
                }
            }
            let pause = if measures.streams > 0 || open < wanted { LOOKS } else { REST };
            tokio::select! {
                () = changed => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Opens a lane over a link, and carries its frames.
    fn dial(&self, link: Link, dials: &Rc<Dials>) {
        let lane = dials.next.replace(dials.next.get() + 1);
        dials.under_way.set(dials.under_way.get() + 1);
        dials.begun.set(Instant::now());
        dials.links.take(lane, &link);
        let hello = Hello {
            session: self.name,
            may_begin: !dials.is_welcome.get(),
            lane,
            terms: Terms { features: hello::ALL, window: FIRST_WINDOW, streams: 1 },
        };
        let (hub, dials) = (self.hub.clone(), dials.clone());
        let (key, hops, place) = (self.key.clone(), self.hops.clone(), self.place);
        let dialing = async move {
            let opened = timeout(LANE_TIME, open_lane(key, &hops, place, &link, &hello)).await;
            dials.under_way.set(dials.under_way.get() - 1);
            match opened.unwrap_or(Err(Failed::Fault(HopFault::TimedOut))) {
                Ok((stream, terms)) => {
                    let was_of_use = serve(&hub, &hops[place], lane, stream, terms, &dials).await;
                    dials.links.note(lane, &link, was_of_use);
                }
                Err(failed) => {
                    // Where there is no room for another lane, the link is well.
                    let is_well = matches!(failed, Failed::Refused(Refusal::Full)) && hub.lanes() > 0;
                    dials.links.note(lane, &link, is_well);
                    note(&hops[place], &link, &failed);
                    dials.fails(&hub, failed);
                }
            }
            hub.changed.notify_waiters();
        };
        spawn_local(Box::pin(dialing) as Pin<Box<dyn Future<Output = ()>>>);
    }
}

/// Carries the frames of a lane that the far end has taken until it ends; tells whether it was of use. A link that lets lanes come and
/// cuts them at once is no better than one that does not.
async fn serve(hub: &Arc<Hub>, hop: &Hop, lane: LaneId, stream: Stream, terms: Terms, dials: &Dials) -> bool {
    let carried = || {
        let measures = hub.measures();
        measures.sent + measures.received
    };
    let (begun, before) = (Instant::now(), carried());
    if !dials.is_welcome.replace(true) {
        hub.with(|state, _| state.session.set_terms(terms));
    }
    hub.add_lane(lane);
    match carry(hub, lane, stream, hop.pool.config.socket.segments.as_deref(), |_| {}).await {
        Ended::Closed => tracing::debug!("tunnel: lane {lane} has ended"),
        Ended::Broken(kind) => tracing::debug!("tunnel: lane {lane} broke: {kind}"),
        Ended::Fault(fault) => tracing::warn!("tunnel: the far end is at fault: {fault}"),
    }
    begun.elapsed() >= WORTH_TIME || carried() - before >= WORTH_BYTES
}

impl Dials {
    /// What a lane that did not come about means for all.
    fn fails(&self, hub: &Hub, failed: Failed) {
        match failed {
            Failed::Refused(Refusal::UnknownSession | Refusal::Repeated) if hub.lanes() == 0 => hub.finish(),
            // Those that are there go on, as behind a reload of the far end.
            Failed::Refused(Refusal::UnknownSession) => hub.leave_off(),
            Failed::Refused(Refusal::Full) if hub.lanes() > 0 => {
                self.most.set(Some((hub.lanes(), Instant::now() + FULL_TIME)));
            }
            // Who never got in is told why, once there is no other link to try.
            failed if !self.is_welcome.get() => {
                hub.fails(failed.fault());
                if self.under_way.get() == 0 && self.links.have_all_failed() {
                    hub.finish();
                }
            }
            _ => {}
        }
    }
}
