//! `cargo xtask wan`: two network namespaces with long, slow and lossy links between them.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use carrier::{Carrier, Directions};
use link::{Counters, Direction, Settings};
use namespace::Namespaces;
use options::LinkOptions;
use order::Order;
use units::{Queue, Rate, Share};

mod carrier;
mod link;
mod namespace;
mod options;
mod order;
mod police;
mod units;

/// Of every device, as usual.
const MTU_BYTES: usize = 1_500;

/// Join two network namespaces by links with a rate, a delay, a queue and losses
#[derive(clap::Args)]
#[command(after_help = PROTOCOL)]
pub(crate) struct Args {
    /// What each direction sends, of IP packets
    #[arg(long, value_name = "RATE", default_value = "200mbit")]
    rate: Rate,
    /// How long there and back takes at least
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = units::time)]
    rtt: Duration,
    /// What each direction loses
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    loss: Share,
    /// What may wait in each direction, in bandwidth-delay products (at least 64 KiB) or bytes
    #[arg(long, value_name = "QUEUE", default_value = "1bdp")]
    queue: Queue,
    /// The most that each flow of TCP or UDP over IPv4 may send; what is above is dropped
    #[arg(long, value_name = "RATE")]
    police: Option<Rate>,
    /// Repeats the losses of an earlier run [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// One of several links, `rate=50mbit,rtt=100ms,loss=0%`; `queue` and `police` are known too, and what is not named
    /// is as given by the options above
    #[arg(long = "link", value_name = "LINK")]
    links: Vec<LinkOptions>,
    /// What to run in the near namespace
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const PROTOCOL: &str = "\
Link 0 joins 10.77.0.1 (near) and 10.77.0.2 (far), link 1 10.77.1.1 and 10.77.1.2, and so on. What is bound to the \
near address of a link leaves over it.

Without COMMAND, a line of JSON on standard output says what was made, once it is up. Then lines on standard input \
are obeyed, and each is answered by one of JSON:
  cut LINK            nothing passes, and what is on its way is lost
  heal LINK           packets pass again
  rate LINK RATE
  loss LINK SHARE
The end of the input, or SIGTERM, ends it; the last line counts the packets, from near to far (there) and back.

With COMMAND, that has WAN_NEAR and WAN_FAR, the names of the namespaces, and WAN_FAR_ADDRESS in its environment; the \
two lines go to standard error, and the status is that of the command.";

/// Brings the links up and carries their packets until the command, or the input, ends.
///
/// # Errors
///
/// When we are not root, or cannot make a namespace or a device, or a link fails.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !geteuid().is_root() {
        bail!("wan needs root, to make network namespaces and TUN devices");
    }
    let links = args.links()?;
    let (events, inbox) = mpsc::channel();
    // Before there is anything to remove.
    watch_signals(&events)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let wan = Wan::start(&links, seed, &events)?;
    if args.command.is_empty() { wan.serve(&events, &inbox) } else { wan.run(&args.command, &events, &inbox) }
}

impl Args {
    /// What each link is like.
    fn links(&self) -> Result<Vec<Settings>> {
        const MOST: usize = 16;
        let common = Settings {
            rate: self.rate,
            rtt: self.rtt,
            loss: self.loss,
            queue: self.queue,
            police: self.police,
        };
        match self.links.len() {
            0 => Ok(vec![common]),
            1..=MOST => Ok(self.links.iter().map(|link| link.over(&common)).collect()),
            count => bail!("{count} links are too many: at most {MOST}"),
        }
    }
}

/// What happens while the links are up.
enum Event {
    /// Of standard input.
    Line(String),
    InputEnded,
    Signal,
    /// The command has.
    Exited(io::Result<ExitStatus>),
    /// It does so by itself only when it fails.
    CarrierEnded,
}

/// Namespaces and the links between them.
struct Wan {
    carriers: Vec<Carrier>,
    namespaces: Namespaces,
    seed: u64,
}

/// What one who uses the links has to know, as printed.
#[derive(Serialize)]
struct Introduction<'a> {
    near: &'a str,
    far: &'a str,
    links: Vec<Addresses>,
    seed: u64,
}

/// Of one link.
#[derive(Serialize)]
struct Addresses {
    near: Ipv4Addr,
    far: Ipv4Addr,
}

/// What became of the packets, as printed.
#[derive(Serialize)]
struct Summary {
    links: Vec<Carried>,
}

/// Of one link, from near to far, and back.
#[derive(Serialize)]
struct Carried {
    there: Counted,
    back: Counted,
}

#[derive(Serialize)]
struct Counted {
    #[serde(flatten)]
    counters: Counters,
    /// That the carrier was too late to take: with more than a few, the machine was too slow for the link.
    missed: u64,
}

