//! Heads and bodies that go out on a connection of HTTP/1.

use std::io::Write;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use towpath_wire::http1::HeadFault;

use super::super::framing::Going;
use super::{Fault, H1Side};
use crate::http::head;
use crate::spare;

/// Parts up to so many bytes leave together with what waits in front of them.
const TOGETHER: usize = 16 * 1024;

impl H1Side {
    /// Begins a message: its head without the empty line, which `write` adds to what waits, and how its body goes.
    pub(crate) fn begin(&mut self, going: Going, write: impl FnOnce(&mut Vec<u8>)) {
        self.has_left = self.sent > 0;
        if self.behind.is_empty() {
            self.behind = spare::take();
        }
        write(&mut self.behind);
        match going {
            Going::Length(length) => {
                let mut digits = itoa::Buffer::new();
                head::write_field(b"content-length", digits.format(length).as_bytes(), &mut self.behind);
            }
            Going::Chunked => self.behind.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Going::Over | Going::UntilClose => {}
        }
        self.behind.extend_from_slice(b"\r\n");
        self.going = match going {
            Going::Length(0) => Going::Over,
            going => going,
        };
    }

    pub(in super::super) fn put(&mut self, cx: &mut Context<'_>, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        match &mut self.going {
            Going::Over => return, // a server that sends a body where there is none was told off already
            Going::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(0) => self.going = Going::Over,
                Some(rest) => *left = rest,
                None => {
                    self.fault = Some(Fault::Http(HeadFault::Length));
                    return;
                }
            },
            Going::Chunked => {
                // A vector takes all that is written.
                let _ = write!(self.behind, "{:x}\r\n", data.len());
                self.send(cx, data);
                self.behind.extend_from_slice(b"\r\n");
                return;
            }
            Going::UntilClose => {}
        }
        self.send(cx, data);
    }

    /// Sends what waits and `data` behind it; what finds no room waits.
    fn send(&mut self, cx: &mut Context<'_>, data: &[u8]) {
        let waits = self.behind.len() - self.sent;
        if self.is_blocked || self.fault.is_some() || (waits > 0 && waits + data.len() <= TOGETHER) {
            self.behind.extend_from_slice(data);
            return;
        }
        self.has_left = true;
        if waits > 0 {
            match self.stream.try_send(cx, &self.behind[self.sent..], true) {
                Ok(count) if count == waits => self.forget_sent(),
                result => {
                    self.note_short(result);
                    self.behind.extend_from_slice(data);
                    return;
                }
            }
        }
        match self.stream.try_send(cx, data, false) {
            Ok(count) if count == data.len() => {}
            result => {
                let count = self.note_short(result);
                self.behind.extend_from_slice(&data[count..]);
            }
        }
    }

    fn note_short(&mut self, result: std::io::Result<usize>) -> usize {
        self.is_blocked = true;
        match result {
            Ok(count) => {
                if !self.behind.is_empty() {
                    self.sent += count;
                }
                count
            }
            Err(error) => {
                self.fault = Some(error.into());
                0
            }
        }
    }

    fn forget_sent(&mut self) {
        spare::give(std::mem::take(&mut self.behind));
        self.sent = 0;
    }

    pub(in super::super) fn put_end(&mut self, trailers: Option<HeaderMap>) {
        match self.going {
            Going::Chunked => {
                self.behind.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().flatten() {
                    head::write_field(name.as_str().as_bytes(), value.as_bytes(), &mut self.behind);
                }
                self.behind.extend_from_slice(b"\r\n");
                self.going = Going::Over;
            }
            Going::Length(_) => self.fault = Some(Fault::Ended),
            Going::Over | Going::UntilClose => self.going = Going::Over,
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if let Some(fault) = self.fault {
            return Poll::Ready(Err(fault));
        }
        while self.sent < self.behind.len() {
            self.has_left = true;
            let count = ready!(self.stream.poll_send(cx, &self.behind[self.sent..]))?;
            self.sent += count;
        }
        if !self.behind.is_empty() {
            self.forget_sent();
        }
        self.is_blocked = false;
        self.stream.poll_flushed(cx).map_err(Fault::from)
    }

    pub(in super::super) fn backlog(&self) -> usize {
        self.behind.len() - self.sent
    }

    pub(in super::super) fn is_blocked(&self) -> bool {
        self.is_blocked || self.fault.is_some()
    }

    /// Takes back the message that goes, if none of it has left.
    pub(in super::super) fn take_back(&mut self) -> bool {
        if self.has_left || self.fault.is_some() {
            return false;
        }
        self.forget_sent();
        self.going = Going::Over;
        true
    }

    /// The peer gets no more: what it has is not whole.
    pub(in super::super) fn cut(&mut self) {
        self.fault.get_or_insert(Fault::Ended);
    }
}
