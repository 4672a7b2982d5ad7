//! `cargo xtask bench wan`: a stream through a tunnel and straight, over long ways that this machine makes itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use serde::Serialize;

use super::{chosen, measure, process};
use crate::haul::{Hauled, What};
use crate::{packages, test};
use rows::{Row, Wanted};

mod plot;
mod rows;

/// Where what is sent is taken, in the far namespace.
const PORT: u16 = 5201;

/// Measure tunnels over long, lossy and policed ways, beside straight ones
///
/// Each way is made of two network namespaces on this machine (`cargo xtask wan`), which takes root. A stream goes straight and through
/// a tunnel in turn. Rates are of what has arrived: of all the time, with the start, and behind its first three seconds;
/// the latter are held against what is wanted. Writes target/bench/wan.json and wan.svg.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which ways; all by default
    #[arg(value_name = "WAY")]
    rows: Vec<Row>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each transfer
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(6..=600))]
    seconds: u32,
    /// Another binary than the one that is built for this
    #[arg(long, value_name = "PATH")]
    towpath: Option<PathBuf>,
    /// Put the figures into docs/wan.json and docs/wan.svg
    #[arg(long)]
    save: bool,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    kernel: String,
    cpu: String,
    version: String,
    /// What bounds a straight stream that is neither lossy nor policed, as this machine has it.
    tcp_wmem: String,
    tcp_rmem: String,
    rounds: u32,
    seconds: u32,
    warnings: Vec<String>,
    ways: Vec<Way>,
}

/// What was measured of one way.
#[derive(Debug, Serialize)]
struct Way {
    name: &'static str,
    title: &'static str,
    #[serde(skip)]
    wanted: Wanted,
    wanted_as_text: String,
    is_met: bool,
    straight: Vec<Hauled>,
    tunnel: Vec<Hauled>,
}

/// Measures, prints a table and writes the figures.
///
/// # Errors
///
/// When we are not root, or something cannot be built, started or understood.
pub(crate) fn run(root: &Path, args: &Args) -> Result<()> {
    if !geteuid().is_root() {
        bail!("bench wan needs root, to make network namespaces and TUN devices");
    }
    packages::install_missing(packages::FOR_BENCH)?;
    let target = test::target_dir(root)?;
    let towpath = match &args.towpath {
        Some(path) => path.clone(),
        None => {
            test::cargo(root, &["build", "--profile", "bench-lto", "-p", "towpath"])?;
            target.join("bench-lto/towpath")
        }
    };
    let setting = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut report = Report {
        kernel: measure::kernel(),
        cpu: measure::cpu(),
        version: process::version(&towpath, &["--version"]),
        tcp_wmem: setting("tcp_wmem"),
        tcp_rmem: setting("tcp_rmem"),
        rounds: args.rounds,
        seconds: args.seconds,
        warnings: measure::warnings(),
        ways: Vec::new(),
    };
    report.warnings.iter().for_each(|warning| println!("warning: {warning}"));
    Way::HEAD.iter().for_each(|line| println!("{line}"));
    for row in chosen(&args.rows) {
        let way = measure_way(row, &towpath, args).with_context(|| format!("bench wan {}", row.name()))?;
        println!("{}", way.line());
        report.ways.push(way);
        write(&report, &target.join("bench"))?;
    }
    if args.save { write(&report, &root.join("docs")) } else { Ok(()) }
}

fn write(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    fs::write(folder.join("wan.json"), json)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    plot::draw(report, &folder.join("wan.svg"))
}

fn measure_way(row: Row, towpath: &Path, args: &Args) -> Result<Way> {
    let plan = row.plan();
    let (mut straight, mut tunnel) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        straight.push(haul(&plan, None, args.seconds)?);
        tunnel.push(haul(&plan, Some(towpath), args.seconds)?);
    }
    let wanted = plan.wanted;
    let mut way = Way {
        name: row.name(),
        title: plan.title,
        wanted,
        wanted_as_text: wanted.text(),
        is_met: false,
        straight,
        tunnel,
    };
    way.is_met = way.is_met();
    Ok(way)
}

/// One transfer, through a tunnel of `towpath` if there is one.
fn haul(plan: &rows::Plan, towpath: Option<&Path>, seconds: u32) -> Result<Hauled> {
    let myself = std::env::current_exe()?;
    let mut command = Command::new(&myself);
    if !plan.links.is_empty() {
        command.arg("wan").args(plan.links).arg("--").arg(&myself);
    }
    let what = match plan.what {
        What::Noise => "noise",
        What::Text => "text",
        What::Questions => "questions",
    };
    command.args(["haul", "--what", what, "--to", &format!("{}:{PORT}", plan.straight)]);
    command.args(["--seconds", &seconds.to_string()]);
    match towpath {
        Some(towpath) => drop(command.arg("--towpath").arg(towpath).args(["--url", plan.url])),
        None => drop(plan.congestion.map(|congestion| command.args(["--congestion", congestion]))),
    }
    let limit = Duration::from_secs(u64::from(seconds) + 60);
    let output = process::run("haul", &command, limit)?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).with_context(|| format!("cannot understand {text:?}"))
}

