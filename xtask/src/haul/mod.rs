//! One transfer over a long way, straight or through a tunnel: what `bench wan` runs in the near namespace.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use content::Content;
use ends::Ends;
pub(crate) use ends::Measured;

mod content;
mod ends;
mod taker;

pub(crate) use taker::{Args as TakerArgs, run as take};

/// The start of a transfer, which is also told apart from the rest.
pub(crate) const START: Duration = Duration::from_secs(3);

/// Questions of which the time is taken, and those before that warm the way.
const QUESTIONS: usize = 15;

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(20);

/// Carry bytes from here to the far namespace, and print what arrived
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum)]
    what: What,
    /// Where the taker is, as seen from the sender
    #[arg(long)]
    to: SocketAddrV4,
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Of the sending socket, where it is the one that is on the way
    #[arg(long)]
    congestion: Option<String>,
    /// A tunnel on the way: the binary, and the URL of the near end without its key
    #[arg(long, requires = "url")]
    towpath: Option<PathBuf>,
    #[arg(long)]
    url: Option<String>,
}

/// What is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Bytes that do not shrink.
    Noise,
    /// Text that does.
    Text,
    /// Short questions, one after another, each over a new connection.
    Questions,
}

/// What came of a transfer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Hauled {
    /// Mb/s of all the time, from the wish to connect on, and of that behind the start.
    pub(crate) whole_mbit: f64,
    pub(crate) settled_mbit: f64,
    /// Milliseconds from the wish to connect to the answer to the first byte, the median.
    pub(crate) answer_ms: f64,
    pub(crate) bytes: u64,
    /// Of the two ends of the tunnel.
    pub(crate) near: Option<Measured>,
    pub(crate) far: Option<Measured>,
}

/// Runs a transfer, and prints what came of it as a line of JSON.
///
/// # Errors
///
/// When a process cannot be started, or nothing arrives.
pub(crate) fn run(args: &Args) -> Result<()> {
    let taker = Taker::start(args.what, args.to.port())?;
    let ends = match (&args.towpath, &args.url) {
        (Some(towpath), Some(url)) => Some(Ends::start(towpath, url, args.to.port())?),
        _ => None,
    };
    let to = ends.as_ref().map_or(args.to, |ends| ends.listen);
    let mut hauled = match args.what {
        What::Questions => Hauled { answer_ms: questions(to)?, ..Hauled::default() },
        What::Noise | What::Text => {
            let begun = send(args, to)?;
            taker.told()?.hauled(begun, Duration::from_secs(args.seconds))
        }
    };
    if let Some(ends) = ends {
        let [near, far] = ends.measure()?;
        (hauled.near, hauled.far) = (Some(near), Some(far));
    }
    println!("{}", serde_json::to_string(&hauled)?);
    Ok(())
}

/// Sends for as long as it should, and tells when it began, in microseconds.
fn send(args: &Args, to: SocketAddrV4) -> Result<u64> {
    let mut content = Content::new(args.what == What::Text);
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
    if let Some(congestion) = &args.congestion {
        sockopt::set_tcp_congestion(&socket, congestion).context("cannot choose the congestion control")?;
    }
    let begun = micros();
    rustix::net::connect(&socket, &to).with_context(|| format!("cannot connect to {to}"))?;
    let mut stream = TcpStream::from(socket);
    let end = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < end {
        stream.set_write_timeout(Some(
            end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
        ))?;
        match stream.write(content.next()) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error).context("the connection broke"),
        }
    }
    // What is still on its way does not count, and need not arrive.
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(begun)
}

/// The median time of a question and its answer, in milliseconds.
fn questions(to: SocketAddrV4) -> Result<f64> {
    let mut took = Vec::new();
    for question in 0..=QUESTIONS {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0]).context("no answer")?;
        // The first one makes the tunnel.
        if question > 0 {
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        stream.shutdown(Shutdown::Both)?;
    }
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}

/// Microseconds since 1970, the same for all processes here.
fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// How many bytes had come by when, as a taker tells.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Arrivals(Vec<(u64, u64)>);

impl Arrivals {
    /// Bytes that had come by `at`.
    fn by(&self, at: u64) -> f64 {
        let next = self.0.partition_point(|(when, _)| *when <= at);
        let (before, had) = next.checked_sub(1).map_or((at, 0), |place| self.0[place]);
        match self.0.get(next) {
            Some((after, has)) if next > 0 => {
                had as f64 + (has - had) as f64 * (at - before) as f64 / (after - before) as f64
            }
            _ => had as f64,
        }
    }

    fn hauled(&self, begun: u64, time: Duration) -> Hauled {
        let at = |time: Duration| begun + time.as_micros() as u64;
        let (settling, all) = (self.by(at(START)), self.by(at(time)));
        let rate = |bytes: f64, time: Duration| bytes * 8.0 / 1e6 / time.as_secs_f64();
        Hauled {
            whole_mbit: rate(all, time),
            settled_mbit: rate(all - settling, time.saturating_sub(START).max(Duration::from_millis(1))),
            bytes: all as u64,
            ..Hauled::default()
        }
    }
}

/// The process in the far namespace that takes what is sent.
struct Taker(Child);

impl Taker {
    fn start(what: What, port: u16) -> Result<Self> {
        let mut command = ends::in_far(&std::env::current_exe()?);
        command.args(["take", if what == What::Questions { "answers" } else { "bytes" }, &port.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the taker")?;
        let mut ready = [0];
        let output = child.stdout.as_mut().context("the taker has no output")?;
        output.read_exact(&mut ready).context("the taker does not listen")?;
        Ok(Self(child))
    }

    /// What it has taken, once its connection has ended.
    fn told(mut self) -> Result<Arrivals> {
        let output = self.0.stdout.take().context("the taker has no output")?;
        let reading = thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let end = Instant::now() + PATIENCE;
        while !reading.is_finished() {
            if Instant::now() > end {
                bail!("the taker does not tell what has come");
            }
            thread::sleep(Duration::from_millis(10));
        }
        let line = reading.join().map_err(|_| anyhow::anyhow!("the reader of the taker has failed"))??;
        serde_json::from_str(&line).context("cannot understand the taker")
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_time_and_not_of_what_comes_later() {
        let second = |seconds: u64| 1_000_000 * seconds;
        // 1 MB a second, and a rest behind the end.
        let mut arrivals: Vec<_> = (0..=10).map(|at| (second(at), 1_000_000 * at)).collect();
        arrivals.push((second(11), 90_000_000));
        let hauled = Arrivals(arrivals).hauled(0, Duration::from_secs(10));
        assert_eq!((hauled.whole_mbit, hauled.settled_mbit, hauled.bytes), (8.0, 8.0, 10_000_000));
    }

    #[test]
    fn a_way_on_which_nothing_arrives_has_no_rate() {
        let hauled = Arrivals::default().hauled(0, Duration::from_secs(10));
        assert_eq!((hauled.whole_mbit, hauled.settled_mbit), (0.0, 0.0));
    }
}
