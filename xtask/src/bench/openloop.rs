//! HTTP requests at a fixed rate, whatever the answers take, and connections that are held.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use super::load::Load;

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `rate` requests a second over `connections` for `duration`.
///
/// Each request has a time at which it should start, and its latency counts from there: an answer that is late makes
/// the ones queued behind it late too, instead of hiding them.
///
/// # Errors
///
/// When a connection breaks or an answer is not understood.
pub(super) fn run(address: SocketAddrV4, rate: u32, connections: u32, duration: Duration) -> Result<Load> {
    let interval = Duration::from_secs(1) * connections / rate;
    let streams = hold(address, connections)?;
    let start = Instant::now() + Duration::from_millis(20);
    let results: Vec<_> = thread::scope(|scope| {
        let spread = |index: u32| start + interval * index / connections;
        let threads = streams.into_iter().zip(0..).map(|(stream, index)| {
            let first = spread(index);
            scope.spawn(move || drive(stream, first, interval, start + duration))
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let seconds = start.elapsed().max(duration).as_secs_f64();
    let mut all = histogram()?;
    for result in results {
        let Ok(result) = result else { bail!("a thread of the load generator panicked") };
        all.add(result?).context("cannot add histograms")?;
    }
    Ok(Load {
        units: all.len() as f64,
        seconds,
        p50_us: Some(all.value_at_quantile(0.5) as f64 / 1e3),
        p99_us: Some(all.value_at_quantile(0.99) as f64 / 1e3),
        errors: 0,
    })
}

/// Latencies in nanoseconds.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new(3).context("cannot make a histogram")
}

/// One connection: a request at `first` and every `interval` after it, up to `end`.
fn drive(mut stream: TcpStream, first: Instant, interval: Duration, end: Instant) -> Result<Histogram<u64>> {
    // The kernel would wake us up to 50 us late to save wake-ups.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut latencies = histogram()?;
    let mut intended = first;
    while intended < end {
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        request(&mut stream)?;
        latencies.record(u64::try_from(intended.elapsed().as_nanos())?)?;
        intended += interval;
    }
    Ok(latencies)
}

/// Opens `count` connections, each of which has had one request answered.
///
/// # Errors
///
/// When a connection is refused, or its request not answered.
pub(super) fn hold(address: SocketAddrV4, count: u32) -> Result<Vec<TcpStream>> {
    let open = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        request(&mut stream)?;
        anyhow::Ok(stream)
    };
    let open = |index: u32| open().with_context(|| format!("connection {index} of {count}"));
    (1..=count).map(open).collect()
}

/// Sends one request and reads its answer to the end.
fn request(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n").context("cannot send a request")?;
    let mut buffer = [0; 8192];
    let mut filled = 0;
    let mut total = None;
    while total.is_none_or(|total| filled < total) {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => bail!("connection closed after {filled} bytes of an answer"),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("no answer"),
        }
        if total.is_none() {
            total = answer_bytes(&buffer[..filled])?;
        }
    }
    Ok(())
}

/// The length of an answer with its head; none while the head is incomplete.
fn answer_bytes(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("unexpected answer: {}", head.lines().next().unwrap_or_default());
    }
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.context("an answer without a length")?;
    let length: usize = length.trim().parse().context("an answer without a length")?;
    Ok(Some(end + 4 + length))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;

    /// A server that answers each request after `delay`.
    fn server(delay: Duration) -> SocketAddrV4 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || answer(stream, delay));
            }
        });
        address
    }

    fn answer(mut stream: TcpStream, delay: Duration) {
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
            thread::sleep(delay);
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }

    #[test]
    fn the_rate_is_kept() {
        let load = run(server(Duration::ZERO), 200, 4, Duration::from_millis(500)).unwrap();
        assert_eq!(load.units, 100.0);
    }

    #[test]
    fn a_slow_answer_delays_those_behind_it() {
        // An answer takes twice the interval: half a second later the requests are a quarter of a second behind.
        let load = run(server(Duration::from_millis(20)), 100, 1, Duration::from_millis(500)).unwrap();
        assert!(load.p99_us.unwrap() > 400_000.0, "{load:?}");
    }

    #[test]
    fn answers_are_measured_by_their_length() {
        let answer = |text: &str| answer_bytes(text.as_bytes());
        assert_eq!(answer("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n").unwrap(), None);
        assert_eq!(answer("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n").unwrap(), Some(41));
        assert!(answer("HTTP/1.1 503 Busy\r\n\r\n").is_err());
        assert!(answer("HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
