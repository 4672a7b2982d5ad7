//! `towpath tune`: measures what a tunnel to a target gains by other words in its URL, one at a time, and prints the best.

mod candidates;
mod fetch;
mod plot;
mod progress;
mod report;
mod statistics;
mod trial;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args as ClapArgs;
use tokio::runtime::Builder;
use towpath_config::LogFormat;

use crate::exit::Failure;
use crate::log;

use candidates::{Change, Group, Url};
use fetch::Target;
use progress::Progress;
use report::{Finding, Report};
use trial::Trial;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
TARGET is http://HOST:PORT/PATH, or HOST:PORT for its first page: something large, which is fetched again and again, over the tunnel as its URL
says and with one word changed, in turn. With --upload it is what takes bodies by POST. The far end decides how it sends what goes down: its
own --congestion and buffers are for `towpath tunnel` there.

Examples:
  towpath tune http://files.internal/large.iso --via 'towpath://far:7000?key-file=key'
  towpath tune files.internal:8080 --via 'towpath://far:7000?key-file=key' --seconds 30 --only lanes,compress
  towpath tune http://files.internal/in --upload --via 'towpath://far:7000?key-file=key' --plot gain.svg";

/// Pairs of measurements of each change.
const PAIRS: usize = 5;

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
    /// Measure what goes up, in bodies of POST
    #[arg(long)]
    upload: bool,
    /// Do not try the way without the tunnel, for comparison
    #[arg(long)]
    no_direct: bool,
    /// Draw what was found
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Measures, and prints what helps.
pub(crate) fn run(args: &Tune) -> Result<(), Failure> {
    let target = Target::parse(&args.target).map_err(Failure::Usage)?;
    let url = Url::of_tunnel(&args.via).map_err(Failure::Usage)?;
    let changes = candidates::all(&url, &args.only, args.upload, !args.no_direct);
    let sample = sample_time(args.seconds, changes.len())?;
    let _messages = log::start(LogFormat::Text, "warn");
    let is_interrupted = watch_interrupts()?;
    let trial = Trial {
        target,
        is_upload: args.upload,
        sample,
        amount: args.amount.saturating_mul(1_000_000),
        hops: args.via.clone(),
        end: Instant::now() + Duration::from_secs(args.seconds.into()),
    };
    let report = measure(&trial, &url, &changes, &is_interrupted)?;
    io::stdout().write_all(report.text().as_bytes())?;
    if let Some(path) = &args.plot {
        let written = fs::write(path, plot::svg(&report));
        written.with_context(|| format!("cannot write {}", path.display())).map_err(Failure::Other)?;
    }
    Ok(())
}

/// How long a sample may take, where each change has pairs of them and one to warm up, and so have all that help together.
fn sample_time(seconds: u32, changes: usize) -> Result<Duration, Failure> {
    let samples = u32::try_from((changes + 1) * (2 * PAIRS + 1)).unwrap_or(u32::MAX);
    let sample = Duration::from_secs(seconds.into()) / samples;
    if sample < SAMPLE_MIN {
        let least = (SAMPLE_MIN * samples).as_secs() + 1;
        return Err(Failure::Usage(format!(
            "{changes} changes take at least {least} s to tell anything: give --seconds {least}, or --only some of them"
        )));
    }
    Ok(sample)
}

/// Goes through the changes, and at last through all that help together.
fn measure<'a>(
    trial: &'a Trial,
    url: &Url,
    changes: &[Change],
    is_interrupted: &AtomicBool,
) -> Result<Report<'a>, Failure> {
    let mut progress = Progress::new(changes.len() + 1);
    let base = trial.start(url, None)?;
    base.warm_up().map_err(|error| error.of_base(trial))?;
    let mut report = Report::new(trial, url.clone());
    for change in changes {
        progress.step(&change.to_string());
        if is_interrupted.load(Relaxed) || trial.is_spent(report.bytes) {
            report.is_cut_short = true;
            break;
        }
        let changed = url.with(change);
        let finding = compare(trial, &base, change.clone(), &changed, is_interrupted)?;
        report.add(finding);
    }
    let best = report.best();
    if best.len() > 1 && !report.is_cut_short {
        progress.step("all that help together");
        let together = best.iter().fold(url.clone(), |url, change| url.with(change));
        report.together =
            compare(trial, &base, Change::together(&best), &together, is_interrupted)?.into_seen();
    }
    progress.finish();
    base.stop()?;
    Ok(report)
}

/// Measures what a change makes of the way, in pairs that take turns at being first.
fn compare(
    trial: &Trial,
    base: &trial::Way<'_>,
    change: Change,
    changed: &Url,
    is_interrupted: &AtomicBool,
) -> Result<Finding, Failure> {
    let way = match &change.is_direct() {
        true => trial.start_direct()?,
        false => trial.start(changed, Some(&change))?,
    };
    let mut finding = Finding::new(change);
    if let Err(error) = way.warm_up() {
        finding.failed(error.to_string());
        way.stop()?;
        return Ok(finding);
    }
    for pair in 0..PAIRS {
        if is_interrupted.load(Relaxed) || trial.is_spent(0) {
            break;
        }
        // What comes first may find the way better or worse than what comes second.
        let measured = match pair % 2 {
            0 => base.sample().and_then(|before| Ok((before, way.sample()?))),
            _ => way.sample().and_then(|after| Ok((base.sample()?, after))),
        };
        match measured {
            Ok((before, after)) => finding.add(before, after),
            Err(error) => {
                finding.failed(error.to_string());
                break;
            }
        }
    }
    way.stop()?;
    Ok(finding)
}

/// Notes Ctrl-C, at which what was found so far is told.
fn watch_interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let noted = is_interrupted.clone();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("interrupts".to_owned()).spawn(move || {
        let heard = runtime.block_on(tokio::signal::ctrl_c());
        noted.store(heard.is_ok(), Relaxed);
    })?;
    Ok(is_interrupted)
}

impl trial::Trouble {
    /// What it comes to when not even the way as it is works.
    fn of_base(self, trial: &Trial) -> Failure {
        Failure::Other(anyhow!(
            "{} is not to be had through the tunnel: {self}; try `towpath tcp` with the same --via, which tells why",
            trial.target
        ))
    }
}
