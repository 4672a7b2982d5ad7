//! What the first bytes of a client say before its payload.

mod ask;
mod proxy_header;

pub(crate) use ask::answer::status;
pub(crate) use ask::http::{log_in, refusal as http_refusal, status as http_status};
pub(crate) use ask::{Answer, Asked, Asking, Refusal, Tunnel, ask};
pub(crate) use proxy_header::identify;
