//! The demo's HTTP backends, which stop and come back without losing what they have begun.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use crate::port::Port;

/// The header in which a backend tells its place.
pub(super) const BACKEND: &str = "x-backend";

/// All backends serve for so long between two stops.
const ALL_UP: Duration = Duration::from_millis(1500);
/// A backend that stops lets its connections go on for so long; after that it ends each with its next answer.
const LAST_REQUESTS: Duration = Duration::from_millis(500);
/// A stopped backend stays away for so long.
const AWAY: Duration = Duration::from_secs(2);
/// A refused accept is tried again after so long.
const PAUSE: Duration = Duration::from_millis(10);

/// The last number of an interface, which no machine has; see [`refuse`].
const NO_INTERFACE: NonZeroU32 = NonZeroU32::MIN.saturating_add(i32::MAX as u32 - 1);

/// What a backend does just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It takes connections.
    Up,
    /// It takes none; those that it has go on to their end.
    Stopping,
    /// It has none, and its port refuses.
    Down,
}

/// A backend as the table shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    pub(super) state: State,
    /// Live connections.
    pub(super) connections: usize,
    /// How often it has gone down.
    pub(super) stops: u32,
    /// Each answer is the last of its connection.
    closing: bool,
}

/// One HTTP server.
#[derive(Debug)]
pub(super) struct Backend {
    place: HeaderValue,
    port: Port,
    condition: watch::Sender<Condition>,
}

impl Backend {
    pub(super) fn new(place: u16) -> io::Result<Self> {
        let condition = Condition { state: State::Down, connections: 0, stops: 0, closing: false };
        Ok(Self { place: place.into(), port: Port::reserve()?, condition: watch::Sender::new(condition) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(super) fn condition(&self) -> Condition {
        *self.condition.borrow()
    }

    /// Clients are let in by the kernel from here on.
    pub(super) fn listen(&self) -> io::Result<Socket> {
        self.port.listen()
    }

    fn serve(self: &Arc<Self>, stream: TcpStream) {
        // Without it answers come late, but they come.
        let _ = stream.set_nodelay(true);
        self.condition.send_modify(|now| now.connections += 1);
        let backend = self.clone();
        spawn_local(async move {
            let service = service_fn(async |request| Ok::<_, Infallible>(backend.answer(&request)));
            // The client knows what it did not get.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            backend.condition.send_modify(|now| now.connections -= 1);
        });
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(body(request.uri().path())));
        response.headers_mut().insert(BACKEND, self.place.clone());
        if self.condition().closing {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What a backend answers to `path`: 1 kB that no other request gets, so that a mix-up would show.
pub(super) fn body(path: &str) -> Bytes {
    format!("{path:.<1023}\n").into()
}

/// Serves on `listeners`, one for each of `backends`. One backend after the other is stopped and brought back; at no time
/// is more than one away.
///
/// # Errors
/// When a backend cannot stop or come back.
pub(super) async fn take_turns(backends: Vec<Arc<Backend>>, listeners: Vec<Socket>) -> io::Result<()> {
    let mut up = VecDeque::new();
    for (backend, listener) in backends.into_iter().zip(listeners) {
        let door = Door::open(&backend, listener)?;
        up.push_back((backend, door));
    }
    while let Some((backend, door)) = up.pop_front() {
        sleep(ALL_UP).await;
        door.shut(&backend).await?;
        sleep(AWAY).await;
        let door = Door::open(&backend, backend.listen()?)?;
        up.push_back((backend, door));
    }
    Ok(())
}

/// Where a backend lets clients in.
struct Door {
    listener: Rc<TcpListener>,
    accepting: JoinHandle<()>,
}

impl Door {
    fn open(backend: &Arc<Backend>, listener: Socket) -> io::Result<Self> {
        let listener = Rc::new(TcpListener::from_std(listener.into())?);
        backend.condition.send_modify(|now| {
            now.state = State::Up;
            now.closing = false;
        });
        let accepting = spawn_local(accept(listener.clone(), backend.clone()));
        Ok(Self { listener, accepting })
    }

    /// Nobody is let in any more, and whoever is in gets everything that was asked for. Nobody listens afterwards.
    async fn shut(self, backend: &Arc<Backend>) -> io::Result<()> {
        refuse(&self.listener)?;
        backend.condition.send_modify(|now| now.state = State::Stopping);
        sleep(LAST_REQUESTS).await;
        backend.condition.send_modify(|now| now.closing = true);
        let mut condition = backend.condition.subscribe();
        loop {
            // The backend itself holds the sender: this does not fail.
            let _ = condition.wait_for(|now| now.connections == 0).await;
            match SockRef::from(&*self.listener).accept() {
                Ok((late, _)) => {
                    late.set_nonblocking(true)?;
                    backend.serve(TcpStream::from_std(late.into())?);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.accepting.abort();
        let _ = self.accepting.await;
        backend.condition.send_modify(|now| {
            now.state = State::Down;
            now.stops += 1;
        });
        Ok(())
    }
}

async fn accept(listener: Rc<TcpListener>, backend: Arc<Backend>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => backend.serve(stream),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Makes the kernel refuse new connections to `listener` while those that it has begun to let in still arrive.
///
/// close(2) would reset the latter. Bound to an interface (SO_BINDTOIFINDEX, Linux 5.7 without privileges), the socket is
/// no longer found for a SYN from any other one (`compute_score` in net/ipv4/inet_hashtables.c), and a SYN without a
/// socket is answered with a reset; handshakes under way have an entry of their own.
fn refuse(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).bind_device_by_index_v4(Some(NO_INTERFACE))
}
