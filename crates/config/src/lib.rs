//! The configuration: text in, a checked and immutable [`Config`] out, or every mistake at once.

mod error;
mod file;
mod load;
mod model;
mod near;
mod parse;
mod read;
mod render;
mod report;
mod resolve;
mod schema;
mod syntax;
mod units;
mod words;

pub use error::{Mistake, Mistakes};
pub use load::load;
pub use model::{
    Backend, Balance, Config, Dns, Keepalive, Listener, Log, LogFormat, Mode, Pool, Relay, SocketOptions,
};
pub use parse::parse;
pub use schema::schema;

/// Longest configuration file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
