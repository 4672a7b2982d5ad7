//! The clients of a benchmark, and what each kind of it asks of them.

use std::net::SocketAddrV4;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backend::{Backend, LARGE_PATH};
use super::contender::Running;
use super::{h2load, openloop, process, tunnel};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// HTTP requests for 1 kB over 64 connections that stay open
    Request64,
    /// The same over one connection
    Request1,
    /// Connect, one request, close; 64 at a time
    Connect,
    /// One stream, as fast as it goes
    Bulk1,
    /// Eight such streams
    Bulk8,
    /// 2,000 requests a second over 64 connections, on time: latency below saturation
    Open,
    /// 3,000 connections that each had one request: memory of the forwarder's own
    Idle,
    /// Through a proxy: CONNECT, one request, close; 16 at a time
    Tunnel,
    /// One stream through a tunnel of a proxy, as fast as it goes
    Tunnelbulk,
    /// Balanced over three servers: requests for 1 kB over 64 connections that stay open, HTTP/1.1
    Http1k,
    /// The same for 64 kB
    Http64k,
    /// The same as http1k, but HTTP/2 to HTTP/1.1: 10 streams at a time on each of 10 connections
    H2to1k,
    /// The same for 64 kB
    H2to64k,
    /// Balanced over three servers: 100 streams at a time on each of 100 HTTP/2 connections; latency and errors
    H2storm,
    /// The requests of http1k: how far from an equal share a server is
    Httpspread,
}

/// What contenders do for their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// They carry connections to the backend.
    Forwarder,
    /// They take clients where these ask for.
    Proxy,
    /// They spread HTTP requests over several servers, all of which speak HTTP/1.1.
    Balancer {
        /// Whether clients speak HTTP/2, without TLS and from their first byte on.
        http2: bool,
    },
}

