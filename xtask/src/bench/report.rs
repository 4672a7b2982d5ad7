//! The figures of a benchmark: medians, ratios round by round, tables and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::load::{Kind, Role};

/// A whole benchmark.
#[derive(Serialize, Deserialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub(super) run: Run,
    pub(super) kinds: Vec<KindReport>,
}

/// Where and with what it was measured.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) kernel: String,
    pub(super) cpu: String,
    /// Of the contenders and the clients, by name.
    pub(super) versions: BTreeMap<String, String>,
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    pub(super) warnings: Vec<String>,
}

/// One kind of work.
#[derive(Serialize, Deserialize)]
pub(super) struct KindReport {
    pub(super) kind: Kind,
    pub(super) title: String,
    pub(super) cost_unit: String,
    pub(super) rate_unit: String,
    /// The earlier run that this was kept from; none for what the report's own run measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<Run>,
    pub(super) results: Vec<ContenderReport>,
    /// Of cost; and of p99 where that is the point.
    pub(super) ratios: Vec<Ratio>,
}

/// One contender at one kind of work.
#[derive(Serialize, Deserialize)]
pub(super) struct ContenderReport {
    pub(super) contender: Contender,
    pub(super) rounds: Vec<Sample>,
}

/// One round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// CPU time, or memory, of the forwarder for a unit of work; none for the direct path.
    pub(super) cost: Option<f64>,
    pub(super) rate: Option<f64>,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) errors: u64,
}

/// towpath over a peer, round by round.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ratio {
    pub(super) of: String,
    pub(super) peer: Contender,
    pub(super) rounds: Vec<f64>,
    pub(super) median: f64,
}

type Figure = fn(&Sample) -> Option<f64>;

impl Report {
    /// With those kinds of `earlier` that were not measured anew.
    pub(super) fn keeping(mut self, earlier: Report) -> Report {
        for mut kind in earlier.kinds {
            if self.kinds.iter().all(|measured| measured.kind != kind.kind) {
                kind.run.get_or_insert_with(|| earlier.run.clone());
                self.kinds.push(kind);
            }
        }
        self.kinds.sort_by_key(|kind| kind.kind);
        self
    }
}

impl ContenderReport {
    /// The median of the rounds that have `figure`.
    pub(super) fn median(&self, figure: Figure) -> Option<f64> {
        median(&self.rounds.iter().filter_map(figure).collect::<Vec<_>>())
    }

    fn extreme(&self, figure: Figure, choose: fn(f64, f64) -> f64) -> Option<f64> {
        self.rounds.iter().filter_map(figure).reduce(choose)
    }

    pub(super) fn errors(&self) -> u64 {
        self.rounds.iter().map(|sample| sample.errors).sum()
    }
}

impl KindReport {
    pub(super) fn new(kind: Kind, results: Vec<ContenderReport>) -> KindReport {
        KindReport {
            kind,
            title: kind.title().to_owned(),
            cost_unit: kind.cost_unit().to_owned(),
            rate_unit: kind.rate_unit().to_owned(),
            run: None,
            ratios: ratios(kind, &results),
            results,
        }
    }

    /// The table of this kind, and the ratios below it.
    pub(super) fn table(&self) -> String {
        let mut out = format!("\n{}: {}\n", self.kind.name(), self.title);
        let cells = |out: &mut String, name: &str, cells: [&str; 6]| {
            let [median, min, max, rate, p50, p99] = cells;
            let _ = writeln!(out, "{name:<12} {median:>17} {min:>9} {max:>9} {rate:>14} {p50:>9} {p99:>9}");
        };
        cells(&mut out, "", [&self.cost_unit, "min", "max", &self.rate_unit, "p50 us", "p99 us"]);
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
            let (of, peer, median) = (&ratio.of, ratio.peer.name(), ratio.median);
            let _ = writeln!(out, "{of}, towpath / {peer}: {median:.2} (rounds: {})", rounds.join(" "));
        }
        out
    }
}

