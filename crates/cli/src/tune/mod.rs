//! `towpath tune`: measures what a tunnel to a target gains by other words in its URL, one at a time, and prints the best.

mod candidates;
mod drawing;
mod fetch;
mod plot;
mod progress;
mod report;
mod statistics;
mod target;
mod trial;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::{Args as ClapArgs, value_parser};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use towpath_config::LogFormat;

use crate::exit::Failure;
use crate::log;

use candidates::{Candidates, Change, Group, Via};
use drawing::Drawing;
use fetch::Trouble;
use progress::Progress;
use report::{Finding, Report};
use target::Target;
use trial::{FIRST_BYTES, Trial, Way};

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
TARGET is http://HOST:PORT/PATH, or HOST:PORT for its first page: something large, which is fetched again and again, over the tunnel as its URL
says and with one word changed, in turn. With --upload it is what takes bodies by POST, and answers once it has them. The far end decides how it
sends what comes down: its own --compress, --congestion and --send-buffer are for `towpath tunnel` there.
What helps is measured once more, all together, and kept if it helps again. Ctrl-C prints what is known by then.

Examples:
  towpath tune http://files.internal/large.iso --via 'towpath://far:7000?key-file=key'
  towpath tune files.internal:8080 --via 'towpath://far:7000?key-file=key' --seconds 30 --only lanes
  towpath tune http://files.internal/in --upload --body dump.sql --via 'towpath://far:7000?key-file=key'
  towpath tune http://files.internal/large.iso --via 'towpath://far:7000?key-file=key' --plot gain.svg --json";

/// A session that finds out how many lanes it needs tries twice as many each time, up to 16; that takes so long, or this part of all
/// time if that is less.
const GROWTH_MAX: Duration = Duration::from_secs(6);
const GROWTH_PART: u32 = 24;

/// The most of a file that is sent.
const BODY_BYTES: u64 = 64 << 20;

/// A sample shorter than this says little.
const SAMPLE_MIN: Duration = Duration::from_millis(200);

/// The arguments of `towpath tune`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Tune {
    /// What is fetched: http://HOST:PORT/PATH or HOST:PORT
    #[arg(value_name = "TARGET")]
    target: String,
    /// The hops to it, the last of which is a tunnel; repeatable
    #[arg(long, value_name = "URL", required = true)]
    via: Vec<String>,
    /// How long all of it may take
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u32,
    /// How much may be carried in all, in MB
    #[arg(long, value_name = "MB", default_value_t = 4000)]
    amount: u64,
    /// Change only these
    #[arg(long, value_name = "GROUP", value_delimiter = ',', value_enum)]
    only: Vec<Group>,
    /// How often each change is measured, in turn with the tunnel as it is
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(2..=50))]
    pairs: u32,
    /// Measure what goes up, in bodies of POST
    #[arg(long)]
    upload: bool,
    /// What those bodies are made of, over and over [default: bytes that do not shrink]
    #[arg(long, value_name = "FILE", requires = "upload")]
    body: Option<PathBuf>,
    /// Do not try the way without the tunnel, for comparison
    #[arg(long)]
    no_direct: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Draw what was found
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Measures, and prints what helps.
pub(crate) fn run(args: &Tune) -> Result<(), Failure> {
    let target = Target::parse(&args.target).map_err(Failure::Usage)?;
    let via = Via::to_tunnel(&args.via).map_err(Failure::Usage)?;
    let candidates =
        candidates::all(&via, &args.only, args.upload, !args.no_direct).map_err(Failure::Usage)?;
    let samples = samples(args.pairs, candidates.changes.len());
    let whole = Duration::from_secs(args.seconds.into());
    let growth = GROWTH_MAX.min(whole / GROWTH_PART);
    let time = whole.saturating_sub(growth * growing(&via, &candidates.changes));
    let amount = args.amount.saturating_mul(1_000_000);
    let trial = Trial {
        target,
        is_upload: args.upload,
        body: args.body.as_deref().map_or_else(|| Ok(fetch::noise()), contents)?,
        sample: sample_time(time, samples, whole, candidates.changes.len())?,
        growth,
        sample_bytes: sample_bytes(amount, samples, candidates.changes.len())?,
        pairs: args.pairs as usize,
        amount,
        end: Instant::now() + whole,
        carried: Cell::new(0),
        is_interrupted: watch_interrupts()?,
    };
    let drawing = args.plot.as_deref().map(Drawing::open).transpose()?;
    let _messages = log::start(LogFormat::Text, "warn");
    let report = measure(&trial, &via, candidates)?;
    let text = if args.json { format!("{:#}\n", report.json()) } else { report.text() };
    io::stdout().write_all(text.as_bytes())?;
    if let Some(drawing) = drawing {
        drawing.write(&plot::svg(&report))?;
    }
    match report.broken {
        Some(why) => Err(Failure::Other(anyhow!(why))),
        None => Ok(()),
    }
}

/// What is in a file that is to be sent.
fn contents(path: &Path) -> Result<Vec<u8>, Failure> {
    let bad = |why: String| Failure::Usage(format!("--body {} {why}", path.display()));
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(BODY_BYTES).read_to_end(&mut bytes)) {
        Ok(0) => Err(bad("is empty".to_owned())),
        Ok(_) => Ok(bytes),
        Err(error) => Err(bad(format!("cannot be read: {error}"))),
    }
}

/// How many samples there are at most: each change has its pairs and one to warm up, and so have all that help together.
fn samples(pairs: u32, changes: usize) -> u32 {
    u32::try_from(changes + 1).unwrap_or(u32::MAX).saturating_mul(2 * pairs + 1)
}

