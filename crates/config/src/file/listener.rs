//! The shape of a listener.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::shape::{either, shape};
use super::{HttpIn, Route, Rules, Segments, ServerTls, Tunnel};
use crate::read::{Field, Keys, OneOrMany, OrOff, Read, Shape, Switch, Tables, Whole};
use crate::report::Report;
use crate::words::{
    ByteRate, DestWord, ListenWord, ModeWord, Name, Network, ProxyInWord, Rate, Seconds, Text, Timespan,
    UserTimeout,
};

shape! {
    /// Where connections come in.
    #[schemars(extend("required" = ["name", "bind"]))]
    Listener, "[[listener]]",
    /// Its name in logs; no other listener has it.
    name: Name,
    /// Where it binds: `:PORT`, `HOST:PORT`, `[V6]:PORT`, each also with a range of ports, or `unix:PATH`.
    bind: OneOrMany<ListenWord>,
    /// What it takes the first bytes for; `tcp` for nothing at all, `proxy` for where a client wants to go,
    /// `http` for requests, each of which may go elsewhere, `tunnel` for lanes of tunnels.
    mode: ModeWord = "tcp",
    /// The name of the pool where its connections go; modes proxy and tunnel: of one without backends, which says how they go out.
    pool: Name,
    /// Live connections of this listener; without it only the limit of the whole instance.
    max_connections: Whole<1, 1_000_000_000>,
    /// New connections in a time, as in `500/s`, `30/m` or `100/h`; without it no limit.
    accept_rate: Rate,
    /// A connection that carries nothing for so long is reset.
    idle_timeout: OrOff<Timespan> = "off",
    /// TCP_NODELAY to clients: small writes leave at once.
    nodelay: Switch = true,
    /// When the kernel asks a silent client whether it still lives.
    keepalive: OrOff<Keepalive>,
    /// TCP_USER_TIMEOUT to clients: how long sent bytes may go unacknowledged.
    user_timeout: OrOff<UserTimeout> = "off",
    /// Clients that may come in, networks or addresses; without it all.
    allow: OneOrMany<Network>,
    /// Clients that may not, be they in `allow` too.
    deny: OneOrMany<Network>,
    /// Live connections of one client address; without it no limit.
    max_connections_per_client: Whole<1, 1_000_000_000>,
    /// New connections of one client address in a time; without it no limit.
    rate_per_client: Rate,
    /// What all connections together may carry, as in `10MiB/s`, or a table of `up` and `down`; without it no limit.
    bandwidth: Speed,
    /// What the connections of one client address together may carry.
    bandwidth_per_client: Speed,
    /// What each connection may carry.
    bandwidth_per_connection: Speed,
    /// The version of the PROXY header with which each client has to begin.
    proxy_protocol: ProxyInWord = "off",
    /// Who may send one; all others are refused. In mode http also whose X-Forwarded-* and Forwarded fields are kept.
    trusted: OneOrMany<Network>,
    /// How long the header may take.
    proxy_protocol_timeout: Timespan = "5s",
    /// Mode tcp: other pools for clients whose first bytes are of a kind; mode http: what becomes of requests of a kind. `pool`
    /// is for the rest, who are refused without it (mode http: 404).
    route: Tables<Route>,
    /// How long a client may take for the bytes that routes go by; then it is one of the rest.
    first_bytes_timeout: Timespan = "500ms",
    /// TLS that its clients have to speak.
    tls: ServerTls,
    /// Mode proxy: whether anybody may use it, from anywhere.
    open: Switch = false,
    /// Modes proxy and tunnel: destinations that are let through although closed or denied in general: `[USER@]HOST[:PORTS]`.
    allow_dest: OneOrMany<DestWord>,
    /// Modes proxy and tunnel: destinations that are not let through; with `*` all that `allow_dest` does not name.
    deny_dest: OneOrMany<DestWord>,
    /// Modes proxy and http: how long a client may take to say what it wants, or for the head of a request.
    header_timeout: Timespan = "10s",
    /// Modes proxy and http: the name in the `Via` field of HTTP requests; in mode http `off` unless given.
    via_name: OrOff<Text> = "towpath",
    /// Mode proxy: whether HTTP requests tell the client's address in a `Forwarded` field.
    forwarded: Switch = false,
    /// Mode tunnel: its key, and what it keeps to.
    tunnel: Tunnel,
    .. segments: Segments,
    .. http: HttpIn,
    .. rules: Rules,
}

shape! {
    /// When the kernel asks a silent peer whether it still lives (tcp(7)).
    Keepalive, "keepalive",
    /// TCP_KEEPIDLE: silence before the first probe, in whole seconds.
    idle: Seconds = "60s",
    /// TCP_KEEPINTVL: time between probes, in whole seconds.
    interval: Seconds = "10s",
    /// TCP_KEEPCNT: unanswered probes until the peer counts as dead.
    count: Whole<1, 127> = 6,
}

shape! {
    /// Limits each way.
    SpeedTable, "bandwidth",
    /// From clients to backends.
    up: ByteRate,
    /// From backends to clients.
    down: ByteRate,
}

/// One limit both ways, or one each.
#[derive(Clone, Debug)]
pub(crate) enum Speed {
    /// `"10MiB/s"`.
    Both(ByteRate),
    /// `{ up = "1MiB/s", down = "10MiB/s" }`.
    Each(SpeedTable),
}

either! { Speed, "a byte rate or a table of `up` and `down`", Both(ByteRate), Each(SpeedTable) }
