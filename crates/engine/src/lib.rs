//! The data plane: takes connections, brings them to servers and carries their bytes. `conn.rs` tells the story.

mod admit;
mod attempts;
mod balance;
mod buffers;
mod conn;
mod engine;
mod error;
mod first_flight;
mod flow;
mod health;
mod inbound;
mod listen;
mod metrics;
mod options;
mod outbound;
mod place;
mod pool;
mod race;
mod record;
mod relay;
mod resolve;
mod search;
mod stream;
mod throttle;
mod visitor;
mod worker;

pub use engine::{Engine, Limits, Pools};
pub use error::{ConnectError, HeaderFault, Reason};
pub use flow::{Picked, Record, Stage};
pub use health::watch_health;
pub use listen::{BindError, Bound, PrivateSocket, bind};
pub use metrics::Totals;
pub use place::Place;
pub use pool::{Backend, Member, Pool, Reckoned, Standing, hash_key};
pub use record::{RecordSink, RecordSource};
pub use resolve::{Answer, Host, ResolveError, Resolver};
