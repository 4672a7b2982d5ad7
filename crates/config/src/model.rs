//! The checked configuration that the engine runs from: no strings to parse, no Options to doubt.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use towpath_wire::addr::{Listen, Target};

pub use crate::model_health::*;
pub use crate::model_http::*;
pub use crate::model_proxy::*;
pub use crate::model_route::*;
pub use crate::model_segments::*;
pub use crate::model_tls::*;
pub use crate::model_tunnel::*;

/// A whole instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Worker threads; `None` is one per core.
    pub workers: Option<NonZeroUsize>,
    /// Live connections in all; `None` is what the descriptor limit allows.
    pub max_connections: Option<usize>,
    /// How long live connections may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// Where a running instance takes orders; `None` is nowhere.
    pub admin: Option<Admin>,
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

/// Where a running instance takes orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The unix socket, which only its owner may use.
    pub socket: PathBuf,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Name servers; empty means those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one look-up may take in all.
    pub timeout: Duration,
    /// An answer is kept at least so long, whatever its TTL.
    pub ttl_min: Duration,
    /// An answer is kept at most so long, whatever its TTL.
    pub ttl_max: Duration,
}

/// How bytes are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The read buffer that the connections of a worker share, in bytes.
    pub buffer_bytes: usize,
    /// A stream moves to splice(2) after this many bytes of large reads; `None` never.
    pub splice_after_bytes: Option<u64>,
    /// Capacity asked for the pipes of splice(2), in bytes.
    pub pipe_bytes: usize,
}

/// Where connections come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name in logs.
    pub name: Arc<str>,
    /// Where it binds; at least one.
    pub bind: Vec<Listen>,
    /// What it takes the first bytes for.
    pub mode: Mode,
    /// Where its connections go; of a proxy, how.
    pub pool: Arc<Pool>,
    /// TLS that its clients have to speak; `None` is none.
    pub tls: Option<ServerTls>,
    /// Where clients of some kinds go, the first that matches; the rest goes to `pool`.
    pub routes: Vec<Route>,
    /// Whether the rest goes nowhere.
    pub refuses_rest: bool,
    /// How long a client may take for the bytes that routes go by.
    pub first_bytes_timeout: Duration,
    /// What clients may do, if it is a proxy, or the far end of tunnels.
    pub proxy: Option<Proxy>,
    /// What makes it the far end of tunnels.
    pub tunnel: Option<TunnelIn>,
    /// What becomes of its requests, if it balances HTTP.
    pub http: Option<Arc<Http>>,
    /// Live connections of this listener; `None` is no limit of its own.
    pub max_connections: Option<usize>,
    /// New connections a second; `None` is no limit.
    pub accept_rate: Option<f64>,
    /// A connection that carries nothing for so long is reset; `None` never.
    pub idle_timeout: Option<Duration>,
    /// Options of the sockets to clients.
    pub socket: SocketOptions,
    /// Who may come in.
    pub admission: Admission,
    /// How much may be carried in a time.
    pub bandwidth: Bandwidth,
    /// Whose PROXY header is taken; `None` takes the first bytes for payload.
    pub proxy_header: Option<ProxyHeaderIn>,
}

/// Who may come in, and how often.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admission {
    /// Only clients of these networks; empty lets all in.
    pub allow: Vec<IpNet>,
    /// No client of these networks, be it in `allow` too.
    pub deny: Vec<IpNet>,
    /// Live connections of one client address; `None` is no limit.
    pub max_connections_per_client: Option<usize>,
    /// New connections of one client address, a second; `None` is no limit.
    pub rate_per_client: Option<f64>,
}

/// Limits of what is carried, in bytes a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// For each connection.
    pub per_connection: Flows,
    /// For all connections of one client address together.
    pub per_client: Flows,
    /// For all connections of the listener together.
    pub in_all: Flows,
}

/// Bytes a second, each way; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// From client to server.
    pub up: Option<u64>,
    /// From server to client.
    pub down: Option<u64>,
}

/// Whose PROXY header tells the client's address, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeaderIn {
    /// Version 1, the line of text, is taken.
    pub v1: bool,
    /// Version 2, the binary form, is taken.
    pub v2: bool,
    /// Peers that may send one; all others are refused.
    pub trusted: Vec<IpNet>,
    /// How long the header may take.
    pub timeout: Duration,
}