/// How many ways find out how many lanes they need: the one as it is, those of changes, and perhaps what helps together.
fn growing(via: &Via, changes: &[Change]) -> u32 {
    let changed = changes.iter().filter(|change| !change.is_direct() && via.with(change).finds_lanes());
    changed.count() as u32 + 2 * u32::from(via.finds_lanes())
}

/// How long a sample may take, where they share this `time` of the `whole`.
fn sample_time(time: Duration, samples: u32, whole: Duration, changes: usize) -> Result<Duration, Failure> {
    let sample = time / samples;
    if sample < SAMPLE_MIN {
        let share = time.as_secs_f64() / whole.as_secs_f64().max(1.0);
        let least = (SAMPLE_MIN * samples).as_secs_f64() / share.max(0.1);
        return Err(Failure::Usage(format!(
            "{changes} changes take longer to tell anything: give --seconds {:.0}, or --only some of them",
            least.ceil() + 1.0
        )));
    }
    Ok(sample)
}

/// How much a sample may carry of this amount.
fn sample_bytes(amount: u64, samples: u32, changes: usize) -> Result<u64, Failure> {
    let bytes = amount / u64::from(samples);
    if bytes < FIRST_BYTES {
        let least = (FIRST_BYTES * u64::from(samples)).div_ceil(1_000_000);
        return Err(Failure::Usage(format!(
            "{changes} changes carry more before they tell anything: give --amount {least}, or --only some of them"
        )));
    }
    Ok(bytes)
}

/// Goes through the changes, and at last once more through the best of them together.
fn measure<'a>(trial: &'a Trial, via: &Via, candidates: Candidates) -> Result<Report<'a>, Failure> {
    let mut progress = Progress::new(candidates.changes.len() + 2);
    progress.step("the way as it is");
    let base = trial.start(Some(via))?;
    if let Err(trouble) = base.warm_up() {
        return Err(if trial.is_interrupted() { Failure::Interrupted } else { refused(trial, &trouble) });
    }
    let count = candidates.changes.len();
    let mut report = Report::new(trial, via.clone(), candidates.notes);
    for change in candidates.changes {
        if trial.is_spent() || report.broken.is_some() {
            break;
        }
        progress.step(&change.to_string());
        let changed = (!change.is_direct()).then(|| via.with(&change));
        let finding = compare(trial, &base, change, changed.as_ref(), &mut report.broken)?;
        report.findings.push(finding);
    }
    let best = report.best();
    report.is_cut_short = report.findings.len() < count || trial.is_spent();
    if !best.is_empty() && !trial.is_spent() && report.broken.is_none() {
        progress.step("what helps, once more");
        let together = Change::together(&best);
        let changed = via.with(&together);
        report.together = Some(compare(trial, &base, together, Some(&changed), &mut report.broken)?);
    }
    base.stop()?;
    Ok(report)
}

/// Measures what a change makes of the way, in pairs that take turns at being first. `broken` tells why the way as it is does not work
/// any more.
fn compare(
    trial: &Trial,
    base: &Way<'_>,
    change: Change,
    changed: Option<&Via>,
    broken: &mut Option<String>,
) -> Result<Finding, Failure> {
    let mut finding = Finding::new(change);
    let way = match trial.start(changed) {
        Ok(way) => way,
        // One that this machine cannot do is no reason to give the others up.
        Err(Failure::Usage(why)) => {
            finding.failed(why);
            return Ok(finding);
        }
        Err(Failure::Interrupted) => return Ok(finding),
        Err(failure) => return Err(failure),
    };
    let outcome = take_turns(trial, base, &way, &mut finding);
    if let Err(trouble) = outcome
        && !trial.is_interrupted()
    {
        finding.failed(trouble.to_string());
        // What ends both ways is none of the change.
        *broken = base.sample().err().filter(|_| !trial.is_interrupted()).map(|trouble| {
            format!("the way as it is, without any change, does not work any more: {trouble}")
        });
    }
    way.stop()?;
    Ok(finding)
}

/// Measures both ways in turn, for as long as there is time.
fn take_turns(trial: &Trial, base: &Way<'_>, way: &Way<'_>, finding: &mut Finding) -> Result<(), Trouble> {
    way.warm_up()?;
    for pair in 0..trial.pairs {
        if trial.is_spent() {
            break;
        }
        // What comes first may find the way better or worse than what comes second.
        let (before, after) = match pair % 2 {
            0 => {
                let before = base.sample()?;
                (before, way.sample()?)
            }
            _ => {
                let after = way.sample()?;
                (base.sample()?, after)
            }
        };
        finding.add(before, after);
    }
    Ok(())
}

/// Notes Ctrl-C and SIGTERM, at which what was found so far is told.
fn watch_interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let noted = is_interrupted.clone();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("interrupts".to_owned()).spawn(move || {
        let heard: io::Result<()> = runtime.block_on(async {
            let (mut interrupt, mut terminate) =
                (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            tokio::select! {
                _ = interrupt.recv() => Ok(()),
                _ = terminate.recv() => Ok(()),
            }
        });
        noted.store(heard.is_ok(), Relaxed);
    })?;
    Ok(is_interrupted)
}

/// What it comes to when not even the way as it is works.
fn refused(trial: &Trial, trouble: &Trouble) -> Failure {
    let target = &trial.target;
    Failure::Other(match trouble {
        Trouble::Server(why) if trial.is_upload => {
            anyhow!("{target}: {why}; --upload wants what takes bodies by POST")
        }
        Trouble::Server(why) => anyhow!("{target}: {why}; name something large that is given by GET"),
        Trouble::Way(error) => anyhow!(
            "{target} is not to be had through the tunnel: {error}; try `towpath tcp` with the same --via, which tells why"
        ),
    })
}
