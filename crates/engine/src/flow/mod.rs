//! One connection's story so far, and the record that it leaves.

mod guest;

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use towpath_wire::destination::Destination;
use towpath_wire::proxy_header::Header;

use crate::attempts::{Attempts, Failure};
use crate::error::Reason;
use crate::listen::Seat;
use crate::pool::{Backend, Lease, Pool, Probe};
pub(crate) use crate::record::Stage;
use crate::record::{Picked, Record};
use crate::throttle::Throttle;
use crate::worker::Colleague;
use guest::Guest;

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
    /// The backend was found down, and the pool resets its connections then.
    BackendDown,
}

impl End {
    /// Whether the server's connection broke.
    pub(crate) fn is_servers_break(self) -> bool {
        matches!(self, Self::Broken(Side::Server, _))
    }
}

/// Told of every byte that reaches the other side's socket.
pub(crate) trait Meter {
    /// `count` bytes from client to server.
    fn up(&self, count: u64);
    /// `count` bytes from server to client.
    fn down(&self, count: u64);
    /// The connection lasts: it is a second old.
    fn lasts(&self);
}

/// A connection under way. Its record leaves when it is dropped, however that comes about.
#[derive(Debug)]
pub(crate) struct Flow {
    worker: Arc<Colleague>,
    pub(crate) seat: Seat,
    pub(crate) client: Option<SocketAddr>,
    start: Instant,
    /// The one that was tried last; if it was reached, a connection of it.
    backend: Option<Arc<Backend>>,
    /// What is known of the client beside its address, if anything.
    guest: Option<Box<Guest>>,
    up_bytes: Cell<u64>,
    down_bytes: Cell<u64>,
    /// `NOT_YET` until connected.
    connect_micros: u32,
    /// Place of the port in the listener's range.
    pub(crate) offset: u16,
    stage: Stage,
    reason: Reason,
    /// Whether its connection to the backend probes one that rests.
    probe: Probe,
    /// Whether the client had sent something before its server was reached, so that the answer can be timed.
    asked_first: bool,
}

const NOT_YET: u32 = u32::MAX;

impl Flow {
    pub(crate) fn begin(worker: Arc<Colleague>, seat: Seat, client: Option<SocketAddr>, offset: u16) -> Self {
        worker.counters.accepted();
        Self {
            worker,
            seat,
            client,
            start: Instant::now(),
            backend: None,
            guest: None,
            up_bytes: Cell::new(0),
            down_bytes: Cell::new(0),
            connect_micros: NOT_YET,
            offset,
            stage: Stage::Connect,
            reason: Reason::Shutdown,
            probe: 0,
            asked_first: false,
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

    /// What has come of its attempts to reach a server.
    pub(crate) fn attempts(&mut self) -> &mut Attempts {
        &mut self.guest().attempts
    }

    /// Whether an attempt at this backend has failed.
    pub(crate) fn has_tried(&self, backend: &Backend) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.attempts.has_tried(backend))
    }

    /// What is known of the client beside its address, to be added to.
    pub(crate) fn guest(&mut self) -> &mut Guest {
        self.guest.get_or_insert_default()
    }