/// What towpath is compared by: cost with the best peer, p99 too where that is the point, and where requests are
/// balanced, cost with nginx in any case.
fn ratios(kind: Kind, results: &[ContenderReport]) -> Vec<Ratio> {
    let cost: Figure = |sample| sample.cost;
    let p99: Figure = |sample| sample.p99_us;
    if !kind.is_a_cost() {
        return Vec::new();
    }
    let best = best_peer(results, cost);
    let nginx = results.iter().find(|peer| peer.contender == Contender::Nginx);
    let nginx = nginx.filter(|_| matches!(kind.role(), Role::Balancer { .. }));
    let nginx = nginx.filter(|nginx| best.is_none_or(|best| best.contender != nginx.contender));
    let slowest = best_peer(results, p99).filter(|_| kind.is_about_latency());
    let ratios = [
        best.and_then(|peer| ratio(results, peer, "cost", cost)),
        nginx.and_then(|peer| ratio(results, peer, "cost", cost)),
        slowest.and_then(|peer| ratio(results, peer, "p99", p99)),
    ];
    ratios.into_iter().flatten().collect()
}

/// The peer whose median of `figure` is lowest.
fn best_peer(results: &[ContenderReport], figure: Figure) -> Option<&ContenderReport> {
    let peers = results.iter().filter(|result| result.contender.is_peer());
    let peers = peers.filter_map(|peer| Some((peer, peer.median(figure)?)));
    let (best, _) = peers.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    Some(best)
}

/// towpath's `figure` over that of `peer`; none without both.
fn ratio(results: &[ContenderReport], peer: &ContenderReport, of: &str, figure: Figure) -> Option<Ratio> {
    let ours = results.iter().find(|result| result.contender == Contender::Towpath)?;
    let pairs = ours.rounds.iter().zip(&peer.rounds);
    let rounds: Vec<_> = pairs.filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?)).collect();
    Some(Ratio { of: of.to_owned(), peer: peer.contender, median: median(&rounds)?, rounds })
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
        let [ratio] = &ratios(Kind::Request64, &results)[..] else { panic!("one ratio") };
        assert_eq!(ratio.peer, Contender::Nginx);
        assert_eq!(ratio.rounds, [0.5, 1.0, 0.9]);
        assert_eq!(ratio.median, 0.9);
    }

    #[test]
    fn there_is_no_ratio_without_towpath_or_a_peer() {
        let towpath = || result(Contender::Towpath, &[1.0]);
        assert_eq!(ratios(Kind::Open, &[towpath(), result(Contender::Direct, &[1.0])]), []);
        assert_eq!(ratios(Kind::Open, &[result(Contender::Go, &[1.0])]), []);
        let ratios = ratios(Kind::Open, &[towpath(), result(Contender::Go, &[1.0])]);
        assert_eq!(ratios.iter().map(|ratio| &ratio.of).collect::<Vec<_>>(), ["cost"], "none has a p99");
    }

    #[test]
    fn balancers_are_compared_with_nginx_and_with_the_better() {
        let peers = |nginx| {
            let results = [
                result(Contender::Towpath, &[10.0]),
                result(Contender::Haproxy, &[20.0]),
                result(Contender::Nginx, &[nginx]),
            ];
            ratios(Kind::Http1k, &results).iter().map(|ratio| (ratio.peer, ratio.median)).collect::<Vec<_>>()
        };
        assert_eq!(peers(40.0), [(Contender::Haproxy, 0.5), (Contender::Nginx, 0.25)]);
        assert_eq!(peers(16.0), [(Contender::Nginx, 0.625)]);
    }

    #[test]
    fn kinds_that_were_not_measured_anew_are_kept_with_their_run() {
        let report = |cpu: &str, kinds: &[Kind]| Report {
            run: Run { cpu: cpu.to_owned(), ..Run::default() },
            kinds: kinds.iter().map(|kind| KindReport::new(*kind, Vec::new())).collect(),
        };
        let text = serde_json::to_string(&report("old", &[Kind::Request64, Kind::Idle])).unwrap();
        let newer = report("new", &[Kind::Http1k, Kind::Idle]).keeping(serde_json::from_str(&text).unwrap());
        let newest = report("newest", &[Kind::Http1k]).keeping(newer);
        let runs = newest.kinds.iter().map(|kind| (kind.kind, kind.run.as_ref().map(|run| run.cpu.as_str())));
        assert_eq!(
            runs.collect::<Vec<_>>(),
            [(Kind::Request64, Some("old")), (Kind::Idle, Some("new")), (Kind::Http1k, None)]
        );
        assert_eq!(newest.run.cpu, "newest");
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
