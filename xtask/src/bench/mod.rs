//! `cargo xtask bench`: the same work through towpath and its peers, in rounds that take turns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{packages, root, test};
use backend::Backend;
use contender::{Contender, Programs, Running};
use load::Kind;
use report::{ContenderReport, KindReport, Report, Run, Sample};

mod backend;
mod config;
mod contender;
mod h2load;
mod load;
mod markdown;
mod measure;
mod openloop;
mod plot;
mod process;
mod report;
mod tunnel;
mod wan;

pub(crate) use measure::cpu_seconds;
pub(crate) use process::is_listening;

/// Measure towpath against HAProxy, nginx, a Go forwarder and the direct path; as a proxy against tinyproxy, squid and one in Go; as a balancer of HTTP against HAProxy and nginx
///
/// CPU is user and system time of all threads of the forwarder, memory is that of its own (RssAnon), without
/// sockets. Writes target/bench/bench.json, bench.svg and, as tables, bench.md.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// What to measure; all by default
    #[arg(value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Rounds of each kind [default: 5, or 2 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds of each run [default: 4, or 2 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: Option<u32>,
    /// Fewer and shorter rounds: a first look
    #[arg(long)]
    quick: bool,
    /// Measure only these contenders
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Contender>,
    /// Put the figures into docs/bench.json and docs/bench.svg, beside those of kinds that were not measured
    #[arg(long)]
    save: bool,
    /// Install no Debian package
    #[arg(long)]
    no_install: bool,
}

/// What is measured in another way.
#[derive(clap::Subcommand)]
enum Other {
    /// Measure tunnels over long, lossy and policed ways, beside straight ones
    Wan(wan::Args),
}

/// Measures, prints tables and writes the figures.
///
/// # Errors
///
/// When a contender or a client cannot be built, started or understood.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = root();
    if let Some(Other::Wan(args)) = &args.other {
        return wan::run(&root, args);
    }
    if !args.no_install {
        packages::install_missing(packages::FOR_BENCH)?;
    }
    let docs = root.join("docs");
    // First of all, so that figures which cannot be read do not cost new ones.
    let earlier = args.save.then(|| read(&docs)).transpose()?;
    let contenders = chosen(&args.only);
    let plan = Plan {
        rounds: args.rounds.unwrap_or(if args.quick { 2 } else { 5 }),
        seconds: args.seconds.unwrap_or(if args.quick { 2 } else { 4 }),
        programs: Programs::build(&root, &contenders)?,
        contenders,
    };
    let mut report = plan.report();
    for warning in &report.run.warnings {
        println!("warning: {warning}");
    }
    let measured = test::target_dir(&root)?.join("bench");
    for kind in chosen(&args.kinds) {
        let results = plan.measure(kind).with_context(|| format!("bench {}", kind.name()))?;
        let results = KindReport::new(kind, results);
        print!("{}", results.table());
        report.kinds.push(results);
        // After each kind, so that a failure of the next does not cost what is measured.
        write(&report, &measured)?;
    }
    if let Some(earlier) = earlier {
        report = report.keeping(earlier);
        write(&report, &docs)?;
    }
    let path = measured.join("bench.md");
    fs::write(&path, markdown::tables(&report)).with_context(|| format!("cannot write {}", path.display()))
}

/// All, unless some are named; in their order, and each once.
fn chosen<T: ValueEnum + Ord>(named: &[T]) -> Vec<T> {
    let mut chosen = if named.is_empty() { T::value_variants().to_vec() } else { named.to_vec() };
    chosen.sort();
    chosen.dedup();
    chosen
}

/// Writes the figures and their picture to `folder`.
fn write(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let json = serde_json::to_string_pretty(report)? + "\n";
    fs::write(path("bench.json"), json).with_context(|| format!("cannot write to {}", folder.display()))?;
    plot::draw(report, &path("bench.svg"))
}

