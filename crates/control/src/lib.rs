//! Starting, watching and stopping an instance: everything around the data plane that is not the command line.

mod descriptors;
mod instance;
mod loops;
mod occupant;
mod records;

pub use instance::{Instance, StartError};
