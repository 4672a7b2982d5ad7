//! The checked configuration that the engine runs from: no strings to parse, no Options to doubt.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use towpath_wire::addr::{Listen, Target};

/// A whole instance.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads; `None` is one per core.
    pub workers: Option<NonZeroUsize>,
    /// Live connections in all; `None` is what the descriptor limit allows.
    pub max_connections: Option<usize>,
    /// How long live connections may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// What is logged and how.
    pub log: Log,
    /// How names are looked up.
    pub dns: Dns,
    /// How bytes are moved.
    pub relay: Relay,
    /// At least one; names are unique.
    pub listeners: Vec<Arc<Listener>>,
    /// Those that listeners name, and any others of the file; names are unique.
    pub pools: Vec<Arc<Pool>>,
}

/// What is logged and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// The form of records and messages.
    pub format: LogFormat,
    /// Whether finished connections are recorded at all.
    pub records: bool,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of words and `key=value` pairs.
    Text,
    /// One JSON object a line.
    Json,
}

/// How names are looked up.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Name servers; empty means those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one look-up may take in all.
    pub timeout: Duration,
}

/// How bytes are moved.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The read buffer that the connections of a worker share, in bytes.
    pub buffer_bytes: usize,
    /// A stream moves to splice(2) after this many bytes of large reads; `None` never.
    pub splice_after_bytes: Option<u64>,
    /// Capacity asked for the pipes of splice(2), in bytes.
    pub pipe_bytes: usize,
}

/// Where connections come in.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in logs.
    pub name: Arc<str>,
    /// Where it binds; at least one.
    pub bind: Vec<Listen>,
    /// What it takes the first bytes for.
    pub mode: Mode,
    /// Where its connections go.
    pub pool: Arc<Pool>,
    /// Live connections of this listener; `None` is no limit of its own.
    pub max_connections: Option<usize>,
    /// New connections a second; `None` is no limit.
    pub accept_rate: Option<f64>,
    /// A connection that carries nothing for so long is reset; `None` never.
    pub idle_timeout: Option<Duration>,
    /// Options of the sockets to clients.
    pub socket: SocketOptions,
}

/// What a listener takes the first bytes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: every byte goes to the target.
    Tcp,
}

/// Backends and how connections are spread over them.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name in logs.
    pub name: Arc<str>,
    /// Which backend a connection tries first.
    pub balance: Balance,
    /// At least one.
    pub backends: Vec<Backend>,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// A connection that carries nothing for so long is reset; `None` never.
    pub idle_timeout: Option<Duration>,
    /// Options of the sockets to backends.
    pub socket: SocketOptions,
}

/// Which backend a connection tries first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
}

/// One server of a pool.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where it is.
    pub address: Target,
}

/// Options of a TCP socket; unix sockets have none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP_NODELAY: small writes leave at once.
    pub nodelay: bool,
    /// SO_KEEPALIVE and its times; `None` is off.
    pub keepalive: Option<Keepalive>,
    /// TCP_USER_TIMEOUT; `None` leaves the kernel's.
    pub user_timeout: Option<Duration>,
}

/// When the kernel asks a silent peer whether it still lives (tcp(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// TCP_KEEPIDLE: silence before the first probe.
    pub idle: Duration,
    /// TCP_KEEPINTVL: time between probes.
    pub interval: Duration,
    /// TCP_KEEPCNT: unanswered probes until the peer counts as dead.
    pub count: u32,
}
