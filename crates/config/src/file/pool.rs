//! The shape of a pool.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::shape::{either, shape};
use super::{Check, ClientTls, HttpOut, Keepalive, Segments};
use crate::read::{Field, Keys, OneOrMany, OrOff, Read, Shape, Switch, Whole};
use crate::report::Report;
use crate::words::{
    BalanceWord, FilePath, HashKeyWord, HedgeWord, Name, OnDownWord, ProxyOutWord, ReplayWord, SourceWord,
    TargetWord, Timespan, UserTimeout, ViaWord,
};

shape! {
    /// Backends and how connections are spread over them.
    #[schemars(extend("required" = ["name"]))]
    Pool, "[[pool]]",
    /// Its name, which listeners give; no other pool has it.
    name: Name,
    /// Which backend a connection tries first.
    balance: BalanceWord = "round_robin",
    /// What balance `hash` goes by: `source`, `source_and_port`, `sni`; in mode http also `path`, `field:NAME` or `cookie:NAME`.
    hash_key: HashKeyWord,
    /// Where its servers are: `HOST:PORT`, also with a range of ports, `unix:PATH` or `srv+NAME`.
    backend: OneOrMany<Backend>,
    /// Proxies that its connections go through, in this order: `http://`, `https://`, `h2://`, `h2c://`, `socks5://`, `socks5h://` or `socks4a://`, each
    /// `[USER:PASSWORD@]HOST:PORT`, or several with commas; `env` is the one of ALL_PROXY or HTTP_PROXY.
    via: OneOrMany<ViaWord>,
    /// TLS to backends.
    tls: ClientTls,
    /// A file of more backends, one address a line, which is watched.
    backends_file: FilePath,
    /// Clients that may wait while every backend has its `max_connections`.
    queue: Whole<0, 1_000_000> = 1024,
    /// How long each of them may.
    queue_timeout: Timespan = "5s",
    /// A backend that comes up takes its full share only after so long.
    slow_start: OrOff<Timespan> = "off",
    /// How long one attempt to connect may take.
    connect_timeout: Timespan = "5s",
    /// How long all attempts for one client may take together.
    connect_timeout_total: Timespan = "15s",
    /// When a second backend is asked while the first is silent; `auto` is what 95 of 100 connections took, between 50 and
    /// 250 ms.
    hedge_after: HedgeWord = "auto",
    /// When a client's first bytes may be sent again to another backend; `safe` is for a TLS ClientHello.
    replay: ReplayWord = "safe",
    /// How long a client is held while no backend is up.
    hold: OrOff<Timespan> = "5s",
    /// How backends are looked after.
    check: Check,
    /// So many connections in a row that come to nothing put a backend out for a while.
    eject_after: OrOff<Whole<1, 1000>> = 3,
    /// For how long, the first time; it doubles each time.
    eject_time: Timespan = "1s",
    /// And at most.
    eject_time_max: Timespan = "1m",
    /// Never more than so many percent of the backends.
    max_ejected: Whole<0, 100> = 50,
    /// What becomes of the connections of a backend that its checks find down.
    on_down: OnDownWord = "keep",
    /// The version of the PROXY header that backends get.
    send_proxy: ProxyOutWord = "off",
    /// The address that backends see: one or several of this machine's, or `client` for the client's own.
    source: OneOrMany<SourceWord>,
    /// A connection that carries nothing for so long is reset.
    idle_timeout: OrOff<Timespan> = "off",
    /// TCP_NODELAY to backends: small writes leave at once.
    nodelay: Switch = true,
    /// When the kernel asks a silent backend whether it still lives.
    keepalive: OrOff<Keepalive>,
    /// TCP_USER_TIMEOUT to backends: how long sent bytes may go unacknowledged.
    user_timeout: OrOff<UserTimeout> = "off",
    .. segments: Segments,
    .. http: HttpOut,
}

shape! {
    /// One server of a pool, as a table.
    #[schemars(extend("required" = ["address"]))]
    BackendTable, "a backend",
    /// Where it is: `HOST:PORT`, also with a range of ports, `unix:PATH` or `srv+NAME`.
    address: TargetWord,
    /// Its share beside the others.
    weight: Whole<1, 1000> = 1,
    /// Used only while no other is up.
    backup: Switch = false,
    /// Live connections; without it no limit.
    max_connections: Whole<1, 1_000_000_000>,
    /// It gets no new connections; those it has go on.
    drain: Switch = false,
}

/// One server of a pool: an address, or a table with one.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// `"10.0.0.11:5432"`.
    Address(TargetWord),
    /// `{ address = "10.0.0.11:5432" }`.
    Table(BackendTable),
}

either! { Backend, "an address or a table with one", Address(TargetWord), Table(BackendTable) }