/// The figures that `folder` has.
fn read(folder: &Path) -> Result<Report> {
    let path = folder.join("bench.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
}

/// Who is measured, and for how long.
struct Plan {
    rounds: u32,
    seconds: u32,
    programs: Programs,
    contenders: Vec<Contender>,
}

impl Plan {
    /// A report without figures yet.
    fn report(&self) -> Report {
        let version =
            |contender: &Contender| Some((contender.name().to_owned(), self.programs.version(*contender)?));
        let mut versions: BTreeMap<_, _> = self.contenders.iter().filter_map(version).collect();
        for (name, program, word) in [
            ("wrk", "wrk", "-v"),
            ("h2load", "h2load", "--version"),
            ("iperf3", "iperf3", "--version"),
            ("backend", "nginx", "-v"),
        ] {
            versions.insert(name.to_owned(), process::version(Path::new(program), &[word]));
        }
        let run = Run {
            kernel: measure::kernel(),
            cpu: measure::cpu(),
            versions,
            rounds: self.rounds,
            seconds: self.seconds,
            warnings: measure::warnings(),
        };
        Report { run, kinds: Vec::new() }
    }

    /// All rounds of one kind.
    fn measure(&self, kind: Kind) -> Result<Vec<ContenderReport>> {
        let backend = kind.backend()?;
        let contenders: Vec<_> =
            self.contenders.iter().copied().filter(|contender| contender.takes_part(kind)).collect();
        let start = |contender: &Contender| Running::start(*contender, &self.programs, &backend, kind.role());
        if kind == Kind::Idle {
            let forwarders: Vec<_> =
                contenders.iter().copied().filter(|contender| *contender != Contender::Direct).collect();
            // Each time a new process: one that has held connections before has kept memory from them.
            return self.take_turns(
                &forwarders,
                |contender| *contender,
                |contender| idle(&start(contender)?),
            );
        }
        let running = contenders.iter().map(start).collect::<Result<Vec<_>>>()?;
        for running in &running {
            kind.run(running, 1).with_context(|| format!("{} warms up", running.contender.name()))?;
        }
        let turn = |running: &Running| match kind {
            Kind::Httpspread => spread(kind, running, &backend, self.seconds),
            _ => work(kind, running, self.seconds),
        };
        self.take_turns(&running, |running| running.contender, turn)
    }

    /// A turn for each entrant in each round. Another one begins each time, and every other round goes backwards: what one leaves
    /// behind in the kernel, as connections in TIME_WAIT, is not always the same other's to bear.
    fn take_turns<T>(
        &self,
        entrants: &[T],
        contender: impl Fn(&T) -> Contender,
        turn: impl Fn(&T) -> Result<Sample>,
    ) -> Result<Vec<ContenderReport>> {
        let report = |entrant| ContenderReport { contender: contender(entrant), rounds: Vec::new() };
        let mut reports: Vec<_> = entrants.iter().map(report).collect();
        for round in 0..self.rounds as usize {
            for place in 0..entrants.len() {
                let step = if round % 2 == 0 { place } else { entrants.len() - place };
                let index = (round + step) % entrants.len();
                let name = reports[index].contender.name();
                let sample =
                    turn(&entrants[index]).with_context(|| format!("{name}, round {}", round + 1))?;
                reports[index].rounds.push(sample);
            }
        }
        Ok(reports)
    }
}

/// One run of work, and the CPU time it took the forwarder.
fn work(kind: Kind, running: &Running, seconds: u32) -> Result<Sample> {
    let pids = running.pids();
    let before = measure::cpu_seconds(&pids)?;
    let load = kind.run(running, seconds)?;
    let used = measure::cpu_seconds(&pids)? - before;
    let forwards = !pids.is_empty() && load.units > 0.0;
    Ok(Sample {
        cost: forwards.then(|| kind.cost(used / load.units)),
        rate: Some(kind.rate(load.units / load.seconds)),
        p50_us: load.p50_us,
        p99_us: load.p99_us,
        errors: load.errors,
    })
}

/// Connections that had one request each, and the memory that they take the forwarder.
fn idle(running: &Running) -> Result<Sample> {
    // What the first connection ever allocates is not the price of each.
    drop(openloop::hold(running.address, 1)?);
    let pids = running.pids();
    let before = measure::resting_memory_bytes(&pids)?;
    let held = openloop::hold(running.address, load::IDLE_CONNECTIONS)?;
    let after = measure::resting_memory_bytes(&pids)?;
    let cost = (after as f64 - before as f64) / held.len() as f64;
    Ok(Sample { cost: Some(cost), ..Sample::default() })
}

/// One run of work, and how far from an equal share of the requests a server was, in per cent of a share.
fn spread(kind: Kind, running: &Running, backend: &Backend, seconds: u32) -> Result<Sample> {
    let before = backend.requests()?;
    let load = kind.run(running, seconds)?;
    let after = backend.requests()?;
    // The question itself is one of them.
    let counts: Vec<_> = before.iter().zip(&after).map(|(before, after)| after - before - 1).collect();
    if counts.iter().all(|count| *count == 0) {
        bail!("no request reached a server");
    }
    Ok(Sample {
        cost: Some(furthest_percent(&counts)),
        rate: Some(kind.rate(load.units / load.seconds)),
        p50_us: load.p50_us,
        p99_us: load.p99_us,
        errors: load.errors,
    })
}

fn furthest_percent(counts: &[u64]) -> f64 {
    let share = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let off = counts.iter().map(|count| (*count as f64 - share).abs() / share * 100.0);
    off.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_chosen_unless_some_are_named() {
        assert_eq!(chosen::<Kind>(&[]).len(), 15);
        assert_eq!(chosen(&[Kind::Idle, Kind::Connect, Kind::Idle]), [Kind::Connect, Kind::Idle]);
    }

    #[test]
    fn the_server_furthest_from_its_share_counts() {
        assert_eq!(furthest_percent(&[100, 100, 100]), 0.0);
        assert_eq!(furthest_percent(&[90, 105, 105]), 10.0);
    }

    #[test]
    fn the_figures_in_docs_can_be_read() {
        assert!(!read(&root().join("docs")).unwrap().kinds.is_empty());
    }
}
