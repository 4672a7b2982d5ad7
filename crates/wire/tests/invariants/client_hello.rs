//! Any bytes are a ClientHello, not yet one or none, however they come.

use towpath_wire::client_hello::{Sniffed, sniff};

use super::steady::steady;

/// Panics when something does not hold for `input`.
pub(crate) fn hold(input: &[u8]) {
    let found = steady(input, |input| match sniff(input) {
        Sniffed::NotTls => Err(()),
        Sniffed::Incomplete => Ok(None),
        Sniffed::Hello(hello) => Ok(Some((hello.clone(), hello.length))),
    });
    if let Ok(Some((hello, _))) = found {
        assert!(hello.server_name.is_none_or(|name| name.bytes().all(|byte| byte.is_ascii_graphic())));
    }
}