impl Wan {
    /// Makes the namespaces and one carrier for each link.
    fn start(links: &[Settings], seed: u64, events: &Sender<Event>) -> Result<Wan> {
        let mut wan = Wan { carriers: Vec::new(), namespaces: Namespaces::make()?, seed };
        let mut rng = Rng::with_seed(seed);
        for (link, settings) in (0..).zip(links) {
            let devices = wan.namespaces.join(link)?;
            let mut direction = || Direction::new(settings, rng.fork(), Instant::now());
            let directions = Directions { there: direction(), back: direction() };
            let events = events.clone();
            let ended = move || drop(events.send(Event::CarrierEnded));
            wan.carriers.push(Carrier::start(devices, directions, ended)?);
        }
        Ok(wan)
    }

    fn introduction(&self) -> Introduction<'_> {
        let addresses = (0..).zip(&self.carriers).map(|(link, _)| {
            let [near, far] = namespace::addresses(link);
            Addresses { near, far }
        });
        Introduction {
            near: &self.namespaces.near,
            far: &self.namespaces.far,
            links: addresses.collect(),
            seed: self.seed,
        }
    }

    /// Obeys standard input to its end.
    fn serve(self, events: &Sender<Event>, inbox: &Receiver<Event>) -> Result<ExitCode> {
        print(&self.introduction())?;
        let events = events.clone();
        thread::spawn(move || {
            for line in io::stdin().lines().map_while(io::Result::ok) {
                if events.send(Event::Line(line)).is_err() {
                    return;
                }
            }
            drop(events.send(Event::InputEnded));
        });
        loop {
            match inbox.recv()? {
                Event::Line(line) => print(&self.answer(&line))?,
                Event::CarrierEnded => return Err(self.failure()),
                Event::InputEnded | Event::Signal | Event::Exited(_) => break,
            }
        }
        print(&self.finish()?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Does what a line asks for.
    fn answer(&self, line: &str) -> Value {
        let done = Order::parse(line, self.carriers.len())
            .and_then(|(link, order)| self.carriers[link].order(order).map_err(|error| error.to_string()));
        match done {
            Ok(()) => json!({"done": line.trim()}),
            Err(reason) => json!({"error": reason}),
        }
    }

    /// Runs a command in the near namespace to its end. Standard output is its own.
    fn run(self, command: &[OsString], events: &Sender<Event>, inbox: &Receiver<Event>) -> Result<ExitCode> {
        eprintln!("{}", serde_json::to_string(&self.introduction())?);
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.namespaces.near])
            .args(command)
            .env("WAN_NEAR", &self.namespaces.near)
            .env("WAN_FAR", &self.namespaces.far)
            .env("WAN_FAR_ADDRESS", namespace::addresses(0)[1].to_string())
            .spawn()
            .context("cannot start ip, of the package iproute2")?;
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let events = events.clone();
        thread::spawn(move || drop(events.send(Event::Exited(child.wait()))));
        let mut signal = Signal::TERM;
        loop {
            match inbox.recv()? {
                Event::Exited(status) => {
                    eprintln!("{}", serde_json::to_string(&self.finish()?)?);
                    return Ok(exit_code(status?));
                }
                Event::Signal | Event::CarrierEnded => {
                    // It may have ended just now.
                    let _ = pidfd_send_signal(&process, signal);
                    signal = Signal::KILL;
                }
                Event::Line(_) | Event::InputEnded => {}
            }
        }
    }

    /// Stops the carriers, and says what they have carried.
    fn finish(mut self) -> Result<Summary> {
        let mut links = Vec::new();
        for (link, carrier) in (0..).zip(self.carriers.drain(..)) {
            // The devices go with their carrier; but why it has failed, if it has, matters more.
            let missed = self.namespaces.missed(link);
            let (there, back) = carrier.stop()?;
            let [missed_there, missed_back] = missed?;
            links.push(Carried {
                there: Counted { counters: there, missed: missed_there },
                back: Counted { counters: back, missed: missed_back },
            });
        }
        Ok(Summary { links })
    }

    /// Why a carrier has ended.
    fn failure(self) -> anyhow::Error {
        self.finish().err().unwrap_or_else(|| anyhow::anyhow!("a link has ended"))
    }
}

/// One line on standard output, at once.
fn print(what: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(what)?;
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("cannot write to standard output")
}

/// As a shell does: a command that a signal has ended counts as 128 and the signal.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Makes events of the signals that ask us to end.
fn watch_signals(events: &Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("cannot handle signals")?;
    let events = events.clone();
    thread::spawn(move || {
        for _ in signals.forever() {
            drop(events.send(Event::Signal));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
