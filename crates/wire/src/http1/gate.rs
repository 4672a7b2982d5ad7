//! What a client of HTTP/1 sends, followed from head to body to head, for a caller that passes it on to an implementation
//! that is less strict.

use super::HeadFault;
use super::framing::{self, Chunks, Framing};
use super::head;

/// Follows a stream of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    body: Body,
    /// Whether the last head asked to go over to another protocol.
    asks_to_go_over: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Body {
    /// No body is outstanding: a head comes.
    #[default]
    None,
    /// So many bytes are.
    Length(u64),
    /// Chunks are.
    Chunked(Chunks),
}

/// What may be done with what has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Nothing yet: more must come.
    Wait,
    /// So many bytes, at least one, may pass; they must be taken away before the next look.
    Pass(usize),
    /// Here begins a CONNECT, which is not for the implementation behind.
    Connect,
    /// The client has asked to go over to another protocol: what has come behind that waits for the answer, after which there
    /// is nothing to follow any more, or [`Gate::stays`].
    Hold,
    /// It is no request.
    Bad(HeadFault),
}

impl Gate {
    /// Looks at what has come and not passed.
    pub fn look(&mut self, input: &[u8]) -> Passage {
        if input.is_empty() {
            return Passage::Wait;
        }
        match &mut self.body {
            Body::None if self.asks_to_go_over => Passage::Hold,
            Body::None => self.look_at_head(input),
            Body::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= count as u64;
                if *left == 0 {
                    self.body = Body::None;
                }
                Passage::Pass(count)
            }
            Body::Chunked(chunks) => match chunks.take(input) {
                Ok((count, is_done)) => {
                    if is_done {
                        self.body = Body::None;
                    }
                    Passage::Pass(count)
                }
                Err(fault) => Passage::Bad(fault),
            },
        }
    }

    fn look_at_head(&mut self, input: &[u8]) -> Passage {
        let (head, length) = match head::parse(input) {
            Ok(Some(found)) => found,
            Ok(None) => return Passage::Wait,
            Err(fault) => return Passage::Bad(fault),
        };
        let framing = match framing::of(&head) {
            Ok(framing) => framing,
            Err(fault) => return Passage::Bad(fault),
        };
        if head.method == "CONNECT" {
            return Passage::Connect;
        }
        self.asks_to_go_over =
            head.field("upgrade").next().is_some() && head.has_word("connection", "upgrade");
        self.body = match framing {
            Framing::None => Body::None,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunks::default()),
        };
        Passage::Pass(length)
    }

    /// Whether no body is outstanding.
    pub fn is_between(&self) -> bool {
        self.body == Body::None
    }

    /// The server has not gone over to another protocol: requests go on.
    pub fn stays(&mut self) {
        self.asks_to_go_over = false;
    }
}
