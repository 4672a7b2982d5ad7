//! towpath goes out through the proxies of others.

mod support;
