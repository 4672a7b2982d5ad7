//! What holds for any input: the fuzzer looks for one for which it does not, and the tests play what it starts with.

pub(crate) mod client_hello;
pub(crate) mod destination;
pub(crate) mod http1;
pub(crate) mod sniff;
pub(crate) mod socks;
pub(crate) mod tunnel;

#[path = "../../src/steady.rs"]
mod steady;
