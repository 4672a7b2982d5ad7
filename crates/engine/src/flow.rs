//! One connection's story so far, and the record that it leaves.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use towpath_config::{Listener, Pool};

use crate::error::Reason;
use crate::relay::{End, Meter, Side};
use crate::worker::Worker;

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
pub(crate) struct Flow {
    pub(crate) worker: Rc<Worker>,
    listener: Arc<Listener>,
    client: Option<SocketAddr>,
    start: Instant,
    connect_micros: Option<u32>,
    backend: Option<Picked>,
    up_bytes: Cell<u64>,
    down_bytes: Cell<u64>,
    stage: Stage,
    reason: Reason,
}

impl Flow {
    pub(crate) fn begin(worker: Rc<Worker>, listener: Arc<Listener>, client: Option<SocketAddr>) -> Self {
        worker.counters.accepted();
        Self {
            worker,
            listener,
            client,
            start: Instant::now(),
            connect_micros: None,
            backend: None,
            up_bytes: Cell::new(0),
            down_bytes: Cell::new(0),
            stage: Stage::Connect,
            reason: Reason::Shutdown,
        }
    }

    /// The server that is tried now.
    pub(crate) fn tries(&mut self, picked: Picked) {
        self.backend = Some(picked);
    }

    /// The server that was tried answered.
    pub(crate) fn connected(&mut self) {
        let micros = self.start.elapsed().as_micros();
        self.connect_micros = Some(u32::try_from(micros).unwrap_or(u32::MAX));
        self.stage = Stage::Relay;
    }

    /// No server was reached.
    pub(crate) fn not_connected(&mut self, reason: Reason) {
        self.reason = reason;
    }

    /// The relay is over.
    pub(crate) fn ended(&mut self, end: End) {
        use std::io::ErrorKind::TimedOut;
        self.reason = match end {
            End::Closed(Side::Client) => Reason::ClientClosed,
            End::Closed(Side::Server) => Reason::ServerClosed,
            End::Broken(Side::Client, TimedOut) => Reason::ClientLost,
            End::Broken(Side::Server, TimedOut) => Reason::ServerLost,
            End::Broken(Side::Client, _) => Reason::ClientReset,
            End::Broken(Side::Server, _) => Reason::ServerReset,
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
        sink.send(Record {
            listener: self.listener.clone(),
            client: self.client,
            backend: self.backend.take(),
            start: SystemTime::now() - duration,
            duration,
            connect_time: self.connect_micros.map(|micros| Duration::from_micros(micros.into())),
            up_bytes: self.up_bytes.get(),
            down_bytes: self.down_bytes.get(),
            stage: self.stage,
            reason: self.reason,
        });
    }
}
