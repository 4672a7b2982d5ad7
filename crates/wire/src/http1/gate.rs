//! What a client of HTTP/1 sends, followed from head to body to head, for a caller that passes it on to an implementation
//! that is less strict.

use super::HeadFault;
use super::framing::{self, Chunks, Framing};
use super::head::{self, RequestHead, Version};
use super::target::is_target;

/// Follows a stream of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    place: Place,
    /// Whether the last head asks to go over to another protocol.
    asks_to_upgrade: bool,
    /// Whether it is the last that the client may send.
    is_last: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Where a head begins.
    #[default]
    Head,
    /// In a body, of which so many bytes are left.
    Counted(u64),
    /// In a body in chunks.
    Chunked(Chunks),
    /// Behind a request to go over to another protocol, which is not answered.
    Held,
    /// In another protocol.
    Upgraded,
    /// Behind the last request.
    Over,
}

/// What may be done with what has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Nothing yet: more must come.
    Wait,
    /// So many bytes, at least one, may pass; they must be taken away before the next look.
    Pass(usize),
    /// Here begins a CONNECT, whose head is whole and fine, and which is not for the implementation behind.
    Connect,
    /// Nothing, however much comes: it waits for [`Gate::upgraded`] or [`Gate::stays`], or it is behind a request that
    /// said that it is the last (RFC 9112, section 9.6) and belongs to nobody.
    Hold,
    /// It is no request, or its body is none.
    Bad(HeadFault),
}

impl Gate {
    /// Looks at what has come and not passed. Looking again before something passes changes nothing.
    pub fn look(&mut self, input: &[u8]) -> Passage {
        if input.is_empty() {
            return Passage::Wait;
        }
        match &mut self.place {
            Place::Head => self.look_at_head(input),
            Place::Counted(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= count as u64;
                if *left == 0 {
                    self.end_request();
                }
                Passage::Pass(count)
            }
            Place::Chunked(chunks) => match chunks.take(input) {
                Ok((count, has_ended)) => {
                    if has_ended {
                        self.end_request();
                    }
                    Passage::Pass(count)
                }
                Err(fault) => Passage::Bad(fault),
            },
            Place::Held | Place::Over => Passage::Hold,
            Place::Upgraded => Passage::Pass(input.len()),
        }
    }

    /// Whether what comes next is a head, or the rest of one that has not passed: no body is outstanding, and no answer to a
    /// request to go over to another protocol.
    pub fn is_between(&self) -> bool {
        self.place == Place::Head
    }

    /// Whether a part of a body is outstanding: an end of the stream here cuts a request short.
    pub fn is_in_body(&self) -> bool {
        matches!(self.place, Place::Counted(_) | Place::Chunked(_))
    }

    /// The server has gone over to another protocol: all that comes passes.
    pub fn upgraded(&mut self) {
        self.place = Place::Upgraded;
    }

    /// The server has not gone over to another protocol: requests go on, behind the body that may be outstanding.
    pub fn stays(&mut self) {
        self.asks_to_upgrade = false;
        if self.place == Place::Held {
            self.end_request();
        }
    }

    fn look_at_head(&mut self, input: &[u8]) -> Passage {
        let checked = head::parse(input).and_then(|found| match found {
            Some((head, length)) => Ok(Some((framing::of(&head)?, head, length))),
            None => Ok(None),
        });
        match checked {
            Ok(None) => Passage::Wait,
            Ok(Some((_, head, _))) if head.method == "CONNECT" => Passage::Connect,
            Ok(Some((_, head, _))) if !is_target(head.target) => Passage::Bad(HeadFault::Target),
            Ok(Some((framing, head, length))) => {
                self.begin_request(&head, framing);
                Passage::Pass(length)
            }
            Err(fault) => Passage::Bad(fault),
        }
    }

    fn begin_request(&mut self, head: &RequestHead<'_>, framing: Framing) {
        let has_upgrade = head.field("upgrade").next().is_some() && head.has_word("connection", "upgrade");
        // In HTTP/1.0 there is no going over (RFC 9110, section 7.8), and staying has to be asked for.
        let is_1_1 = head.version == Version::V11;
        self.asks_to_upgrade = is_1_1 && has_upgrade;
        self.is_last =
            head.has_word("connection", "close") || !(is_1_1 || head.has_word("connection", "keep-alive"));
        match framing {
            Framing::None => self.end_request(),
            Framing::Length(length) => self.place = Place::Counted(length),
            Framing::Chunked => self.place = Place::Chunked(Chunks::default()),
        }
    }

    fn end_request(&mut self) {
        self.place = match (self.asks_to_upgrade, self.is_last) {
            (true, _) => Place::Held,
            (false, true) => Place::Over,
            (false, false) => Place::Head,
        };
    }
}
