//! What a client sends while its server is being reached through a tunnel: it leaves with the opening of a stream, so that nothing
//! waits for a round trip more.

use std::cell::{Cell, RefCell};
use std::mem::take;
use std::rc::Rc;
use std::task::{Context, Poll};

use towpath_config::Replay;

use crate::buffers::Buffers;
use crate::first_flight::{FirstFlight, ROOM, may_go_again};
use crate::stream::Stream;

/// Whether there is something to say at once to a server that is being reached.
#[derive(Clone, Debug)]
pub(crate) enum Speaks {
    /// Not before it is there.
    Later,
    /// As soon as it is there.
    AtOnce,
    /// As soon as there is a way to it.
    Early(Rc<Early>),
}

impl Speaks {
    /// What may leave early.
    pub(crate) fn early(&self) -> Option<&Rc<Early>> {
        match self {
            Self::Early(early) => Some(early),
            Self::Later | Self::AtOnce => None,
        }
    }

    /// Whether another server may be reached for, beside those that are or in their place.
    pub(crate) fn may_go_again(&self) -> bool {
        self.early().is_none_or(|early| early.may_go_again())
    }
}

/// What the server gets first, while it is being reached. It never reaches two, unless it may.
#[derive(Debug)]
pub(crate) struct Early {
    /// What the server is told of the client.
    introduction: Vec<u8>,
    /// What the client has sent.
    first: RefCell<Vec<u8>>,
    /// Whether it has ended its stream behind that.
    has_ended: Cell<bool>,
    replay: Replay,
    /// Attempts under way.
    attempts: Cell<usize>,
    /// How many of all attempts have taken something with them, and may have come to a server with it.
    doubtful: Cell<usize>,
    /// Whether a server is reached: the rest comes by itself.
    is_over: Cell<bool>,
}

impl Early {
    pub(crate) fn new(introduction: Vec<u8>, first: FirstFlight, replay: Replay) -> Rc<Self> {
        Rc::new(Self {
            introduction,
            first: RefCell::new(first.0),
            has_ended: Cell::new(false),
            replay,
            attempts: Cell::new(0),
            doubtful: Cell::new(0),
            is_over: Cell::new(false),
        })
    }

    /// Takes what the client has sent meanwhile. What else stands against more is left for the relay to meet.
    pub(crate) fn take_more(&self, client: &mut Stream, buffers: &Buffers, cx: &mut Context<'_>) {
        let mut first = self.first.borrow_mut();
        let room = ROOM.saturating_sub(first.len());
        if room == 0 {
            return;
        }
        buffers.with_hot(|hot| {
            let room = room.min(hot.len());
            let Poll::Ready(Ok(received)) = client.poll_recv(cx, &mut hot[..room]) else { return };
            first.extend_from_slice(&hot[..received.count]);
            let is_end = received.count == 0;
            if self.has_ended.replace(is_end) != is_end || !is_end {
                // Attempts have had their turn.
                cx.waker().wake_by_ref();
            }
        });
    }

    /// What the client has sent, for the server that was reached.
    pub(crate) fn end(&self) -> FirstFlight {
        self.is_over.set(true);
        FirstFlight(take(&mut *self.first.borrow_mut()))
    }

    /// An attempt, which is to take it along.
    pub(crate) fn leave(self: &Rc<Self>) -> Leaving {
        self.attempts.set(self.attempts.get() + 1);
        Leaving { early: self.clone(), count: 0 }
    }

    /// Whether no server has got it, or another may too.
    fn may_go_again(&self) -> bool {
        self.doubtful.get() == 0 || may_go_again(self.replay, &self.first.borrow())
    }
}

/// An attempt, and how much it has taken along.
#[derive(Debug)]
pub(crate) struct Leaving {
    early: Rc<Early>,
    count: usize,
}

impl Leaving {
    /// Gives `send` what there is more of it, as long as it may come to the server of this attempt.
    pub(crate) fn go(&mut self, mut send: impl FnMut(&[u8])) {
        let Early { introduction, first, replay, attempts, doubtful, is_over, .. } = &*self.early;
        let first = first.borrow();
        let is_known = self.count == introduction.len() + first.len();
        let may_go = attempts.get() == 1 || may_go_again(*replay, &first);
        if is_over.get() || is_known || !may_go {
            return;
        }
        if self.count == 0 {
            doubtful.set(doubtful.get() + 1);
        }
        for part in
            [introduction.get(self.count..), first.get(self.count.saturating_sub(introduction.len())..)]
        {
            if let Some(part) = part.filter(|part| !part.is_empty()) {
                send(part);
                self.count += part.len();
            }
        }
    }

    /// Whether it has taken all that the client will send.
    pub(crate) fn is_all(&self) -> bool {
        let Early { introduction, first, has_ended, is_over, .. } = &*self.early;
        has_ended.get() && !is_over.get() && self.count == introduction.len() + first.borrow().len()
    }

    /// The server is reached, or it is sure that it is not; tells how much was taken along.
    pub(crate) fn has_verdict(self) -> usize {
        if self.count > 0 {
            self.early.doubtful.set(self.early.doubtful.get() - 1);
        }
        self.count
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.early.attempts.set(self.early.attempts.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(first: &[u8]) -> Rc<Early> {
        Early::new(b"told ".to_vec(), FirstFlight(first.to_vec()), Replay::Safe)
    }

    /// What an attempt takes along now.
    fn taken(leaving: &mut Leaving) -> Vec<u8> {
        let mut taken = Vec::new();
        leaving.go(|part| taken.extend_from_slice(part));
        taken
    }

    #[test]
    fn one_attempt_takes_all_there_is() {
        let early = early(b"pay");
        let mut leaving = early.leave();
        assert_eq!(taken(&mut leaving), b"told pay");
        early.first.borrow_mut().extend_from_slice(b" 10");
        assert_eq!((taken(&mut leaving), taken(&mut leaving)), (b" 10".to_vec(), Vec::new()));
        assert!(!early.may_go_again(), "it may have come to a server");
        assert_eq!(leaving.has_verdict(), 11);
        assert!(early.may_go_again());
        assert_eq!(early.end().0, b"pay 10");
        assert_eq!(taken(&mut early.leave()), b"", "the rest comes by itself");
    }

    #[test]
    fn of_two_attempts_none_takes_what_is_for_one_server() {
        let early = early(b"pay");
        let (mut first, mut second) = (early.leave(), early.leave());
        assert_eq!((taken(&mut first), taken(&mut second)), (Vec::new(), Vec::new()));
        drop(first);
        assert_eq!(taken(&mut second), b"told pay");
        drop(second);
        assert!(!early.may_go_again(), "nobody has told what became of it");
    }

    #[test]
    fn what_may_come_to_two_goes_with_both() {
        let early = early(&[0x16, 3, 1]);
        let (mut first, mut second) = (early.leave(), early.leave());
        assert_eq!((taken(&mut first).len(), taken(&mut second).len()), (8, 8));
        assert!(early.may_go_again());
    }
}
