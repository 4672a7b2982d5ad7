//! Who listens on an address that we wanted, for the error that says so.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kernel's number for the state LISTEN (include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// The process that keeps `wanted` busy, as in `postgres (pid 812) listens on 0.0.0.0:5432`; `None` when it is gone by
/// now. A process of somebody else may be nameless.
pub(crate) fn describe(wanted: &SocketAddr) -> Option<String> {
    let (address, inode) = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(listening).collect::<Vec<_>>())
        .find(|(address, _)| collide(address, wanted))?;
    let who = owner(inode).unwrap_or_else(|| "a process of another user".to_owned());
    Some(format!("{who} listens on {address}"))
}

/// Address and inode of a line of /proc/net/tcp that is a listening socket (proc_net_tcp.txt of the kernel).
fn listening(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    if state != LISTEN {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(parse_ip(ip)?, port), inode.parse().ok()?))
}

/// An address as the kernel prints it: words of 32 bits, each in the byte order of the machine.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let mut bytes = [0; 16];
            bytes.iter_mut().zip(words.iter().flatten()).for_each(|(to, from)| *to = *from);
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

fn collide(has: &SocketAddr, wanted: &SocketAddr) -> bool {
    let any = has.ip().is_unspecified() || wanted.ip().is_unspecified();
    has.port() == wanted.port() && (any || has.ip().to_canonical() == wanted.ip().to_canonical())
}

/// Name and pid of the process that has the socket open.
fn owner(inode: u64) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    let is_pid = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes.filter(|entry| is_pid(&entry.file_name())) {
        let has_it = fs::read_dir(process.path().join("fd")).is_ok_and(|fds| {
            fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == &*socket))
        });
        if has_it {
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{} (pid {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_by_name_and_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let text = describe(&address).unwrap();
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
        assert!(text.ends_with(&format!("listens on {address}")), "{text}");
    }

    #[test]
    fn v6_addresses_are_read_too() {
        let loopback = parse_ip("00000000000000000000000001000000");
        assert_eq!(loopback, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(parse_ip("0100007F"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(parse_ip("0100"), None);
    }
}