/// Requests a second of [`Kind::Open`].
const OPEN_RATE: u32 = 2_000;
/// Connections of [`Kind::Open`].
const OPEN_CONNECTIONS: u32 = 64;
/// Connections of [`Kind::Idle`]. Go keeps six descriptors for each, and 20,000 is a common limit.
pub(super) const IDLE_CONNECTIONS: u32 = 3_000;

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Request64 => "request64",
            Kind::Request1 => "request1",
            Kind::Connect => "connect",
            Kind::Bulk1 => "bulk1",
            Kind::Bulk8 => "bulk8",
            Kind::Open => "open",
            Kind::Idle => "idle",
            Kind::Tunnel => "tunnel",
            Kind::Tunnelbulk => "tunnelbulk",
            Kind::Http1k => "http1k",
            Kind::Http64k => "http64k",
            Kind::H2to1k => "h2to1k",
            Kind::H2to64k => "h2to64k",
            Kind::H2storm => "h2storm",
            Kind::Httpspread => "httpspread",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Kind::Request64 => "64 connections, 1 kB HTTP requests",
            Kind::Request1 => "1 connection, 1 kB HTTP requests",
            Kind::Connect => "connect, one request, close",
            Kind::Bulk1 => "1 bulk stream",
            Kind::Bulk8 => "8 bulk streams",
            Kind::Open => "2,000 requests a second over 64 connections",
            Kind::Idle => "user memory per idle connection",
            Kind::Tunnel => "CONNECT through a proxy, one request, close",
            Kind::Tunnelbulk => "1 bulk stream through CONNECT",
            Kind::Http1k => "HTTP/1.1 to 3 servers, 64 connections, 1 kB",
            Kind::Http64k => "HTTP/1.1 to 3 servers, 64 connections, 64 kB",
            Kind::H2to1k => "HTTP/2 to 3 servers, 10 connections of 10 streams, 1 kB",
            Kind::H2to64k => "HTTP/2 to 3 servers, 10 connections of 10 streams, 64 kB",
            Kind::H2storm => "HTTP/2 to 3 servers, 100 connections of 100 streams",
            Kind::Httpspread => "HTTP/1.1 to 3 servers, the one furthest from its share",
        }
    }

    /// What one unit of work costs is given in this.
    pub(super) fn cost_unit(self) -> &'static str {
        match self {
            Kind::Connect | Kind::Tunnel => "us/connection",
            Kind::Bulk1 | Kind::Bulk8 | Kind::Tunnelbulk => "cpu-s/GB",
            Kind::Idle => "bytes/connection",
            Kind::Httpspread => "% of a share",
            _ => "us/request",
        }
    }

    /// CPU seconds a unit, in the unit of the cost.
    pub(super) fn cost(self, seconds_per_unit: f64) -> f64 {
        match self {
            Kind::Bulk1 | Kind::Bulk8 | Kind::Tunnelbulk => seconds_per_unit,
            _ => seconds_per_unit * 1e6,
        }
    }

    /// Whether its figure is a price; one of [`Kind::Httpspread`] says how even requests are spread.
    pub(super) fn is_a_cost(self) -> bool {
        self != Kind::Httpspread
    }

    /// Whether the slowest answers are the point.
    pub(super) fn is_about_latency(self) -> bool {
        matches!(self, Kind::Open | Kind::H2storm)
    }

    pub(super) fn rate_unit(self) -> &'static str {
        match self {
            Kind::Connect | Kind::Tunnel => "connections/s",
            Kind::Bulk1 | Kind::Bulk8 | Kind::Tunnelbulk => "Gb/s",
            Kind::Idle => "",
            _ => "requests/s",
        }
    }

    /// Units a second, in the unit of the rate.
    pub(super) fn rate(self, units_per_second: f64) -> f64 {
        match self {
            Kind::Bulk1 | Kind::Bulk8 | Kind::Tunnelbulk => units_per_second * 8.0,
            _ => units_per_second,
        }
    }

    /// What it takes contenders for.
    pub(super) fn role(self) -> Role {
        match self {
            Kind::Tunnel | Kind::Tunnelbulk => Role::Proxy,
            Kind::Http1k | Kind::Http64k | Kind::Httpspread => Role::Balancer { http2: false },
            Kind::H2to1k | Kind::H2to64k | Kind::H2storm => Role::Balancer { http2: true },
            _ => Role::Forwarder,
        }
    }

    /// Starts what the contenders forward to.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub(super) fn backend(self) -> Result<Backend> {
        match self {
            Kind::Bulk1 | Kind::Bulk8 => Backend::bulk(),
            Kind::Tunnelbulk => Backend::source(),
            _ if matches!(self.role(), Role::Balancer { .. }) => Backend::web(),
            _ => Backend::http(),
        }
    }

    /// Puts the load on `running` for `seconds`; [`Kind::Idle`] has none of that sort.
    ///
    /// # Errors
    ///
    /// When the client fails.
    pub(super) fn run(self, running: &Running, seconds: u32) -> Result<Load> {
        let address = running.address;
        let duration = Duration::from_secs(seconds.into());
        match self {
            Kind::Request64 | Kind::Http1k | Kind::Httpspread => wrk(address, "/", seconds, 64, false),
            Kind::Http64k => wrk(address, LARGE_PATH, seconds, 64, false),
            Kind::Request1 => wrk(address, "/", seconds, 1, false),
            Kind::Connect => wrk(address, "/", seconds, 64, true),
            Kind::H2to1k => h2load::run(address, "/", seconds),
            Kind::H2to64k => h2load::run(address, LARGE_PATH, seconds),
            Kind::H2storm => h2load::storm(address, "/", seconds),
            Kind::Bulk1 => iperf3(address, seconds, 1),
            Kind::Bulk8 => iperf3(address, seconds, 8),
            Kind::Open => openloop::run(address, OPEN_RATE, OPEN_CONNECTIONS, duration),
            Kind::Tunnel => tunnel::connect(running.way(), running.backend, seconds),
            Kind::Tunnelbulk => tunnel::bulk(running.way(), running.backend, seconds),
            Kind::Idle => Ok(Load::default()),
        }
    }
}

