//! A connection to a backend while it serves a request.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client;
use http::header::{CONTENT_LENGTH, HeaderValue, TE};
use http::{Method, StatusCode, Uri};
use tokio::task::spawn_local;
use towpath_wire::http1::HeadFault;

use super::head::{self, Answer, Answered, Request};
use super::idle::{Room, Way};
use super::side::{Coming, Fault, Going, H1Side, H2Side, Side};
use crate::buffers::Buffers;
use crate::stream::{Gathered, Stream};
use crate::worker::Worker;

/// What one stream of HTTP/2 may have under way to us, and all of a connection together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Longest fields of an answer together, in bytes.
const FIELDS_BYTES: u32 = 64 * 1024;

/// A connection that waited for a request.
pub(crate) enum Kept {
    /// Of HTTP/1.
    H1(Stream),
    /// Of HTTP/2.
    H2(Room),
}

/// A connection to a backend. It goes through many hands, so they take it boxed.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) side: Side,
    /// Whether it can serve others after this.
    serves_on: bool,
    kept_seconds: Option<u64>,
    _room: Option<Room>,
}

/// What a server says first.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An interim answer.
    Interim(Box<Answer>),
    /// The answer.
    Final(Box<Answer>),
}

impl Server {
    /// Sends the head of a request on a connection that waited.
    ///
    /// # Errors
    /// When it is of no use any more.
    pub(crate) async fn on_kept(worker: &Worker, kept: Kept, request: &Request) -> Result<Box<Self>, Fault> {
        match kept {
            Kept::H1(stream) => Ok(Self::h1(stream, request)),
            Kept::H2(room) => {
                let asked = Self::h2(room, request).await;
                asked.map_err(|(room, fault)| {
                    worker.idle.leave_session(&room);
                    fault
                })
            }
        }
    }

    /// The same on a new connection.
    ///
    /// # Errors
    /// When the server does not speak HTTP/2 where it should.
    pub(crate) async fn on_new(
        worker: &Worker,
        stream: Stream,
        way: Way<'_>,
        request: &Request,
    ) -> Result<Box<Self>, Fault> {
        if !way.pool.config.http.is_h2 {
            return Ok(Self::h1(stream, request));
        }
        let room = Self::open(worker, stream, way).await?;
        Self::h2(room, request).await.map_err(|(room, fault)| {
            worker.idle.leave_session(&room);
            fault
        })
    }

    /// Begins HTTP/2 on a new connection, which others find from now on.
    ///
    /// # Errors
    /// When the server does not speak it.
    pub(crate) async fn open(worker: &Worker, stream: Stream, way: Way<'_>) -> Result<Room, Fault> {
        stream.keep_alive(&way.pool.config.socket);
        let (gathered, flusher) = Gathered::new(stream);
        let handshake = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(STREAM_WINDOW as usize)
            .max_header_list_size(FIELDS_BYTES)
            .enable_push(false)
            .handshake(gathered);
        let (sender, connection) = handshake.await.map_err(|_| Fault::Refused)?;
        let room = worker.idle.put_session(way, sender);
        spawn_local(async move {
            // What fails here fails its streams too.
            if flusher.around(connection).await.is_ok() {
                flusher.finish().await;
            }
        });
        Ok(room)
    }

    fn h1(stream: Stream, request: &Request) -> Box<Self> {
        let mut side = H1Side::new(stream, Vec::new());
        let going = match request.length {
            Some(length) => Going::Length(length),
            None if request.has_body => Going::Chunked,
            None => Going::Over,
        };
        side.begin(going, |to| head::write_request(request, to));
        Box::new(Self { side: Side::H1(side), serves_on: true, kept_seconds: None, _room: None })
    }

    async fn h2(mut room: Room, request: &Request) -> Result<Box<Self>, (Room, Fault)> {
        let head = match head_of_stream(request) {
            Ok(head) => head,
            Err(fault) => return Err((room, fault)),
        };
        let ready = poll_fn(|cx| room.sender.poll_ready(cx)).await;
        let sent = ready.and_then(|()| room.sender.send_request(head, !request.has_body));
        match sent {
            Ok((answer, going)) => {
                let side = Side::H2(H2Side::to_server(answer, going));
                Ok(Box::new(Self { side, serves_on: true, kept_seconds: None, _room: Some(room) }))
            }
            // Nothing was sent.
            Err(_) => Err((room, Fault::Refused)),
        }
    }

