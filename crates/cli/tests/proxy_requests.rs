//! Bad input to a proxy.

mod support;
