//! h2load, a client of HTTP/2, and what it writes of each request.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use super::load::{Load, client_limit};
use super::process;

/// Connections of a storm, and the streams at a time on each.
const STORM: u32 = 100;
/// Requests of a storm on each stream, for each second that it should take; about what HAProxy does.
const STORM_TURNS: u32 = 3;

/// Requests for `path` on 10 connections with 10 streams at a time each, for `seconds`.
///
/// # Errors
///
/// When h2load fails, or no request succeeds.
pub(super) fn run(address: SocketAddrV4, path: &str, seconds: u32) -> Result<Load> {
    let words = ["-c10", "-m10", "-D", &seconds.to_string()];
    h2load(&words, &format!("http://{address}{path}"), client_limit(seconds))
}

/// Requests for `path` on 100 connections with 100 streams at a time each. It is their number that `seconds`
/// decide: where h2load stops by the clock, it resets ten thousand streams, and forgets those of connections that it
/// could not make.
///
/// # Errors
///
/// When h2load fails, or no request succeeds.
pub(super) fn storm(address: SocketAddrV4, path: &str, seconds: u32) -> Result<Load> {
    let (count, streams) = (STORM * STORM * STORM_TURNS * seconds, STORM.to_string());
    let words = ["-c", &streams, "-m", &streams, "-n", &count.to_string()];
    h2load(&words, &format!("http://{address}{path}"), client_limit(seconds * 10))
}

fn h2load(words: &[&str], url: &str, limit: Duration) -> Result<Load> {
    let folder = process::folder(&[])?;
    let log = folder.path().join("requests");
    let mut command = Command::new("h2load");
    command.arg("-t1").args(words).arg("--log-file").arg(&log).arg(url);
    let output = process::run("h2load", &command, limit)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let log = fs::read_to_string(&log).context("h2load left no log")?;
    Ok(Load { errors: parse_errors(&text)?, ..parse_log(&log)? })
}

/// The requests that failed; those on connections which broke or never came to be are among them.
fn parse_errors(text: &str) -> Result<u64> {
    let counts = text.lines().find_map(|line| line.strip_prefix("requests: "));
    let mut counts = counts.context("h2load printed no summary")?.split(", ");
    let failed = counts.find_map(|count| count.strip_suffix(" failed")?.parse().ok());
    failed.context("cannot understand h2load's summary")
}

/// What its log says: a line for each request with its start in microseconds, the status, and the microseconds
/// that it took (h2load(1), `--log-file`).
fn parse_log(log: &str) -> Result<Load> {
    let mut took_us = Histogram::<u64>::new(3)?;
    let (mut first, mut last) = (u64::MAX, 0);
    for line in log.lines() {
        let fields: Vec<i64> = line.split('\t').filter_map(|field| field.parse().ok()).collect();
        let [start, status, took, ..] = fields[..] else { bail!("cannot understand h2load's log: {line}") };
        let (start, took) = (u64::try_from(start)?, u64::try_from(took)?);
        first = first.min(start);
        last = last.max(start + took);
        if (200..300).contains(&status) {
            took_us.record(took)?;
        }
    }
    if took_us.is_empty() {
        bail!("no request of h2load succeeded");
    }
    let quantile = |at| Some(took_us.value_at_quantile(at) as f64);
    Ok(Load {
        units: took_us.len() as f64,
        seconds: (last - first) as f64 / 1e6,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        errors: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_successes_and_their_latency() {
        let load = parse_log("1000000\t200\t500\n1000100\t503\t20\n1200000\t200\t300000\n").unwrap();
        assert_eq!((load.units, load.seconds), (2.0, 0.5));
        assert_eq!((load.p50_us, load.p99_us.map(f64::round)), (Some(500.0), Some(300_031.0)));
    }

    #[test]
    fn a_log_without_successes_is_an_error() {
        assert!(parse_log("").is_err());
        assert!(parse_log("1000000\t-1\t500\n").is_err());
        assert!(parse_log("one line of text\n").is_err());
    }

    #[test]
    fn requests_that_failed_are_counted() {
        let text = "finished in 1.00s\nrequests: 9 total, 8 started, 8 done, 5 succeeded, 4 failed, 1 errored, 0 timeout\n";
        assert_eq!(parse_errors(text).unwrap(), 4);
        assert!(parse_errors("finished in 1.00s\n").is_err());
    }
}
