//! What the first bytes of a client say before its payload.

mod proxy_header;

pub(crate) use proxy_header::identify;
