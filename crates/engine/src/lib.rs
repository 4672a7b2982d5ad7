//! The data plane: takes connections, brings them to servers and carries their bytes. `conn.rs` tells the story.

mod balance;
mod conn;
mod engine;
mod error;
mod first_flight;
mod flow;
mod listen;
mod metrics;
mod options;
mod outbound;
mod record;
mod relay;
mod resolve;
mod stream;
mod worker;

pub use engine::{Engine, Limits};
pub use error::{ConnectError, Reason};
pub use flow::{Picked, Record, Stage};
pub use listen::{BindError, Bound, bind};
pub use metrics::Totals;
pub use record::{RecordSink, RecordSource};
pub use resolve::{ResolveError, Resolver};
