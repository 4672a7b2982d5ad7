//! One connection's story so far, and the record that it leaves.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use towpath_config::{Listener, Pool};

use crate::error::Reason;
use crate::listen::Seat;
use crate::worker::Colleague;

/// The part of a connection's way in which it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// On the way to a server.
    Connect,
    /// While bytes were carried.
    Relay,
}

impl Stage {
    /// The word for it in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Relay => "relay",
        }
    }
}

/// The two ends of a connection, as towpath sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Whoever connected to us.
    Client,
    /// Whom we connected to.
    Server,
}

/// How a connection ended that had reached its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides ended their streams; this one was first.
    Closed(Side),
    /// This side's connection broke; the other was reset after the bytes before it.
    Broken(Side, ErrorKind),
    /// Nothing was carried for the idle time; both were reset.
    Idle,
}

/// Told of every byte that reaches the other side's socket.
pub(crate) trait Meter {
    /// `count` bytes from client to server.
    fn up(&self, count: u64);
    /// `count` bytes from server to client.
    fn down(&self, count: u64);
}

/// What is left of a connection when it has ended: exactly one of these.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// The client's address; a unix client has none.
    pub client: Option<SocketAddr>,
    /// The server that was tried last.
    pub backend: Option<Picked>,
    /// When it was accepted.
    pub start: SystemTime,
    /// From accept to end.
    pub duration: Duration,
    /// What connecting took, all attempts together; `None` if none succeeded.
    pub connect_time: Option<Duration>,
    /// Bytes from client to server.
    pub up_bytes: u64,
    /// Bytes from server to client.
    pub down_bytes: u64,
    /// Where it ended.
    pub stage: Stage,
    /// Why it ended.
    pub reason: Reason,
}

/// The server of a connection.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The pool.
    pub pool: Arc<Pool>,
    /// Which of its backends.
    pub backend: usize,
    /// The address that was connected to; a unix socket has none.
    pub address: Option<SocketAddr>,
}

/// A connection under way. Its record leaves when it is dropped, however that comes about.
#[derive(Debug)]
pub(crate) struct Flow {
    worker: Arc<Colleague>,
    pub(crate) seat: Seat,
    client: Option<SocketAddr>,
    start: Instant,
    /// `NOT_YET` until connected.
    connect_micros: u32,
    /// `NOT_YET` until one is tried.
    backend: u32,
    address: Option<SocketAddr>,
    up_bytes: Cell<u64>,
    down_bytes: Cell<u64>,
    stage: Stage,
    reason: Reason,
}

const NOT_YET: u32 = u32::MAX;

impl Flow {
    pub(crate) fn begin(worker: Arc<Colleague>, seat: Seat, client: Option<SocketAddr>) -> Self {
        worker.counters.accepted();
        Self {
            worker,
            seat,
            client,
            start: Instant::now(),
            connect_micros: NOT_YET,
            backend: NOT_YET,
            address: None,
            up_bytes: Cell::new(0),
            down_bytes: Cell::new(0),
            stage: Stage::Connect,
            reason: Reason::Shutdown,
        }
    }

    /// Goes on on another worker: [`Flow::arrives`] follows there.
    pub(crate) fn leaves(&mut self) {
        self.worker.counters.left();
        self.worker.one_less();
    }

    /// Comes from another worker.
    pub(crate) fn arrives(&mut self, worker: Arc<Colleague>) {
        worker.counters.arrived();
        self.worker = worker;
    }

    /// The backend that is tried now, and its address once that is known.
    pub(crate) fn tries(&mut self, backend: usize, address: Option<SocketAddr>) {
        self.backend = u32::try_from(backend).unwrap_or(NOT_YET);
        self.address = address;
    }

    /// The server that was tried answered.
    pub(crate) fn connected(&mut self) {
        let micros = self.start.elapsed().as_micros();
        self.connect_micros = u32::try_from(micros).unwrap_or(NOT_YET - 1);
        self.stage = Stage::Relay;
    }

    /// No server was reached.
    pub(crate) fn not_connected(&mut self, reason: Reason) {
        self.reason = reason;
    }

    /// The relay is over.
    pub(crate) fn ended(&mut self, end: End) {
        let is_reset = |kind| {
            matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected)
        };
        self.reason = match end {
            End::Closed(Side::Client) => Reason::ClientClosed,
            End::Closed(Side::Server) => Reason::ServerClosed,
            End::Broken(Side::Client, kind) if is_reset(kind) => Reason::ClientReset,
            End::Broken(Side::Server, kind) if is_reset(kind) => Reason::ServerReset,
            End::Broken(Side::Client, _) => Reason::ClientLost,
            End::Broken(Side::Server, _) => Reason::ServerLost,
            End::Idle => Reason::Idle,
        };
    }
}

impl Meter for Flow {
    fn up(&self, count: u64) {
        self.up_bytes.set(self.up_bytes.get() + count);
        self.worker.counters.carried_up(count);
    }

    fn down(&self, count: u64) {
        self.down_bytes.set(self.down_bytes.get() + count);
        self.worker.counters.carried_down(count);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.worker.counters.finished(self.stage == Stage::Relay);
        self.worker.one_less();
        let Some(sink) = &self.worker.records else { return };
        let duration = self.start.elapsed();
        let pool = self.seat.balancer.pool();
        let connect_time = Duration::from_micros(self.connect_micros.into());
        sink.send(Record {
            listener: self.seat.listener.clone(),
            client: self.client,
            backend: (self.backend != NOT_YET).then(|| Picked {
                pool: pool.clone(),
                backend: self.backend as usize,
                address: self.address,
            }),
            start: SystemTime::now() - duration,
            duration,
            connect_time: (self.connect_micros != NOT_YET).then_some(connect_time),
            up_bytes: self.up_bytes.get(),
            down_bytes: self.down_bytes.get(),
            stage: self.stage,
            reason: self.reason,
        });
    }
}
