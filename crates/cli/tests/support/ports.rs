//! Free ports, found by binding them and claimed against the other tests of the machine.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below the range that the kernel takes for outgoing connections, so that none of those gets in the way.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// What keeps the ports of this process from others, until it ends.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that nobody listens on, on any address.
pub(crate) fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` such ports in a row.
pub(crate) fn free_ports(count: u16) -> u16 {
    for _ in 0..1_000 {
        let first = fastrand::u16(RANGE.start..RANGE.end - count);
        let claims: Option<Vec<_>> = (first..first + count).map(claim).collect();
        if let Some(claims) = claims {
            CLAIMS.lock().unwrap().extend(claims);
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

/// A socket whose name only one process can have: another test may be between its choice of a port and the
/// program that binds it. `None` if one is, or if anybody listens there.
fn claim(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("towpath-test-port-{port}")).unwrap();
    let claim = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind(("::", port)).is_ok().then_some(claim)
}

/// `127.0.0.1` with a free port.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}
