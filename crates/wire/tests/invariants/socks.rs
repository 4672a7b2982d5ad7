//! Any bytes are a message of SOCKS, not yet one or none, however they come, and what is one is written back as itself.

use std::fmt::Debug;

use towpath_wire::destination::{Destination, Host};
use towpath_wire::socks::{Parsed, SocksFault, v4, v5};

use super::steady::steady;

/// Panics when something does not hold for `input`.
pub(crate) fn hold(input: &[u8]) {
    read(input, v5::methods);
    read(input, v5::method_chosen);
    read(input, v5::login_accepted);
    read(input, v5::reply);
    read(input, v4::reply);
    if let Some(login) = read(input, v5::login) {
        let mut bytes = Vec::new();
        if v5::write_login(&login.name, &login.password, &mut bytes).is_ok() {
            assert!(input.starts_with(&bytes));
        }
    }
    if let Some(destination) = read(input, v5::request) {
        let mut bytes = Vec::new();
        v5::write_request(&destination, &mut bytes);
        assert_eq!(read(&bytes, v5::request), Some(canonical(destination)));
    }
    if let Some(request) = read(input, v4::request) {
        let mut bytes = Vec::new();
        if v4::write_request(&request.destination, &request.user, &mut bytes).is_ok() {
            let destination = canonical(request.destination);
            assert_eq!(read(&bytes, v4::request), Some(v4::Request { destination, ..request }));
        }
    }
}

fn read<T: PartialEq + Debug>(
    input: &[u8],
    parse: impl Fn(&[u8]) -> Result<Parsed<T>, SocksFault>,
) -> Option<T> {
    Some(steady(input, |input| parse(input).map(Parsed::complete)).ok()??.0)
}

/// As it is written: an address of version 4 is not within one of version 6.
fn canonical(destination: Destination) -> Destination {
    assert_ne!(destination.port, 0);
    match destination.host {
        Host::Ip(ip) => Destination { host: Host::Ip(ip.to_canonical()), ..destination },
        Host::Name(_) => destination,
    }
}
