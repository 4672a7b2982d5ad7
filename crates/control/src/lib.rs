//! Starting, watching and stopping an instance: everything around the data plane that is not the command line.

mod admin;
mod descriptors;
mod discover;
mod explain;
mod hints;
mod instance;
mod keeper;
mod keys;
mod layout;
mod loops;
mod occupant;
mod prepare;
mod records;
mod reload;
mod segments;
mod signals;
mod sources;

pub use admin::{OrderError, order};
pub use discover::DiscoverError;
pub use explain::{Question, explain_file};
pub use instance::{Instance, StartError};
pub use keys::open_keys;
pub use prepare::check;
pub use towpath_sys::limits::raise_descriptor_limit;
pub use towpath_sys::memory;
