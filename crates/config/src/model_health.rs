//! The checked configuration of health: how backends are looked after, and when they are passed over.

use std::time::Duration;

use crate::secret::Secret;

/// How backends are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub kind: CheckKind,
    /// Time between checks of a backend that is up.
    pub interval: Duration,
    /// Time between checks of a backend that is down, or on its way there or back.
    pub down_interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// So many good checks in a row bring a backend up; at least 1.
    pub rise: u32,
    /// So many bad checks in a row take it down; at least 1.
    pub fall: u32,
    /// Port to ask in place of the backend's own.
    pub port: Option<u16>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// That a connection comes about.
    Tcp,
    /// That a TLS handshake comes about; certificates are not verified.
    Tls {
        /// Server name (SNI); `None` sends none.
        server_name: Option<String>,
    },
    /// An HTTP/1.1 GET.
    Http {
        /// Path and query.
        path: String,
        /// The Host field; `None` is the backend's address.
        host: Option<String>,
        /// Status codes that are good, each range with both ends.
        status: Vec<(u16, u16)>,
        /// Text that the first 64 KiB of the body must contain.
        body: Option<String>,
    },
    /// Bytes to send, and bytes that the first 64 KiB of the answer must contain.
    Exchange {
        /// Sent first; may be empty.
        send: Vec<u8>,
        /// Must come; empty is content with a connection.
        expect: Vec<u8>,
    },
    /// A PostgreSQL server that answers to a startup packet.
    Postgres {
        /// Only one that takes writes (not in recovery).
        primary: bool,
        /// Who asks.
        user: String,
        /// The database that is asked for.
        database: String,
        /// For servers that want one.
        password: Option<Secret>,
    },
    /// A Redis server that answers PING.
    Redis {
        /// Only one whose ROLE is master.
        master: bool,
        /// For servers that want one.
        password: Option<Secret>,
    },
    /// A MySQL server that sends its greeting.
    Mysql,
    /// A program that ends with exit code 0. It gets the backend's address and port as TOWPATH_ADDRESS and TOWPATH_PORT.
    Command {
        /// The program and its arguments; at least one.
        argv: Vec<String>,
    },
}

/// When connections that fail put a backend out for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eject {
    /// So many failures in a row; at least 1.
    pub failures: u32,
    /// For how long, the first time; it doubles each time.
    pub time: Duration,
    /// And at most.
    pub time_max: Duration,
    /// Never more than so many percent of the pool.
    pub max_percent: u8,
}
