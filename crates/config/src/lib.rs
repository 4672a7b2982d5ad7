//! The configuration: text in, a checked and immutable [`Config`] out, or every mistake at once.

mod model;

pub use model::{
    Backend, Balance, Config, Dns, Keepalive, Listener, Log, LogFormat, Mode, Pool, Relay, SocketOptions,
};