    /// Waits for what the server says to a request of this method. What is behind it may be kept if that is `to_keep`.
    pub(crate) fn poll_heard(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        method: &Method,
        to_keep: bool,
    ) -> Poll<Result<Heard, Fault>> {
        match &mut self.side {
            Side::H1(side) => {
                let heard =
                    ready!(side.poll_head(cx, buffers, to_keep, |input| head::answer(input, method)))?;
                let Answered { answer, framing, is_last, kept_seconds } = heard.ok_or(Fault::Ended)?;
                if answer.status == StatusCode::SWITCHING_PROTOCOLS {
                    self.serves_on = false;
                    return Poll::Ready(Ok(Heard::Final(answer)));
                }
                if answer.status.is_informational() {
                    return Poll::Ready(Ok(Heard::Interim(answer)));
                }
                let coming = Coming::from(framing);
                self.serves_on = !is_last && !matches!(coming, Coming::UntilClose);
                self.kept_seconds = kept_seconds;
                side.expect(coming);
                Poll::Ready(Ok(Heard::Final(answer)))
            }
            Side::H2(side) => {
                if let Poll::Ready(head) = side.poll_informed(cx) {
                    return Poll::Ready(Ok(Heard::Interim(Box::new(of_stream(head)?))));
                }
                let (head, is_all) =
                    ready!(side.poll_answer(cx)).map_err(|error| super::side::fault(&error))?;
                Poll::Ready(Ok(Heard::Final(Box::new(Answer { is_all, ..of_stream(head)? }))))
            }
            Side::Nobody => Poll::Ready(Err(Fault::Ended)),
        }
    }

    /// Waits until some of the body of the answer is here, or all of it was. With HTTP/2 nobody waits.
    pub(crate) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match &mut self.side {
            Side::H1(side) => side.poll_first(cx),
            Side::H2(_) | Side::Nobody => Poll::Ready(Ok(())),
        }
    }

    /// Keeps the connection for others, if it can serve them.
    pub(crate) fn leave(self, worker: &Worker, way: Way<'_>) {
        if let Side::H1(side) = self.side {
            let is_clean = self.serves_on && side.is_between();
            let (stream, _) = side.into_parts();
            if is_clean {
                worker.idle.put(way, stream, self.kept_seconds);
            }
        }
    }
}

/// Whether a server of HTTP/2 can be asked this.
pub(super) fn fits_stream(request: &Request) -> bool {
    head_of_stream(request).is_ok()
}

/// A request as a stream of HTTP/2 begins with it.
fn head_of_stream(request: &Request) -> Result<http::Request<()>, Fault> {
    let bad = |_| Fault::Unsendable;
    let uri = Uri::builder().scheme("http").authority(request.authority.as_str());
    let uri = uri.path_and_query(request.path.as_str()).build().map_err(bad)?;
    let mut head = http::Request::new(());
    *head.method_mut() = request.method.clone();
    *head.uri_mut() = uri;
    *head.headers_mut() = request.fields.clone();
    if let Some(length) = request.length {
        head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if request.takes_trailers {
        head.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(head)
}

/// The answer of a stream of HTTP/2.
fn of_stream(head: http::Response<()>) -> Result<Answer, Fault> {
    let (parts, ()) = head.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault::Http(HeadFault::Line));
    }
    let mut fields = parts.headers;
    let mut lengths = fields.get_all(CONTENT_LENGTH).into_iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => {
            let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
            Some(length.ok_or(Fault::Http(HeadFault::Length))?)
        }
        _ => return Err(Fault::Http(HeadFault::Length)),
    };
    fields.remove(CONTENT_LENGTH);
    head::strip_for_streams(&mut fields);
    Ok(Answer { status: parts.status, reason: Bytes::new(), fields, length, is_all: false, upgrade: None })
}
