//! Where clients go by what they say: by their first bytes, or by where they want to go and may.

mod destinations;
mod first_bytes;

pub use destinations::Denial;
pub(crate) use destinations::{Rules, meant};
pub(crate) use first_bytes::matches;
