//! What a record tells of a socket.

use std::fmt;

use serde::Serialize;
use towpath_engine::SocketFacts;

/// What the kernel has made of a socket, by the keys of the configuration. Sizes are those of the kernel, which doubles what it is
/// asked for.
#[derive(Debug, Serialize)]
pub(super) struct Socket<'a> {
    mss: u32,
    congestion: &'a str,
    send_buffer: usize,
    receive_buffer: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cork: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notsent_lowat: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pacing_rate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dscp: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fastopen: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mptcp: Option<bool>,
}

impl<'a> From<&'a SocketFacts> for Socket<'a> {
    fn from(facts: &'a SocketFacts) -> Self {
        Self {
            mss: facts.mss,
            congestion: &facts.congestion,
            send_buffer: facts.send_buffer,
            receive_buffer: facts.receive_buffer,
            cork: facts.cork,
            notsent_lowat: facts.notsent_lowat,
            pacing_rate: facts.pacing_rate,
            dscp: facts.dscp,
            fastopen: facts.fastopen,
            mptcp: facts.mptcp,
        }
    }
}

impl fmt::Display for Socket<'_> {
    /// As in `mss=1200 congestion=bbr send_buffer=87040 receive_buffer=131072 dscp=46`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mss={} congestion={}", self.mss, self.congestion)?;
        write!(f, " send_buffer={} receive_buffer={}", self.send_buffer, self.receive_buffer)?;
        let mut tell = |key: &str, value: Option<&dyn fmt::Display>| match value {
            Some(value) => write!(f, " {key}={value}"),
            None => Ok(()),
        };
        tell("cork", self.cork.as_ref().map(|value| value as _))?;
        tell("notsent_lowat", self.notsent_lowat.as_ref().map(|value| value as _))?;
        tell("pacing_rate", self.pacing_rate.as_ref().map(|value| value as _))?;
        tell("dscp", self.dscp.as_ref().map(|value| value as _))?;
        tell("fastopen", self.fastopen.as_ref().map(|value| value as _))?;
        tell("mptcp", self.mptcp.as_ref().map(|value| value as _))
    }
}