impl Wanted {
    fn text(self) -> String {
        match self {
            Wanted::Mbit(rate) => format!(">= {rate:.0} Mb/s"),
            Wanted::Times(times) => format!(">= {times} x straight"),
            Wanted::Answer(time) => format!("<= {time:.0} ms"),
            Wanted::Cheaply(rate, cost) => format!(">= {rate:.0} Mb/s, <= {cost} s/GB"),
        }
    }
}

/// The median of what `figure` is in each round.
fn median(rounds: &[Hauled], figure: impl Fn(&Hauled) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let (below, above) = (figures.get(figures.len().saturating_sub(1) / 2), figures.get(figures.len() / 2));
    below.zip(above).map_or(0.0, |(below, above)| (below + above) / 2.0)
}

impl Way {
    const HEAD: [&'static str; 2] = [
        "           straight, Mb/s                 tunnel, Mb/s",
        "way         with start   settled (min max)   with start   settled (min max)   CPU s/GB   peak MB near, far   wanted",
    ];

    fn is_answer(&self) -> bool {
        matches!(self.wanted, Wanted::Answer(_))
    }

    /// The figure that counts.
    fn figure(&self, rounds: &[Hauled]) -> f64 {
        median(rounds, |hauled| if self.is_answer() { hauled.answer_ms } else { hauled.settled_mbit })
    }

    /// Seconds of CPU for each GB, of both ends.
    fn cost(&self) -> f64 {
        median(&self.tunnel, |hauled| {
            let ends = hauled.near.iter().chain(&hauled.far);
            ends.map(|end| end.cpu_seconds).sum::<f64>() / (hauled.bytes as f64 / 1e9).max(1e-9)
        })
    }

    fn is_met(&self) -> bool {
        let (straight, tunnel) = (self.figure(&self.straight), self.figure(&self.tunnel));
        match self.wanted {
            Wanted::Mbit(rate) => tunnel >= rate,
            Wanted::Times(times) => tunnel >= times * straight,
            Wanted::Answer(time) => tunnel <= time,
            Wanted::Cheaply(rate, cost) => tunnel >= rate && self.cost() <= cost,
        }
    }

    fn line(&self) -> String {
        let verdict = if self.is_met { "met" } else { "NOT met" };
        let wanted = format!("{}: {verdict}", self.wanted_as_text);
        if self.is_answer() {
            let (straight, tunnel) = (self.figure(&self.straight), self.figure(&self.tunnel));
            return format!(
                "{:<10} answers in {straight:.0} ms straight, {tunnel:.0} ms through the tunnel   {wanted}",
                self.name
            );
        }
        let figures = |rounds: &[Hauled]| {
            let settled = rounds.iter().map(|hauled| hauled.settled_mbit);
            let (least, most) =
                settled.fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
            let whole = median(rounds, |hauled| hauled.whole_mbit);
            format!(
                "{whole:>11.1} {:>9.1} ({least:.0} {most:.0})",
                median(rounds, |hauled| hauled.settled_mbit)
            )
        };
        let peak =
            |end: fn(&Hauled) -> u64| self.tunnel.iter().map(end).max().unwrap_or_default() / 1_000_000;
        let near = peak(|hauled| hauled.near.map_or(0, |end| end.peak_bytes));
        let far = peak(|hauled| hauled.far.map_or(0, |end| end.peak_bytes));
        format!(
            "{:<10} {:<30} {:<30} {:>8.2} {near:>11} {far:>4}     {wanted}",
            self.name,
            figures(&self.straight),
            figures(&self.tunnel),
            self.cost(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(wanted: Wanted, straight: f64, tunnel: f64) -> Way {
        let of =
            |rate| Hauled { settled_mbit: rate, answer_ms: rate, bytes: 1_000_000_000, ..Hauled::default() };
        let (straight, tunnel) = (vec![of(straight)], vec![of(1.0), of(tunnel), of(900.0)]);
        Way { name: "way", title: "", wanted, wanted_as_text: wanted.text(), is_met: false, straight, tunnel }
    }

    #[test]
    fn the_median_is_held_against_what_is_wanted() {
        assert!(way(Wanted::Mbit(170.0), 8.0, 171.0).is_met());
        assert!(!way(Wanted::Mbit(170.0), 8.0, 169.0).is_met());
        assert!(way(Wanted::Times(8.0), 8.0, 65.0).is_met() && !way(Wanted::Times(8.0), 8.0, 63.0).is_met());
        assert!(
            way(Wanted::Answer(150.0), 200.0, 101.0).is_met()
                && !way(Wanted::Answer(150.0), 200.0, 201.0).is_met()
        );
        assert!(way(Wanted::Cheaply(40.0, 3.0), 8.0, 50.0).is_met());
    }

    #[test]
    fn all_ways_have_words_that_wan_takes_and_titles_of_their_own() {
        let titles: std::collections::BTreeSet<_> =
            chosen::<Row>(&[]).into_iter().map(|row| row.plan().title).collect();
        assert_eq!(titles.len(), chosen::<Row>(&[]).len());
    }
}
