//! A stream of HTTP/2, of a client or to a server.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};

use super::{Data, Fault, Progress};
use crate::http::head;
use crate::spare;

/// What may be around one part of a body, in bytes.
const PART_BYTES: u64 = 64;

/// One stream.
#[derive(Debug)]
pub(crate) struct H2Side {
    coming: Option<RecvStream>,
    has_read_all: bool,
    going: Option<SendStream<Bytes>>,
    /// For a client: where its answer goes, until its head is sent.
    respond: Option<SendResponse<Bytes>>,
    /// For a server: where its answer comes from, until its head has come.
    answer: Option<ResponseFuture>,
    behind: VecDeque<Bytes>,
    allowed: Rc<Cell<u64>>,
    /// Whether nothing follows what waits, and what trailers.
    end: Option<Option<HeaderMap>>,
    fault: Option<Fault>,
}

impl H2Side {
    /// That of a client.
    /// `allowed` is told how many bytes the parts of its body may have taken, with all that is around them.
    pub(crate) fn of_client(
        coming: RecvStream,
        respond: SendResponse<Bytes>,
        allowed: Rc<Cell<u64>>,
    ) -> Self {
        Self {
            has_read_all: coming.is_end_stream(),
            coming: Some(coming),
            going: None,
            respond: Some(respond),
            allowed,
            answer: None,
            behind: VecDeque::new(),
            end: None,
            fault: None,
        }
    }

    /// One to a server, whose answer is `answer`; a request without a body has no more to send.
    pub(crate) fn to_server(answer: ResponseFuture, going: SendStream<Bytes>) -> Self {
        Self {
            coming: None,
            has_read_all: false,
            going: Some(going),
            respond: None,
            allowed: Rc::default(),
            answer: Some(answer),
            behind: VecDeque::new(),
            end: None,
            fault: None,
        }
    }

    /// Sends an interim answer to a client.
    pub(crate) fn inform(&mut self, head: Response<()>) {
        if let Some(respond) = &mut self.respond {
            // A client that has gone is found elsewhere.
            let _ = respond.send_informational(head);
        }
    }

    /// Sends the head of an answer to a client.
    pub(crate) fn respond(&mut self, head: Response<()>, is_all: bool) {
        let Some(mut respond) = self.respond.take() else { return };
        match respond.send_response(head, is_all) {
            Ok(going) => self.going = Some(going),
            Err(_) => self.fault = Some(Fault::Broken(ErrorKind::ConnectionReset)),
        }
        if is_all {
            self.end = Some(None);
        }
    }

    /// Waits for an interim answer of a server.
    pub(crate) fn poll_informed(&mut self, cx: &mut Context<'_>) -> Poll<Response<()>> {
        match &mut self.answer {
            Some(answer) => match ready!(answer.poll_informational(cx)) {
                Some(Ok(head)) => Poll::Ready(head),
                Some(Err(_)) | None => Poll::Pending,
            },
            None => Poll::Pending,
        }
    }

    /// Waits for the head of the answer of a server, and whether it is all of it.
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Response<()>, bool), h2::Error>> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let answer = ready!(std::pin::Pin::new(answer).poll(cx))?;
        self.answer = None;
        let (head, coming) = answer.into_parts();
        self.has_read_all = coming.is_end_stream();
        self.coming = Some(coming);
        Poll::Ready(Ok((Response::from_parts(head, ()), self.has_read_all)))
    }

    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&mut Context<'_>, Data<'_>),
    ) -> Poll<Result<Progress, Fault>> {
        let Some(coming) = self.coming.as_mut().filter(|_| !self.has_read_all) else {
            return Poll::Ready(Ok(Progress::Over(None)));
        };
        if let Some(data) = ready!(coming.poll_data(cx)) {
            let data = data.map_err(|error| fault(&error))?;
            let _ = coming.flow_control().release_capacity(data.len());
            if !data.is_empty() {
                self.allowed.set(self.allowed.get() + PART_BYTES + 2 * data.len() as u64);
            }
            take(cx, Data { bytes: &data, of: Some(&data) });
            return Poll::Ready(Ok(Progress::More));
        }
        let mut trailers = ready!(coming.poll_trailers(cx)).map_err(|error| fault(&error))?;
        trailers.iter_mut().for_each(head::strip_trailers);
        self.has_read_all = true;
        Poll::Ready(Ok(Progress::Over(trailers)))
    }

    pub(super) fn put(&mut self, data: Data<'_>) {
        if !data.bytes.is_empty() {
            let kept = || spare::copy(data.bytes);
            self.behind.push_back(data.of.map_or_else(kept, |of| of.slice_ref(data.bytes)));
        }
    }

    pub(super) fn put_end(&mut self, trailers: Option<HeaderMap>) {
        self.end.get_or_insert(trailers);
    }

    pub(super) fn backlog(&self) -> usize {
        self.behind.iter().map(Bytes::len).sum()
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if let Some(fault) = self.fault {
            return Poll::Ready(Err(fault));
        }
        let Some(going) = &mut self.going else { return Poll::Ready(Ok(())) };
        while let Some(first) = self.behind.front_mut() {
            going.reserve_capacity(first.len());
            let mut room = going.capacity();
            if room == 0 {
                room = match ready!(going.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    Some(Err(error)) => return Poll::Ready(Err(fault(&error))),
                    None => return Poll::Ready(Err(Fault::Broken(ErrorKind::ConnectionReset))),
                };
            }
            let part = first.split_to(room.min(first.len()));
            if first.is_empty() {
                self.behind.pop_front();
            }
            let is_last = self.behind.is_empty() && matches!(self.end, Some(None));
            if going.send_data(part, is_last).is_err() {
                return Poll::Ready(Err(Fault::Broken(ErrorKind::ConnectionReset)));
            }
            if is_last {
                self.going = None;
                return Poll::Ready(Ok(()));
            }
        }
        if let Some(trailers) = self.end.take() {
            let sent = match trailers {
                Some(trailers) => going.send_trailers(trailers),
                None => going.send_data(Bytes::new(), true),
            };
            // What was told to be all when its head went cannot end a second time.
            drop(sent);
            self.end = Some(None);
            self.going = None;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(going) = &mut self.going {
            return going.poll_reset(cx).map(drop);
        }
        match &mut self.respond {
            Some(respond) => respond.poll_reset(cx).map(drop),
            None => Poll::Pending,
        }
    }

    pub(super) fn cut(&mut self) {
        if let Some(going) = &mut self.going {
            going.send_reset(Reason::INTERNAL_ERROR);
        } else if let Some(respond) = &mut self.respond {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
        self.fault.get_or_insert(Fault::Ended);
    }
}

/// What an error of a stream comes to.
pub(crate) fn fault(error: &h2::Error) -> Fault {
    // What a server that goes away has not begun with is told so (RFC 9113, section 6.8).
    let is_unread = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    if error.is_remote() && (is_unread || error.reason() == Some(Reason::REFUSED_STREAM)) {
        return Fault::Refused;
    }
    match error.get_io() {
        Some(error) => Fault::Broken(error.kind()),
        None if error.is_remote() && error.is_go_away() => Fault::Broken(ErrorKind::ConnectionAborted),
        None => Fault::Broken(ErrorKind::ConnectionReset),
    }
}
