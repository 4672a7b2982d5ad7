//! Addresses and protocol codecs: values in, values out; no socket, no clock, no randomness.

pub mod addr;
pub mod client_hello;
pub mod destination;
pub mod http1;
pub mod proxy_header;
pub mod sniff;
pub mod socks;
pub mod tunnel;

#[cfg(test)]
mod steady;
