//! Connections that stay on this machine and have much to send, without the timers of BBR.
//!
//! BBR, where it is the system's choice of congestion control, finds out the rate of a way and spreads packets over time accordingly.
//! Over loopback there is no such rate, and a timer for each packet costs more than all the rest. A connection that was made under
//! BBR keeps some of its timers whatever comes, so the choice is to be made before; but for a short one the call costs more than it
//! saves. Other congestion controls are left alone.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::sockopt;

use crate::options::choose_congestion;
use crate::stream::local_address;

/// Whether some connection had to be spared, so that this process carries bulk on this machine.
static CARRIES_BULK: AtomicBool = AtomicBool::new(false);

/// Spares a connection that has much to send, if it does not leave this machine.
pub fn spare_bulk(socket: BorrowedFd<'_>) {
    if is_paced(socket) && stays_here(socket) {
        choose_another(socket);
        CARRIES_BULK.store(true, Ordering::Relaxed);
    }
}

/// Spares a socket that is about to connect to `to`, once another had to be.
pub fn spare_connecting(socket: BorrowedFd<'_>, to: &SocketAddr) {
    if CARRIES_BULK.load(Ordering::Relaxed) && is_loopback(to) && is_paced(socket) {
        choose_another(socket);
    }
}

/// Spares the clients of a socket that is about to listen, for which it costs nothing.
pub fn spare_listening(socket: BorrowedFd<'_>) {
    let address = local_address(socket).ok().flatten();
    if address.is_some_and(|address| is_loopback(&address)) && is_paced(socket) {
        choose_another(socket);
    }
}

fn is_paced(socket: BorrowedFd<'_>) -> bool {
    sockopt::tcp_congestion(socket).is_ok_and(|name| name.starts_with("bbr"))
}

fn choose_another(socket: BorrowedFd<'_>) {
    // Whoever has no rights may choose `reno` anywhere.
    if choose_congestion(socket, "cubic").is_err() {
        let _ = choose_congestion(socket, "reno");
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether the other end is on this machine too: at its loopback address, or at the address of this end.
fn stays_here(socket: BorrowedFd<'_>) -> bool {
    let peer = rustix::net::getpeername(socket).ok().flatten();
    let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else { return false };
    let own = || local_address(socket).ok().flatten();
    is_loopback(&peer) || own().is_some_and(|own| own.ip() == peer.ip())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    /// Whether a socket is paced behind a call, under such a congestion control before.
    fn is_paced_behind(socket: impl AsFd, before: &str, call: impl Fn(BorrowedFd<'_>)) -> bool {
        choose_congestion(&socket, before).expect("BBR, which root may load: run it as root");
        call(socket.as_fd());
        is_paced(socket.as_fd())
    }

    #[test]
    fn only_what_bbr_paces_on_this_machine_is_spared() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = server.local_addr().unwrap();
        let connect = || TcpStream::connect(here).unwrap();
        let new = || crate::stream::tcp_socket(&here, false).unwrap();
        assert!(is_paced_behind(new(), "bbr", spare_bulk), "there is no other end");
        assert!(is_paced_behind(new(), "bbr", |new| spare_connecting(new, &here)), "no bulk yet");
        assert!(!is_paced_behind(connect(), "bbr", spare_bulk));
        assert!(!is_paced_behind(new(), "bbr", |new| spare_connecting(new, &here)));
        let there = SocketAddr::from(([192, 0, 2, 1], 80));
        assert!(is_paced_behind(new(), "bbr", |new| spare_connecting(new, &there)));
        let anywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(is_paced_behind(anywhere, "bbr", spare_listening));
        let mapped = TcpListener::bind("[::ffff:127.0.0.1]:0").unwrap();
        assert!(!is_paced_behind(mapped, "bbr", spare_listening));
        assert!(!is_paced_behind(server, "bbr", spare_listening));
    }

    #[test]
    fn other_congestion_controls_are_left_alone() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        choose_congestion(&client, "reno").unwrap();
        spare_bulk(client.as_fd());
        assert_eq!(sockopt::tcp_congestion(&client).unwrap(), "reno");
    }
}
