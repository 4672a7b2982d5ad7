//! Packets as they are on the wire: a network of the test's own, and a capture of what passes there.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::peers::{Program, program, run_well};
use super::wait_for;

/// Set where a test runs within a network of its own.
const INSIDE: &str = "TOWPATH_TEST_NETWORK";

/// Runs `scene`, the whole test of this `name`, in a network with nothing but loopback, on which every segment is a packet: the
/// test binary starts itself there.
pub(crate) fn alone_in_a_network(name: &str, scene: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        let set_up: [(&str, &[&str]); 2] = [
            ("ip", &["link", "set", "lo", "up"]),
            ("ethtool", &["-K", "lo", "tso", "off", "gso", "off", "gro", "off"]),
        ];
        for (tool, arguments) in set_up {
            let mut command = program(tool);
            command.args(arguments);
            run_well(command);
        }
        return scene();
    }
    let mut again = program("unshare");
    again.arg("--net").arg(env::current_exe().unwrap());
    again.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let told = run_well(again);
    assert!(told.contains("1 passed"), "{told}");
}

/// Sets a variable of the kernel for this network.
pub(crate) fn set_kernel(variable: &str, value: &str) {
    let path = format!("/proc/sys/{}", variable.replace('.', "/"));
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// What ss(8) tells of the connections from a local port, a line each.
pub(crate) fn sockets_from(port: u16) -> Vec<String> {
    let mut ss = program("ss");
    ss.args(["-tinmHO", "--tos", "state", "established", "sport", "=", &format!(":{port}")]);
    run_well(ss).lines().map(str::to_owned).collect()
}

/// Whether a connection to a port waits for its answer.
pub(crate) fn is_connecting_to(port: u16) -> bool {
    let mut ss = program("ss");
    ss.args(["-tnHO", "state", "syn-sent", "dport", "=", &format!(":{port}")]);
    !run_well(ss).is_empty()
}

/// Has nft(8) do something.
pub(crate) fn nft(order: &str) {
    let mut nft = program("nft");
    nft.arg(order);
    run_well(nft);
}

/// A packet of TCP over v4.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// When it passed, in seconds.
    pub(crate) time: f64,
    pub(crate) from: u16,
    pub(crate) to: u16,
    /// As tcpdump(1) writes them: S, P, F, R and a dot for an acknowledgement.
    pub(crate) flags: String,
    /// The number of its first byte.
    pub(crate) first: u32,
    /// Bytes of payload.
    pub(crate) length: usize,
    /// The maximum segment size that it tells.
    pub(crate) mss: Option<u16>,
}

impl Packet {
    /// From a line such as `1.5 IP 127.0.0.1.1 > 127.0.0.1.2: Flags [P.], seq 1:101, ack 1, win 512, length 100`.
    fn parse(line: &str) -> Option<Self> {
        let behind = |word: &str| line.split_once(word).map(|(_, rest)| rest);
        let number = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse::<u32>().ok()
        };
        let (time, rest) = line.split_once(" IP ")?;
        let (from, rest) = rest.split_once(" > ")?;
        let (to, _) = rest.split_once(": ")?;
        let port = |address: &str| address.rsplit_once('.').and_then(|(_, port)| port.parse().ok());
        Some(Self {
            time: time.parse().ok()?,
            from: port(from)?,
            to: port(to)?,
            flags: behind("Flags [")?.split_once(']')?.0.to_owned(),
            first: behind("seq ").and_then(number).unwrap_or(0),
            length: behind(", length ").and_then(number)? as usize,
            mss: behind("[mss ").and_then(number).and_then(|mss| u16::try_from(mss).ok()),
        })
    }
}

/// A capture of all that passes on loopback.
pub(crate) struct Capture(Program);

impl Capture {
    /// Starts it with a filter of pcap-filter(7).
    pub(crate) fn start(filter: &str, folder: &Path) -> Self {
        let mut tcpdump: Command = program("tcpdump");
        tcpdump.args([
            "-i",
            "lo",
            "-nn",
            "-tt",
            "-S",
            "-l",
            "--immediate-mode",
            "-s",
            "128",
            "-B",
            "32768",
            filter,
        ]);
        let capture = Self(Program::start(tcpdump, folder));
        wait_for("start of tcpdump", || capture.0.output().contains("listening on").then_some(()));
        capture
    }

    /// Waits until `is_all` finds in the packets so far what is to come, and returns them.
    pub(crate) fn packets(&self, what: &str, is_all: impl Fn(&[Packet]) -> bool) -> Vec<Packet> {
        wait_for(what, || {
            let packets: Vec<_> = self.0.output().lines().filter_map(Packet::parse).collect();
            is_all(&packets).then_some(packets)
        })
    }
}

/// Bytes of payload that went from a port to another, those that went twice counted once.
pub(crate) fn carried(packets: &[Packet], is_of: impl Fn(&Packet) -> bool) -> usize {
    let mut parts: Vec<_> = packets.iter().filter(|packet| packet.length > 0 && is_of(packet)).collect();
    parts.sort_by_key(|packet| packet.first);
    let (mut bytes, mut end) = (0, 0_u64);
    for part in parts {
        let last = u64::from(part.first) + part.length as u64;
        bytes += last.saturating_sub(end.max(part.first.into())) as usize;
        end = end.max(last);
    }
    bytes
}
