//! What few connections have, and what requests have.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::StatusCode;
use towpath_wire::destination::Destination;
use towpath_wire::proxy_header::Header;

use super::{Flow, Stage};
use crate::attempts::Attempts;
use crate::listen::{Pass, Seat};
use crate::pool::{Backend, Pool};
use crate::record::{Exchanged, SocketFacts};
use crate::stream::Stream;

/// What few clients have: a PROXY header, a server name, a limit of their own, a server that was hard to reach.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    /// What its PROXY header says.
    pub(crate) header: Option<Header>,
    /// The server name of its ClientHello, where that was asked for.
    pub(crate) server_name: Option<String>,
    /// The protocol that it and we agreed on in a handshake of TLS (ALPN).
    pub(crate) alpn: Option<Vec<u8>>,
    /// What servers know it by, made here because its PROXY header had none.
    pub(crate) unique_id: Option<Vec<u8>>,
    /// Where it wants to go, as a client of a proxy.
    pub(crate) wanted: Option<Destination>,
    /// Which user it is, as a client of a proxy.
    pub(crate) user: Option<Arc<str>>,
    /// The way to where it wants to go, in place of the listener's pool.
    pub(crate) pool: Option<Arc<Pool>>,
    /// Its place among the connections of its address.
    pub(crate) pass: Option<Box<Pass>>,
    /// The backend that it was at before, by its cookie.
    pub(crate) preferred: Option<Arc<Backend>>,
    /// What the kernel has made of its socket, if anything was asked of it.
    pub(super) client_socket: Option<Arc<SocketFacts>>,
    /// The same of the socket to its server.
    pub(super) server_socket: Option<Arc<SocketFacts>>,
    /// What it asks of HTTP, for its record.
    pub(super) request: Option<Box<Exchanged>>,
    /// It has left HTTP for another protocol: what it sends is no request any more, and for its own server alone.
    pub(super) has_gone_over: bool,
    /// No record is left of it: all those that were refused share a line, and requests have their own.
    pub(super) is_silent: bool,
    /// Attempts to reach a server that did not come off at once.
    pub(super) attempts: Attempts,
}

impl Flow {
    /// Looks at what the kernel has made of the client's socket, if its listener asks anything of that.
    pub(crate) fn look_at_client(&mut self, client: &Stream) {
        if let Some(wanted) = &self.seat.listener.socket.segments
            && self.worker.records.is_some()
        {
            let facts = client.facts(wanted).map(Arc::new);
            self.has_client_socket(facts);
        }
    }

    /// The same of the socket to the server, or to the first proxy on the way.
    pub(crate) fn look_at_server(&mut self, server: &Stream) {
        if let Some(wanted) = &self.pool().first_stop().config.socket.segments
            && self.worker.records.is_some()
            && let Some(facts) = server.facts(wanted)
        {
            self.guest().server_socket = Some(Arc::new(facts));
        }
    }

    /// What the kernel has made of the client's socket, which carries other requests too.
    pub(crate) fn client_socket(&self) -> Option<Arc<SocketFacts>> {
        self.guest.as_ref()?.client_socket.clone()
    }

    /// Its client's socket is this.
    pub(crate) fn has_client_socket(&mut self, facts: Option<Arc<SocketFacts>>) {
        if facts.is_some() {
            self.guest().client_socket = facts;
        }
    }

    /// It is a request of HTTP.
    pub(crate) fn asks(&mut self, told: impl FnOnce() -> Exchanged) {
        self.stage = Stage::Route;
        if self.worker.records.is_some() {
            self.guest().request = Some(Box::new(told()));
        }
    }

    /// Its client is this one, be its connection that of another.
    pub(crate) fn is_of(&mut self, client: Option<IpAddr>) {
        if let Some(ip) = client
            && self.client.is_some_and(|client| client.ip().to_canonical() != ip)
        {
            self.client = Some(SocketAddr::new(ip, 0));
        }
    }

    /// Its client gets this status.
    pub(crate) fn answers(&mut self, status: StatusCode) {
        let start = self.start;
        if let Some(request) = self.guest.as_mut().and_then(|guest| guest.request.as_mut()) {
            request.status = Some(status.as_u16());
            request.first_byte = Some(start.elapsed());
        }
    }

    /// So many backends were asked.
    pub(crate) fn attempted(&mut self, attempts: u32) {
        if let Some(request) = self.guest.as_mut().and_then(|guest| guest.request.as_mut()) {
            request.attempts = attempts;
        }
    }

    /// It goes to this pool, in place of its listener's if that is another.
    pub(crate) fn goes_to(&mut self, pool: &Arc<Pool>) {
        if !Arc::ptr_eq(pool, &self.seat.pool) {
            self.guest().pool = Some(pool.clone());
        }
    }

    /// It leaves HTTP for another protocol, with its server.
    pub(crate) fn goes_over(&mut self) {
        self.guest().has_gone_over = true;
    }

    /// Whether it may go on with another server.
    pub(crate) fn may_change_server(&self) -> bool {
        self.guest.as_ref().is_none_or(|guest| !guest.has_gone_over)
    }

    /// It goes to this backend while that takes connections.
    pub(crate) fn prefers(&mut self, backend: Option<Arc<Backend>>) {
        if backend.is_some() {
            self.guest().preferred = backend;
        }
    }

    /// The backend that it goes to while that takes connections.
    pub(crate) fn preferred(&self) -> Option<&Arc<Backend>> {
        self.guest.as_ref()?.preferred.as_ref()
    }

    /// What begins the story of a second attempt beside this one, of which no record is left.
    pub(crate) fn begins_sibling(&self) -> impl Fn() -> Option<Self> + use<> {
        let (worker, source, pool) = (self.worker.clone(), self.seat.source().clone(), self.pool().clone());
        let (client, offset) = (self.client, self.offset);
        move || {
            let mut sibling = Self::begin(worker.clone(), Seat::take_now(&source)?, client, offset);
            let guest = sibling.guest();
            guest.is_silent = true;
            guest.pool = Some(pool.clone());
            Some(sibling)
        }
    }
}