/// What a listener takes the first bytes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: every byte goes to the target.
    Tcp,
    /// Where the client wants to go: HTTP or SOCKS.
    Proxy,
    /// Requests of HTTP, each of which may go elsewhere.
    Http,
    /// Lanes of tunnels, whose streams say where they want to go.
    Tunnel,
}

/// Backends and how connections are spread over them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name in logs.
    pub name: Arc<str>,
    /// Which backend a connection tries first.
    pub balance: Balance,
    /// At least one, unless there is a `backends_file`, or it is the way out of a proxy.
    pub backends: Vec<Backend>,
    /// The proxies that its connections go through, the nearest first.
    pub via: Vec<Hop>,
    /// Whether the names of backends are looked up by the proxy before them, not here.
    pub leaves_names: bool,
    /// TLS to backends; `None` is none.
    pub tls: Option<ClientTls>,
    /// A file of more backends, one a line, which is watched.
    pub backends_file: Option<PathBuf>,
    /// Clients that may wait while every backend is at its `max_connections`.
    pub queue: usize,
    /// How long each of them may.
    pub queue_timeout: Duration,
    /// A backend that comes up takes its full share only after so long; `None` is at once.
    pub slow_start: Option<Duration>,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long all attempts of one client may take together.
    pub connect_timeout_total: Duration,
    /// When a second backend is asked while the first is silent.
    pub hedge_after: Hedge,
    /// When the first bytes of a client may be sent again to another backend.
    pub replay: Replay,
    /// How long a client is held while no backend is up.
    pub hold: Duration,
    /// How backends are looked after; `None` is not at all.
    pub check: Option<Check>,
    /// When connections that fail put a backend out for a while; `None` is never.
    pub eject: Option<Eject>,
    /// What becomes of the connections of a backend that goes down.
    pub on_down: OnDown,
    /// The PROXY header that backends get before the first byte.
    pub send_proxy: Option<ProxyVersion>,
    /// The address that backends see.
    pub source: SourceAddress,
    /// A connection that carries nothing for so long is reset; `None` never.
    pub idle_timeout: Option<Duration>,
    /// Options of the sockets to backends.
    pub socket: SocketOptions,
    /// How it takes requests of HTTP.
    pub http: HttpOut,
}

/// Which backend a connection tries first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn, smoothly by weight.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConn,
    /// The better of two drawn by lot, by latency and load.
    P2c,
    /// By lot, by weight.
    Random,
    /// The same one for the same key, while it is up.
    Hash(HashKey),
}

/// What [`Balance::Hash`] goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Source,
    /// The client's address and port.
    SourceAndPort,
    /// The server name of a TLS ClientHello; the client's address where there is none.
    Sni,
    /// What `HttpOut::hash` says.
    Request,
}

/// One server of a pool, or several where its address is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it is.
    pub address: Target,
    /// Its share beside the others; at least 1.
    pub weight: u32,
    /// Used only while no other is up.
    pub backup: bool,
    /// Live connections; `None` is no limit.
    pub max_connections: Option<usize>,
    /// It gets no new connections; those it has go on.
    pub drain: bool,
}

/// When a second backend is asked while the first is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// After the time in which 95 of 100 connections were made, between 50 and 250 ms.
    Auto,
    /// After a time.
    After(Duration),
    /// Only after the connect timeout.
    Off,
}

/// When the first bytes of a client may be sent again to another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Never.
    Never,
    /// When they are a TLS ClientHello without early data.
    Safe,
    /// Always: the protocol bears it.
    Always,
}

/// What becomes of the connections of a backend that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// They go on.
    Keep,
    /// They are reset.
    Reset,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary form.
    V2,
}

/// The address that backends see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceAddress {
    /// One that the kernel chooses.
    Any,
    /// One of these in turn.
    These(Vec<IpAddr>),
    /// The client's own (IP_TRANSPARENT, ip(7)).
    Client,
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
    /// What is asked of it beyond that; `None` is nothing.
    pub segments: Option<Box<Segments>>,
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
