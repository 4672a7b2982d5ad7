//! Starting, watching and stopping an instance: everything around the data plane that is not the command line.

mod descriptors;
mod hints;
mod instance;
mod loops;
mod occupant;
mod prepare;
mod records;
mod signals;

pub use instance::{Instance, StartError};
pub use towpath_sys::limits::raise_descriptor_limit;
pub use towpath_sys::memory;
