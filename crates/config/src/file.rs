//! The shapes of the file: every key, its type, its default and its description for the schema.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::read::{Field, Keys, OneOrMany, OrOff, Read, Shape, Switch, Tables, Whole};
use crate::report::Report;
use crate::words::{
    BalanceWord, FormatWord, ListenWord, ModeWord, Name, Pipe, Rate, Seconds, Server, SpliceAfter,
    TargetWord, Timespan, UserTimeout,
};

/// Defines a table once: its struct, its schema and how it is read.
macro_rules! shape {
    ($(#[$meta:meta])* $name:ident, $title:literal, $(
        $(#[$key_meta:meta])* $key:ident: $type:ty $(= $default:expr)?,
    )*) => {
        #[derive(Clone, Debug, Default, JsonSchema)]
        $(#[$meta])*
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name {
            $(
                $(#[$key_meta])*
                #[schemars(default $(, extend("default" = $default))?)]
                pub(crate) $key: Field<$type>,
            )*
        }

        impl Shape for $name {
            const TITLE: &'static str = $title;
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];

            fn take(table: &mut Keys<'_>, report: &mut Report) -> Self {
                Self { $($key: table.take(stringify!($key), report),)* }
            }
        }

        impl Read for $name {
            fn expected() -> String {
                match Self::TITLE.starts_with('[') {
                    true => format!("a {} table", Self::TITLE),
                    false => "a table".to_owned(),
                }
            }

            fn accepts(value: &DeValue<'_>) -> bool {
                value.is_table()
            }

            fn hint(key: &str, _value: &DeValue<'_>) -> Option<String> {
                let key_of = Self::KEYS.first().copied().unwrap_or_default();
                Some(match Self::TITLE.starts_with('[') {
                    true => format!("put its keys under a header {}", Self::TITLE),
                    false => format!("write {key} = {{ {key_of} = … }}"),
                })
            }

            fn convert(_key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
                match value.into_inner() {
                    DeValue::Table(table) => Some(Self::from_table(table, report)),
                    _ => None,
                }
            }
        }
    };
}

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

shape! {
    /// Where connections come in.
    #[schemars(extend("required" = ["name", "bind", "pool"]))]
    Listener, "[[listener]]",
    /// Its name in logs; no other listener has it.
    name: Name,
    /// Where it binds: `:PORT`, `HOST:PORT`, `[V6]:PORT`, each also with a range of ports, or `unix:PATH`.
    bind: OneOrMany<ListenWord>,
    /// What it takes the first bytes for; `tcp` for nothing at all.
    mode: ModeWord = "tcp",
    /// The name of the pool where its connections go.
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
}

shape! {
    /// Backends and how connections are spread over them.
    #[schemars(extend("required" = ["name", "backend"]))]
    Pool, "[[pool]]",
    /// Its name, which listeners give; no other pool has it.
    name: Name,
    /// Which backend a connection tries first.
    balance: BalanceWord = "round_robin",
    /// Where its servers are: `HOST:PORT`, also with a range of ports, `unix:PATH` or `srv+NAME`.
    backend: OneOrMany<Backend>,
    /// How long one attempt to connect may take.
    connect_timeout: Timespan = "5s",
    /// A connection that carries nothing for so long is reset.
    idle_timeout: OrOff<Timespan> = "off",
    /// TCP_NODELAY to backends: small writes leave at once.
    nodelay: Switch = true,
    /// When the kernel asks a silent backend whether it still lives.
    keepalive: OrOff<Keepalive>,
    /// TCP_USER_TIMEOUT to backends: how long sent bytes may go unacknowledged.
    user_timeout: OrOff<UserTimeout> = "off",
}

shape! {
    /// One server of a pool, as a table.
    #[schemars(extend("required" = ["address"]))]
    BackendTable, "a backend",
    /// Where it is: `HOST:PORT`, also with a range of ports, `unix:PATH` or `srv+NAME`.
    address: TargetWord,
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

/// One server of a pool: an address, or a table with one.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// `"10.0.0.11:5432"`.
    Address(TargetWord),
    /// `{ address = "10.0.0.11:5432" }`.
    Table(BackendTable),
}

impl Read for Backend {
    fn expected() -> String {
        "an address or a table with one".to_owned()
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_str() || value.is_table()
    }

    fn hint(key: &str, value: &DeValue<'_>) -> Option<String> {
        <TargetWord as Read>::hint(key, value)
    }

    fn convert(key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => BackendTable::convert(key, value, report).map(Self::Table),
            _ => TargetWord::convert(key, value, report).map(Self::Address),
        }
    }
}

impl JsonSchema for Backend {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Backend".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (address, table) =
            (generator.subschema_for::<TargetWord>(), generator.subschema_for::<BackendTable>());
        json_schema!({ "anyOf": [address, table] })
    }
}

/// Each table and its keys.
pub(crate) const TABLES: [(&str, &[&str]); 6] = [
    (Root::TITLE, Root::KEYS),
    (Log::TITLE, Log::KEYS),
    (Dns::TITLE, Dns::KEYS),
    (Relay::TITLE, Relay::KEYS),
    (Listener::TITLE, Listener::KEYS),
    (Pool::TITLE, Pool::KEYS),
];
