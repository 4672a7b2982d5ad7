//! The shapes of the file: every key, its type, its default and its description for the schema.

mod check;
mod http;
mod listener;
mod pool;
mod route;
mod segments;
mod shape;
mod tls;
mod tunnel;

use schemars::JsonSchema;
use toml::Spanned;
use toml::de::DeValue;

use crate::read::{Field, Keys, OneOrMany, Read, Shape, Switch, Tables, Whole};
use crate::report::Report;
use crate::words::{FilePath, FormatWord, Pipe, Server, SpliceAfter, Timespan};

pub(crate) use check::{Check, CheckTable, Status};
pub(crate) use http::{
    Compress, Edits, FieldTest, HttpIn, HttpOut, ReplacePrefix, ReplaceRegex, Rules, Split, Sticky,
};
pub(crate) use listener::{Keepalive, Listener, Speed};
pub(crate) use pool::{Backend, Pool};
pub(crate) use route::Route;
pub(crate) use segments::Segments;
use shape::shape;
pub(crate) use tls::{ClientTls, ServerTls};
pub(crate) use tunnel::Tunnel;

shape! {
    /// A towpath configuration.
    #[schemars(title = "towpath", extend("required" = ["listener", "pool"]))]
    Root, "the file",
    /// Worker threads; without it one per core.
    workers: Whole<1, 1024>,
    /// Live connections in all; without it as many as the descriptor limit allows.
    max_connections: Whole<1, 1_000_000_000>,
    /// How long live connections may go on after SIGTERM.
    drain_timeout: Timespan = "30s",
    /// Whether checks may run commands.
    allow_commands: Switch = false,
    /// Where a running instance takes orders.
    admin: Admin,
    /// What is logged and how.
    log: Log,
    /// How names are looked up.
    dns: Dns,
    /// How bytes are moved.
    relay: Relay,
    /// Where connections come in; at least one.
    listener: Tables<Listener>,
    /// Backends and how connections are spread over them.
    pool: Tables<Pool>,
}

shape! {
    /// What is logged and how.
    Log, "[log]",
    /// The form of records and messages.
    format: FormatWord = "text",
    /// Whether finished connections are recorded at all.
    records: Switch = true,
}

shape! {
    /// How names are looked up.
    Dns, "[dns]",
    /// Name servers, port 53 unless given; without them those of the system.
    servers: OneOrMany<Server>,
    /// How long one look-up may take in all.
    timeout: Timespan = "5s",
    /// An answer is kept at least so long, whatever its TTL.
    ttl_min: Timespan = "1s",
    /// An answer is kept at most so long, whatever its TTL.
    ttl_max: Timespan = "5m",
}

shape! {
    /// Where a running instance takes orders.
    #[schemars(extend("required" = ["socket"]))]
    Admin, "[admin]",
    /// The unix socket, which only its owner may use.
    socket: FilePath,
}

shape! {
    /// How bytes are moved.
    Relay, "[relay]",
    /// The read buffer that the connections of a worker share, from 4KiB to 16MiB.
    buffer: Pipe = "256KiB",
    /// Whether bulk streams move to splice(2), past the process.
    splice: Switch = true,
    /// How many bytes of large reads make a stream bulk, at most 1GiB.
    splice_after: SpliceAfter = "128KiB",
    /// Capacity asked for the pipes of splice(2), from 4KiB to 16MiB.
    pipe: Pipe = "1MiB",
}

/// Each table and its keys.
pub(crate) const TABLES: [(&str, &[&str]); 18] = [
    (Root::TITLE, Root::KEYS),
    (Admin::TITLE, Admin::KEYS),
    (Log::TITLE, Log::KEYS),
    (Dns::TITLE, Dns::KEYS),
    (Relay::TITLE, Relay::KEYS),
    (Listener::TITLE, Listener::KEYS),
    (Pool::TITLE, Pool::KEYS),
    (pool::BackendTable::TITLE, pool::BackendTable::KEYS),
    (CheckTable::TITLE, CheckTable::KEYS),
    (Route::TITLE, Route::KEYS),
    (ServerTls::TITLE, ServerTls::KEYS),
    (ClientTls::TITLE, ClientTls::KEYS),
    (FieldTest::TITLE, FieldTest::KEYS),
    (Split::TITLE, Split::KEYS),
    (Edits::TITLE, Edits::KEYS),
    (ReplacePrefix::TITLE, ReplacePrefix::KEYS),
    (ReplaceRegex::TITLE, ReplaceRegex::KEYS),
    (Sticky::TITLE, Sticky::KEYS),
];
