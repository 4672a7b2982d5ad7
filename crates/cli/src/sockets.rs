//! The options of sockets on the command line, which are those of both sides.

use std::fmt::Write;

use clap::{Args as ClapArgs, value_parser};

use crate::shorthand::{key, optional, quoted};

/// How the streams of both sides are cut, queued and paced.
#[derive(Debug, Default, ClapArgs)]
#[command(next_help_heading = "Segments and sockets (both sides)")]
pub(crate) struct Sockets {
    /// Bytes of payload in a segment, from 88 to 32767
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u16).range(88..=32_767))]
    pub(crate) mss: Option<u16>,
    /// Write in pieces of at most so many bytes, each a segment of its own
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u16).range(1..))]
    pub(crate) write_size: Option<u16>,
    /// Time between two pieces, as 5ms
    #[arg(long, value_name = "DURATION", requires = "write_size")]
    pub(crate) write_gap: Option<String>,
    /// Hold small writes back until what was sent before is acknowledged (Nagle's algorithm)
    #[arg(long)]
    pub(crate) no_nodelay: bool,
    /// Send only full segments, others after 200 ms
    #[arg(long)]
    pub(crate) cork: bool,
    /// Size of the send buffer, as 1MiB; the kernel doubles it
    #[arg(long, value_name = "SIZE")]
    pub(crate) send_buffer: Option<String>,
    /// Size of the receive buffer, as 1MiB; the kernel doubles it
    #[arg(long, value_name = "SIZE")]
    pub(crate) receive_buffer: Option<String>,
    /// Write no more while so much was not sent yet, as 128KiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) notsent_lowat: Option<String>,
    /// Congestion control: bbr, cubic, reno or what else the kernel has
    #[arg(long, value_name = "NAME")]
    pub(crate) congestion: Option<String>,
    /// Have the kernel send no faster, as 10MiB/s
    #[arg(long, value_name = "RATE")]
    pub(crate) pacing_rate: Option<String>,
    /// Let data come and go with the first packet (TCP Fast Open)
    #[arg(long)]
    pub(crate) fastopen: bool,
    /// Speak MPTCP, or plain TCP where kernel or peer has none
    #[arg(long)]
    pub(crate) mptcp: bool,
    /// Code point of packets: 0 to 63, or a name such as ef, af41 or cs1
    #[arg(long, value_name = "POINT")]
    pub(crate) dscp: Option<String>,
    /// Acknowledge the first bytes of each connection at once
    #[arg(long)]
    pub(crate) quickack: bool,
}

impl Sockets {
    /// Writes the keys of a table.
    pub(crate) fn write(&self, text: &mut String) {
        let mut number = |name: &str, value: Option<u16>| {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{name} = {value}");
            }
        };
        number("mss", self.mss);
        number("write_size", self.write_size);
        optional("write_gap", self.write_gap.as_deref(), text);
        if self.no_nodelay {
            key("nodelay", false, text);
        }
        let switch = |name: &str, is_on: bool, text: &mut String| {
            if is_on {
                key(name, true, text);
            }
        };
        switch("cork", self.cork, text);
        optional("send_buffer", self.send_buffer.as_deref(), text);
        optional("receive_buffer", self.receive_buffer.as_deref(), text);
        optional("notsent_lowat", self.notsent_lowat.as_deref(), text);
        optional("congestion", self.congestion.as_deref(), text);
        optional("pacing_rate", self.pacing_rate.as_deref(), text);
        switch("fastopen", self.fastopen, text);
        switch("mptcp", self.mptcp, text);
        match self.dscp.as_deref() {
            Some(point) if point.parse::<u8>().is_ok_and(|number| number.to_string() == point) => {
                key("dscp", point, text);
            }
            Some(point) => key("dscp", quoted(point), text),
            None => {}
        }
        switch("quickack", self.quickack, text);
    }
}
