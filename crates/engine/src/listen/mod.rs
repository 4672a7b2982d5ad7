//! Where connections come in: binding sockets, accepting from them, and the limits on it.

mod accept;
mod bind;
mod own;
mod pace;
mod places;
mod source;

pub(crate) use crate::admit::Pass;
pub(crate) use accept::{Accepted, Acceptor};
pub(crate) use bind::UnixPathGuard;
pub use bind::{BindError, Bound, PrivateSocket, bind};
pub(crate) use own::Own;
pub(crate) use places::Places;
pub(crate) use source::{Door, Seat, Source, Ways};
