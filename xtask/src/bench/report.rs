//! The figures of a benchmark: medians, ratios round by round, tables and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::contender::Contender;
use super::load::Kind;

/// A whole benchmark.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) kernel: String,
    pub(super) cpu: String,
    /// Of the contenders and the clients, by name.
    pub(super) versions: BTreeMap<&'static str, String>,
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    pub(super) warnings: Vec<String>,
    pub(super) kinds: Vec<KindReport>,
}

/// One kind of work.
#[derive(Serialize)]
pub(super) struct KindReport {
    pub(super) kind: Kind,
    pub(super) title: &'static str,
    pub(super) cost_unit: &'static str,
    pub(super) rate_unit: &'static str,
    pub(super) results: Vec<ContenderReport>,
    /// Of cost; and of p99 where that is the point.
    pub(super) ratios: Vec<Ratio>,
}

/// One contender at one kind of work.
#[derive(Serialize)]
pub(super) struct ContenderReport {
    pub(super) contender: Contender,
    pub(super) rounds: Vec<Sample>,
}

/// One round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    /// CPU time, or memory, of the forwarder for a unit of work; none for the direct path.
    pub(super) cost: Option<f64>,
    pub(super) rate: Option<f64>,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) errors: u64,
}

/// towpath over the best of its peers, round by round.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Ratio {
    pub(super) of: &'static str,
    pub(super) peer: Contender,
    pub(super) rounds: Vec<f64>,
    pub(super) median: f64,
}

type Figure = fn(&Sample) -> Option<f64>;

impl ContenderReport {
    /// The median of the rounds that have `figure`.
    pub(super) fn median(&self, figure: Figure) -> Option<f64> {
        median(&self.rounds.iter().filter_map(figure).collect::<Vec<_>>())
    }

    fn extreme(&self, figure: Figure, choose: fn(f64, f64) -> f64) -> Option<f64> {
        self.rounds.iter().filter_map(figure).reduce(choose)
    }

    fn errors(&self) -> u64 {
        self.rounds.iter().map(|sample| sample.errors).sum()
    }
}

impl KindReport {
    pub(super) fn new(kind: Kind, results: Vec<ContenderReport>) -> KindReport {
        let cost = ratio(&results, "cost", |sample| sample.cost);
        let p99 = ratio(&results, "p99", |sample| sample.p99_us).filter(|_| kind == Kind::Open);
        KindReport {
            kind,
            title: kind.title(),
            cost_unit: kind.cost_unit(),
            rate_unit: kind.rate_unit(),
            results,
            ratios: cost.into_iter().chain(p99).collect(),
        }
    }

    /// The table of this kind, and the ratios below it.
    pub(super) fn table(&self) -> String {
        let mut out = format!("\n{}: {}\n", self.kind.name(), self.title);
        let cells = |out: &mut String, name: &str, cells: [&str; 6]| {
            let [median, min, max, rate, p50, p99] = cells;
            let _ = writeln!(out, "{name:<12} {median:>17} {min:>9} {max:>9} {rate:>14} {p50:>9} {p99:>9}");
        };
        cells(&mut out, "", [self.cost_unit, "min", "max", self.rate_unit, "p50 us", "p99 us"]);
        for result in &self.results {
            let figures = [
                result.median(|sample| sample.cost),
                result.extreme(|sample| sample.cost, f64::min),
                result.extreme(|sample| sample.cost, f64::max),
                result.median(|sample| sample.rate),
                result.median(|sample| sample.p50_us),
                result.median(|sample| sample.p99_us),
            ];
            let figures = figures.map(|figure| figure.map_or("-".to_owned(), rounded));
            cells(&mut out, result.contender.name(), figures.each_ref().map(String::as_str));
            if result.errors() > 0 {
                let _ = writeln!(out, "{:<12} {} requests went wrong", "", result.errors());
            }
        }
        for ratio in &self.ratios {
            let rounds: Vec<_> = ratio.rounds.iter().map(|value| format!("{value:.2}")).collect();
            let (of, peer, median) = (ratio.of, ratio.peer.name(), ratio.median);
            let _ = writeln!(out, "{of}, towpath / {peer}: {median:.2} (rounds: {})", rounds.join(" "));
        }
        out
    }
}

/// towpath's `figure` over that of the peer whose median is lowest; none without both.
fn ratio(results: &[ContenderReport], of: &'static str, figure: Figure) -> Option<Ratio> {
    let ours = results.iter().find(|result| result.contender == Contender::Towpath)?;
    let peers = results.iter().filter(|result| result.contender.is_peer());
    let peers = peers.filter_map(|peer| Some((peer, peer.median(figure)?)));
    let (best, _) = peers.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let pairs = ours.rounds.iter().zip(&best.rounds);
    let rounds: Vec<_> = pairs.filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?)).collect();
    Some(Ratio { of, peer: best.contender, median: median(&rounds)?, rounds })
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// A figure with as many digits as it is worth.
pub(super) fn rounded(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 1_000.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(contender: Contender, costs: &[f64]) -> ContenderReport {
        let sample = |cost: &f64| Sample { cost: Some(*cost), ..Sample::default() };
        ContenderReport { contender, rounds: costs.iter().map(sample).collect() }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_ratio_is_taken_round_by_round_against_the_best_peer() {
        let results = [
            result(Contender::Towpath, &[10.0, 30.0, 18.0]),
            result(Contender::Haproxy, &[50.0, 50.0, 50.0]),
            result(Contender::Nginx, &[20.0, 30.0, 20.0]),
            result(Contender::Direct, &[1.0, 1.0, 1.0]),
        ];
        let ratio = ratio(&results, "cost", |sample| sample.cost).unwrap();
        assert_eq!(ratio.peer, Contender::Nginx);
        assert_eq!(ratio.rounds, [0.5, 1.0, 0.9]);
        assert_eq!(ratio.median, 0.9);
    }

    #[test]
    fn there_is_no_ratio_without_towpath_or_a_peer() {
        let towpath = || result(Contender::Towpath, &[1.0]);
        assert_eq!(
            ratio(&[towpath(), result(Contender::Direct, &[1.0])], "cost", |sample| sample.cost),
            None
        );
        assert_eq!(ratio(&[result(Contender::Go, &[1.0])], "cost", |sample| sample.cost), None);
        assert_eq!(
            ratio(&[towpath(), result(Contender::Go, &[1.0])], "p99", |sample| { sample.p99_us }),
            None
        );
    }

    #[test]
    fn a_table_has_a_line_for_each_contender() {
        let results = vec![result(Contender::Towpath, &[18.0]), result(Contender::Go, &[36.0])];
        let table = KindReport::new(Kind::Request64, results).table();
        assert_eq!(table.lines().count(), 6, "{table}");
        assert!(table.ends_with("cost, towpath / go io.Copy: 0.50 (rounds: 0.50)\n"), "{table}");
    }

    #[test]
    fn figures_have_the_digits_they_are_worth() {
        assert_eq!(
            [0.1834, 18.44, 11_040.4, 999_999.9].map(rounded),
            ["0.183", "18.4", "11,040", "1,000,000"]
        );
    }
}