    /// Where it goes: the pool of its listener, or one of its own.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.guest.as_ref().and_then(|guest| guest.pool.as_ref()).unwrap_or(&self.seat.pool)
    }

    /// Where it wants to go, as a client of a proxy.
    pub(crate) fn wanted(&self) -> Option<&Destination> {
        self.guest.as_ref()?.wanted.as_ref()
    }

    /// Why it has not come further, so far.
    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    /// Which user it is, as a client of a proxy.
    pub(crate) fn user(&self) -> Option<Arc<str>> {
        self.guest.as_ref()?.user.clone()
    }

    /// When it carries nothing for so long it ends: the shorter time of the listener's and the pool's.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        let pool = self.pool().config.idle_timeout;
        self.seat.listener.idle_timeout.into_iter().chain(pool).min()
    }

    /// What its PROXY header says, if it had one.
    pub(crate) fn header(&self) -> Option<&Header> {
        self.guest.as_ref()?.header.as_ref()
    }

    /// The server name that it asks for, where that is known.
    pub(crate) fn server_name(&self) -> Option<&str> {
        let guest = self.guest.as_ref()?;
        let of_header = || guest.header.as_ref()?.authority.as_deref();
        guest.server_name.as_deref().or_else(of_header)
    }

    /// The protocol that it speaks within TLS, where that is known.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        let guest = self.guest.as_ref()?;
        let of_header = || guest.header.as_ref()?.alpn.as_deref();
        guest.alpn.as_deref().or_else(of_header)
    }

    /// What servers know this connection by, if any was told: the unique id of its PROXY header, or our own.
    pub(crate) fn unique_id(&self) -> Option<&[u8]> {
        let guest = self.guest.as_ref()?;
        let of_header = || guest.header.as_ref()?.unique_id.as_deref();
        guest.unique_id.as_deref().or_else(of_header)
    }

    /// Its PROXY header came: it speaks for whom it says.
    pub(crate) fn identified(&mut self, mut header: Header) {
        // Names of hosts know no case, and those of ClientHellos come in small letters.
        if let Some(name) = &mut header.authority {
            name.make_ascii_lowercase();
        }
        if let Some(addresses) = header.addresses {
            self.client = Some(addresses.source);
        }
        self.guest().header = Some(header);
    }

    /// It is not taken; `stage` says where that was found.
    pub(crate) fn turned_away(&mut self, stage: Stage, reason: Reason) {
        (self.stage, self.reason) = (stage, reason);
        self.guest().is_silent |= stage == Stage::Admit;
    }

    /// This backend is tried now.
    pub(crate) fn tries(&mut self, backend: &Arc<Backend>) {
        self.leave_backend();
        self.backend = Some(backend.clone());
    }

    /// Gives the connection of a backend that was reached back.
    fn leave_backend(&mut self) -> Option<Lease> {
        let reached = std::mem::replace(&mut self.stage, Stage::Connect) == Stage::Relay;
        let probe = std::mem::take(&mut self.probe);
        self.backend.take().filter(|_| reached).map(|backend| Lease::resume(backend, probe))
    }

    /// A server answered; `speaks` says that the client's first bytes go to it at once.
    pub(crate) fn connected(&mut self, server: Lease, speaks: bool) {
        self.tries(&server);
        (self.backend, self.probe) = server.keep();
        let micros = self.start.elapsed().as_micros();
        self.connect_micros = u32::try_from(micros).unwrap_or(NOT_YET - 1);
        self.stage = Stage::Relay;
        self.asked_first = speaks;
    }

    /// No server was reached so far.
    pub(crate) fn not_connected(&mut self, reason: impl Into<Option<Reason>>) {
        self.reason = reason.into().unwrap_or(self.reason);
    }

    /// Whether there is a backend beside its own that it has not tried.
    pub(crate) fn has_other(&self) -> bool {
        let is_own = |other: &Backend| self.backend.as_ref().is_some_and(|backend| other.is_same(backend));
        self.pool().has_other(|other| is_own(other) || self.has_tried(other))
    }

    /// Whether there is another attempt to make after a server broke before its first byte, now or in a while.
    pub(crate) fn has_another(&self) -> bool {
        let attempts = self.guest.as_ref().map(|guest| &guest.attempts);
        let (Some(attempts), Some(backend)) = (attempts, &self.backend) else { return true };
        attempts.may_break(backend) || attempts.has_next_round_beside(backend) || self.has_other()
    }

    /// Whether there is another attempt to make after those that failed, now or in a while.
    pub(crate) fn has_attempt_left(&self) -> bool {
        let has_round = self.guest.as_ref().is_some_and(|guest| guest.attempts.has_next_round());
        has_round || self.pool().has_other(|other| self.has_tried(other))
    }

    /// The server, which broke before its first byte or was found down, is given up, and another is looked for.
    pub(crate) fn starts_again(&mut self, how: Failure) {
        self.connect_micros = NOT_YET;
        self.reason = if how == Failure::Down { Reason::BackendDown } else { Reason::ServerReset };
        self.up_bytes.set(0);
        if let Some(lease) = self.leave_backend() {
            self.attempts().failed(&lease, how);
            self.tries(&lease);
        }
    }

    /// The limits of what it may carry, if there are any.
    pub(crate) fn throttle(&self) -> Option<Box<Throttle>> {
        let speeds = self.seat.speeds.as_ref()?;
        Some(speeds.throttle(self.client.map(|client| client.ip())))
    }

    /// It is told of by the stories of its requests, each with a record of its own.
    pub(crate) fn speaks_for_others(&mut self) {
        self.guest().is_silent = true;
    }

    /// Its own record is left after all.
    pub(crate) fn speaks_for_itself(&mut self) {
        self.guest().is_silent = false;
    }

    /// Its server was reached, by a connection whose place is kept elsewhere.
    pub(crate) fn connected_with(&mut self, server: &Lease) {
        self.tries(server);
        self.carries_on();
    }

    /// The same by a connection that was there.
    pub(crate) fn connected_before(&mut self, server: &Lease) {
        self.tries(server);
        self.connect_micros = 0;
        (self.stage, self.reason) = (Stage::Answer, Reason::ClientReset);
    }

    /// When it began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// Its request goes out on a connection to a backend of `pool` that is there.
    pub(crate) fn goes_out_on(&mut self, pool: &Arc<Pool>, backend: &Arc<Backend>) {
        self.guest().pool = Some(pool.clone());
        self.tries(backend);
        self.carries_on();
    }

    fn carries_on(&mut self) {
        let micros = self.start.elapsed().as_micros();
        self.connect_micros = u32::try_from(micros).unwrap_or(NOT_YET - 1);
        self.stage = Stage::Answer;
        self.reason = Reason::ClientReset;
    }

    /// The number of the probe that its connection to the backend is, or 0.
    pub(crate) fn probe(&self) -> Probe {
        self.probe
    }

    /// The backend that was tried last, or is connected.
    pub(crate) fn backend(&self) -> Option<&Arc<Backend>> {
        self.backend.as_ref()
    }

    /// Bytes that were carried up and down.
    pub(crate) fn carried(&self) -> (u64, u64) {
        (self.up_bytes.get(), self.down_bytes.get())
    }

    /// The relay is over.
    pub(crate) fn ended(&mut self, end: End) {
        let is_reset = |kind| {
            matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected)
        };
        if matches!(end, End::Closed(_))
            && self.down_bytes.get() == 0
            && let Some(server) = &self.backend
        {
            self.pool().note_success(server);
        }
        self.reason = match end {
            End::Closed(Side::Client) => Reason::ClientClosed,
            End::Closed(Side::Server) => Reason::ServerClosed,
            End::Broken(Side::Client, kind) if is_reset(kind) => Reason::ClientReset,
            End::Broken(Side::Server, kind) if is_reset(kind) => Reason::ServerReset,
            End::Broken(Side::Client, _) => Reason::ClientLost,
            End::Broken(Side::Server, _) => Reason::ServerLost,
            End::Idle => Reason::Idle,
            End::BackendDown => Reason::BackendDown,
        };
    }

    /// How long ago the server was reached.
    pub(crate) fn since_connected(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_micros(self.connect_micros.into()))
    }

    /// The server's first byte: it works.
    fn answered(&self) {
        let Some(server) = &self.backend else { return };
        let took = self.asked_first.then(|| self.since_connected());
        self.pool().note_answer(server, took);
    }
}