/// What a client saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// Requests, connections, or GB.
    pub(super) units: f64,
    pub(super) seconds: f64,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    /// Requests that went wrong.
    pub(super) errors: u64,
}

/// Makes wrk say at its end, exactly, what it prints rounded.
const WRK_SCRIPT: &str = r#"
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;

#[derive(Deserialize)]
struct WrkSummary {
    requests: u64,
    duration_us: u64,
    p50_us: f64,
    p99_us: f64,
    errors: u64,
}

fn wrk(address: SocketAddrV4, path: &str, seconds: u32, connections: u32, close: bool) -> Result<Load> {
    let folder = process::folder(&[("summary.lua", WRK_SCRIPT.to_owned())])?;
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "-s"]);
    command.arg(folder.path().join("summary.lua"));
    if close {
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!("http://{address}{path}"));
    let output = process::run("wrk", &command, client_limit(seconds))?;
    parse_wrk(&String::from_utf8_lossy(&output.stdout))
}

fn parse_wrk(text: &str) -> Result<Load> {
    let line = text.lines().rev().find(|line| line.starts_with('{')).context("wrk printed no summary")?;
    let summary: WrkSummary = serde_json::from_str(line).context("cannot understand wrk's summary")?;
    Ok(Load {
        units: summary.requests as f64,
        seconds: summary.duration_us as f64 / 1e6,
        p50_us: Some(summary.p50_us),
        p99_us: Some(summary.p99_us),
        errors: summary.errors,
    })
}

fn iperf3(address: SocketAddrV4, seconds: u32, streams: u32) -> Result<Load> {
    let mut command = Command::new("iperf3");
    command.args(["-J", "-c", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-t", &seconds.to_string(), "-P", &streams.to_string()]);
    let attempt = || parse_iperf3(&process::run("iperf3", &command, client_limit(seconds))?.stdout);
    // After a test its server closes the listening socket for a moment.
    for _ in 0..2 {
        match attempt() {
            Ok(load) => return Ok(load),
            Err(_) => thread::sleep(Duration::from_millis(500)),
        }
    }
    attempt()
}

fn parse_iperf3(json: &[u8]) -> Result<Load> {
    let report: Value = serde_json::from_slice(json).context("cannot understand iperf3's report")?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let sum = &report["end"]["sum_received"];
    let number = |name: &str| sum[name].as_f64().with_context(|| format!("no {name} in iperf3's report"));
    Ok(Load { units: number("bytes")? / 1e9, seconds: number("seconds")?, ..Load::default() })
}

/// How long a client may take that should take `seconds`.
pub(super) fn client_limit(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds) + 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_wrk_is_found() {
        let text = "Running 1s test\n{\"requests\":1000,\"duration_us\":500000,\"p50_us\":12,\"p99_us\":34,\"errors\":1}\n";
        let load = parse_wrk(text).unwrap();
        assert_eq!((load.units, load.seconds, load.p99_us, load.errors), (1000.0, 0.5, Some(34.0), 1));
        assert!(parse_wrk("Running 1s test\n").is_err());
    }

    #[test]
    fn what_iperf3_received_counts() {
        let report =
            br#"{"end":{"sum_sent":{"bytes":3e9,"seconds":1},"sum_received":{"bytes":2e9,"seconds":1.5}}}"#;
        let load = parse_iperf3(report).unwrap();
        assert_eq!((load.units, load.seconds), (2.0, 1.5));
        let error = parse_iperf3(br#"{"end":{},"error":"the server is busy"}"#).err().unwrap().to_string();
        assert_eq!(error, "iperf3: the server is busy");
    }

    #[test]
    fn costs_and_rates_come_in_their_units() {
        assert_eq!(Kind::Request1.cost(20e-6), 20.0);
        assert_eq!(Kind::Bulk1.cost(0.18), 0.18);
        assert_eq!(Kind::Bulk8.rate(2.5), 20.0);
    }
}
