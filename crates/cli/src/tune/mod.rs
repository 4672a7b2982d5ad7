//! `towpath tune`: measures what a tunnel to a target gains by other words in its URL, one at a time, and prints the best.

mod answer;
mod candidates;
mod drawing;
mod fetch;
mod ledger;
mod plan;
mod plot;
mod progress;
mod report;
mod statistics;
mod target;
mod trial;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

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
use ledger::{Ledger, Share};
use plan::Plan;
use progress::Progress;
use report::{Finding, Report};
use target::Target;
use trial::{Trial, Way};

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
TARGET is something large, which is fetched again and again, over the tunnel as its URL says and with one word changed, in turn; HOST:PORT is for \
its first page. With --upload it is what takes bodies by POST, and answers once it has them. The far end decides how it sends what comes down: its \
own --compress, --congestion and --send-buffer are for `towpath tunnel` there.

What helps is measured once more, all together, and kept if it helps again. Ctrl-C prints what is known by then.

Examples:
  towpath tune http://files.internal/large.iso --via 'towpath://far:7000?key-file=key'
  towpath tune files.internal:8080 --via 'towpath://far:7000?key-file=key' --seconds 30 --only lanes
  towpath tune http://files.internal/in --upload --body dump.sql --via 'towpath://far:7000?key-file=key'
  towpath tune http://files.internal/large.iso --via 'towpath://far:7000?key-file=key' --plot gain.svg --json";

/// The most of a file that is sent.
const BODY_BYTES: u64 = 64 << 20;

/// The arguments of `towpath tune`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Tune {
    /// What is fetched, or sent to: http://HOST:PORT/PATH or HOST:PORT
    #[arg(value_name = "TARGET")]
    target: String,
    /// The hops to it, the last of which is a tunnel; repeatable
    #[arg(long, value_name = "URL", required = true)]
    via: Vec<String>,
    /// How long all of it may take, in seconds
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u32,
    /// How much may be carried in all, in MB
    #[arg(long, value_name = "MB", default_value_t = 4000)]
    amount: u64,
    /// Change only these
    #[arg(long, value_name = "GROUP", value_delimiter = ',', value_enum)]
    only: Vec<Group>,
    /// How often each change is measured, in turn with the tunnel as it is; best an even number
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = value_parser!(u32).range(2..=50))]
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
    let mut candidates =
        candidates::all(&via, &args.only, args.upload, !args.no_direct).map_err(Failure::Usage)?;
    let whole = Share {
        time: Duration::from_secs(args.seconds.into()),
        bytes: args.amount.saturating_mul(1_000_000),
    };
    let plan = Plan::new(args.pairs, whole, &via, &mut candidates)?;
    let body = args.body.as_deref().map_or_else(|| Ok(fetch::noise()), contents)?;
    let drawing = args.plot.as_deref().map(Drawing::open).transpose()?;
    let trial = Trial {
        target,
        is_upload: args.upload,
        body,
        pairs: args.pairs as usize,
        plan,
        ledger: Ledger::new(whole, plan.once_more, watch_interrupts()?),
    };
    let _messages = log::start(LogFormat::Text, "warn");
    let report = measure(&trial, &via, candidates)?;
    let text = if args.json { format!("{:#}\n", report.json()) } else { report.text() };
    io::stdout().write_all(text.as_bytes())?;
    if let Some(drawing) = drawing.filter(|_| report.has_figures()) {
        drawing.write(&plot::svg(&report))?;
    }
    match report.broken {
        Some(why) => Err(Failure::Other(anyhow!(why))),
        None if !report.has_figures() => Err(Failure::Other(anyhow!("nothing was measured"))),
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

/// Goes through the changes, and at last once more through the best of them together.
fn measure<'a>(trial: &'a Trial, via: &Via, candidates: Candidates) -> Result<Report<'a>, Failure> {
    let mut progress = Progress::new(candidates.changes.len() + 2);
    progress.step("the way as it is");
    let mut base = trial.start(Some(via))?;
    base.warm_up().map_err(|trouble| refused(trial, &trouble))?;
    let mut report = Report::new(trial, via.clone(), candidates.changes.len(), candidates.notes);
    for change in candidates.changes {
        if trial.ledger.is_spent() || report.broken.is_some() {
            break;
        }
        progress.step(&change.to_string());
        let changed = (!change.is_direct()).then(|| via.with(&change));
        let finding = compare(trial, &base, change, changed.as_ref(), &mut report.broken)?;
        report.findings.push(finding);
    }
    if !report.has_anything() {
        return Err(nothing(trial));
    }
    let best = report.best();
    trial.ledger.free_reserve();
    if !best.is_empty() && !trial.ledger.is_spent() && report.broken.is_none() {
        progress.step("what helps, once more");
        let together = Change::together(&best);
        let changed = via.with(&together);
        if via.finds_lanes() {
            // A session that has settled for a bad number of lanes would make anything look good.
            base.stop()?;
            base = trial.start(Some(via))?;
            report.broken = base.warm_up().err().and_then(broken);
        }
        if report.broken.is_none() {
            report.together = Some(compare(trial, &base, together, Some(&changed), &mut report.broken)?);
        }
    }
    base.stop()?;
    Ok(report)
}

/// Measures what a change makes of the way, in pairs that take turns at being first. `is_broken` tells why the way as it is does not work
/// any more.
fn compare(
    trial: &Trial,
    base: &Way<'_>,
    change: Change,
    changed: Option<&Via>,
    is_broken: &mut Option<String>,
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
    match take_turns(trial, base, &way, &mut finding) {
        Ok(()) | Err(Trouble::Over) => {}
        Err(trouble) => {
            finding.failed(trouble.to_string());
            // What ends both ways is none of the change.
            *is_broken = base.sample().err().and_then(broken);
        }
    }
    way.stop()?;
    Ok(finding)
}

/// Measures both ways in turn, for as long as there is time.
fn take_turns(trial: &Trial, base: &Way<'_>, way: &Way<'_>, finding: &mut Finding) -> Result<(), Trouble> {
    way.warm_up()?;
    for pair in 0..trial.pairs {
        if trial.ledger.is_spent() {
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

/// What it comes to when the way as it is does not work any more; `None` if only the time is over.
fn broken(trouble: Trouble) -> Option<String> {
    let is_over = matches!(trouble, Trouble::Over);
    (!is_over).then(|| format!("the way as it is, without any change, does not work any more: {trouble}"))
}

/// What it comes to when not even the way as it is works.
fn refused(trial: &Trial, trouble: &Trouble) -> Failure {
    let target = &trial.target;
    Failure::Other(match trouble {
        Trouble::Over => return nothing(trial),
        Trouble::Server(why) if trial.is_upload => {
            anyhow!(
                "{target}: {why}; --upload wants what takes bodies by POST, and answers when it has read them"
            )
        }
        Trouble::Server(why) => anyhow!("{target}: {why}; name something large that is given by GET"),
        Trouble::Way(error) => anyhow!(
            "{target} is not to be had through the tunnel: {error}; try `towpath tcp` with the same --via, which tells why"
        ),
    })
}

/// What it comes to when it ends before there is anything to tell.
fn nothing(trial: &Trial) -> Failure {
    let ledger = &trial.ledger;
    if ledger.is_interrupted() {
        // Where nobody can be told, it has ended all the same.
        let _ = writeln!(io::stderr(), "towpath: nothing was measured yet");
        return Failure::Interrupted;
    }
    let spent = if ledger.is_amount_spent() { "--amount" } else { "--seconds" };
    Failure::Other(anyhow!(
        "nothing was measured before {spent} was spent: give more, or --only some of the changes"
    ))
}