impl Meter for Flow {
    fn up(&self, count: u64) {
        self.up_bytes.set(self.up_bytes.get() + count);
        self.worker.counters.carried_up(count);
        self.worker.stirred.note();
    }

    fn down(&self, count: u64) {
        if self.down_bytes.get() == 0 {
            self.answered();
        }
        self.down_bytes.set(self.down_bytes.get() + count);
        self.worker.counters.carried_down(count);
        self.worker.stirred.note();
    }

    fn lasts(&self) {
        if self.down_bytes.get() == 0
            && let Some(server) = &self.backend
        {
            self.pool().note_lasting(server);
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let stage = self.stage;
        self.worker.counters.finished(matches!(stage, Stage::Answer | Stage::Relay));
        self.worker.one_less();
        let backend = self.backend.clone();
        self.leave_backend();
        let is_silent = self.guest.as_ref().is_some_and(|guest| guest.is_silent);
        let Some(sink) = self.worker.records.as_ref().filter(|_| !is_silent) else { return };
        let duration = self.start.elapsed();
        let request = self.guest.as_mut().and_then(|guest| guest.request.take());
        let connect_time = Duration::from_micros(self.connect_micros.into());
        sink.send(Record {
            listener: self.seat.listener.clone(),
            client: self.client,
            wanted: self.guest.as_ref().and_then(|guest| Some(guest.wanted.as_ref()?.to_string())),
            user: self.guest.as_ref().and_then(|guest| guest.user.clone()),
            unique_id: self.unique_id().map(|id| String::from_utf8_lossy(id).into_owned()),
            backend: backend.map(|backend| Picked {
                pool: self.pool().config.clone(),
                address: backend.member.place.socket_address(self.offset),
                backend,
            }),
            start: SystemTime::now() - duration,
            duration,
            connect_time: (self.connect_micros != NOT_YET).then_some(connect_time),
            request,
            client_socket: self.guest.as_ref().and_then(|guest| guest.client_socket.clone()),
            server_socket: self.guest.as_ref().and_then(|guest| guest.server_socket.clone()),
            up_bytes: self.up_bytes.get(),
            down_bytes: self.down_bytes.get(),
            stage,
            reason: self.reason,
        });
    }
}
