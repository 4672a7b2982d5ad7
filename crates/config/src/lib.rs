//! The configuration: text in, a checked and immutable [`Config`] out, or every mistake at once.
//!
//! The text becomes tables (`syntax`), the tables become the shapes of the file (`file`, with `read`, `words` and
//! `units` for what may be written), the shapes become the model (`resolve`). Each stage notes what is wrong in
//! a `report` and goes on.

mod error;
mod file;
mod load;
mod mask;
mod model;
mod model_health;
mod model_http;
mod model_proxy;
mod model_route;
mod model_segments;
mod model_tls;
mod model_tunnel;
mod near;
mod parse;
mod read;
mod render;
mod report;
mod resolve;
mod schema;
mod secret;
mod syntax;
mod units;
mod words;

pub use error::{Mistake, Mistakes};
pub use load::load;
pub use mask::masked;
pub use model::{
    Action, Admin, Admission, Backend, Balance, Bandwidth, Check, CheckKind, ClientTls, Coding, Compression,
    Config, DestHost, DestRule, Destinations, Dns, Eject, FieldEdit, FieldMatch, Flows, ForwardedFields,
    HashKey, Hedge, Hop, HopProtocol, HostPattern, Http, HttpOut, HttpRoute, Identity, Keepalive, Lanes,
    Listener, Log, LogFormat, Login, Match, Mode, OnDown, PathMatch, Pattern, Pem, Pieces, Pool, Proxy,
    ProxyHeaderIn, ProxyVersion, RecordFormat, Relay, Replay, RequestKey, RequestRate, Rewrite, Route, Rules,
    Segments, ServerTls, SocketOptions, SourceAddress, Sticky, TunnelEnd, TunnelIn, TunnelOut,
};
pub use parse::parse;
pub use schema::schema;
pub use secret::Secret;

/// Longest configuration file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
