//! Free ports, found by binding them.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// Below the range that the kernel takes for outgoing connections, so that none of those gets in the way.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port that nobody listens on, on any address.
pub(crate) fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` such ports in a row.
pub(crate) fn free_ports(count: u16) -> u16 {
    let mut given = GIVEN.lock().unwrap();
    let given = given.get_or_insert_default();
    for _ in 0..1_000 {
        let first = fastrand::u16(RANGE.start..RANGE.end - count);
        let mut ports = first..first + count;
        if ports.all(|port| !given.contains(&port) && is_free(port)) {
            given.extend(first..first + count);
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("::", port)).is_ok()
}

/// `127.0.0.1` with a free port.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}
