//! Any text is a destination or none, and what is one prints back as itself.

use std::net::{IpAddr, Ipv4Addr};

use towpath_wire::destination::{Destination, Host};
use towpath_wire::http1::target::absolute;

/// Panics when something does not hold for `input`.
pub(crate) fn hold(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for default in [None, Some(80)] {
        let Ok(destination) = Destination::parse(text, default) else { continue };
        assert_ne!(destination.port, 0);
        assert_eq!(Destination::parse(&destination.to_string(), None).as_ref(), Ok(&destination));
        match &destination.host {
            Host::Ip(IpAddr::V4(ip)) => assert_eq!(text.split(':').next(), Some(ip.to_string().as_str())),
            Host::Ip(IpAddr::V6(_)) => assert!(text.starts_with('[')),
            // What C libraries take for an address is no name.
            Host::Name(name) => {
                let last = name.as_str().trim_end_matches('.').rsplit('.').next().unwrap_or_default();
                assert!(last.parse::<u128>().is_err() && name.as_str().parse::<Ipv4Addr>().is_err());
            }
        }
        let url = format!("http://{text}/?x");
        let found = absolute(&url).expect("a URL with this authority");
        assert_eq!((found.authority, &*found.path), (text, "/?x"));
    }
    if let Ok(found) = absolute(text) {
        assert!(found.path.starts_with('/') && text.contains(found.authority));
        assert!(text.ends_with(&*found.path) || found.path == "/" || found.path.starts_with("/?"));
        assert_eq!(Destination::parse(found.authority, Some(80)), Ok(found.destination));
    }
}
