//! What was found, as it is told.

use std::fmt::Write;

use serde_json::{Value, json};

use super::candidates::{Change, Group, Via};
use super::fetch::Fetched;
use super::statistics::{Ratio, ratio};
use super::trial::Trial;
use crate::shorthand;

/// A change has to make so much of a difference to be told as one.
const WORTH: f64 = 0.03;

/// Fewer pairs than this say next to nothing.
const TELLING: usize = 3;

/// What was found of a change.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) change: Change,
    /// Bytes a second, before and behind.
    pairs: Vec<(f64, f64)>,
    trouble: Option<String>,
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Helps,
    Hurts,
    NoDifference,
    Unknown,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Helps => "helps",
            Self::Hurts => "hurts",
            Self::NoDifference => "no difference seen",
            Self::Unknown => "not measured",
        }
    }
}

impl Finding {
    pub(super) fn new(change: Change) -> Self {
        Self { change, pairs: Vec::new(), trouble: None }
    }

    pub(super) fn add(&mut self, before: Fetched, after: Fetched) {
        self.pairs.push((before.rate(), after.rate()));
    }

    pub(super) fn failed(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// How many times as fast it was, if it was measured to the end.
    pub(super) fn ratio(&self) -> Option<Ratio> {
        if self.trouble.is_some() { None } else { ratio(&self.pairs) }
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self.ratio() {
            None => Verdict::Unknown,
            Some(ratio) if ratio.low > 1.0 + WORTH => Verdict::Helps,
            Some(ratio) if ratio.high < 1.0 - WORTH => Verdict::Hurts,
            Some(_) => Verdict::NoDifference,
        }
    }

    /// The verdict in words; that on the way without the tunnel is for information.
    fn told(&self) -> &'static str {
        match (self.verdict(), self.change.is_direct()) {
            (Verdict::Helps, true) => "faster than the tunnel",
            (Verdict::Hurts, true) => "slower than the tunnel",
            (verdict, _) => verdict.as_str(),
        }
    }

    /// Whether pairs are missing of it, for no reason of its own.
    fn is_short(&self, pairs: usize) -> bool {
        self.trouble.is_none() && self.pairs.len() < pairs
    }

    /// Its line under a name, where the way as it is carries so much.
    fn line(&self, name: &str, base_mbit: Option<f64>) -> String {
        match (self.ratio(), &self.trouble) {
            (_, Some(trouble)) => format!("{name:<24} not measured: {trouble}"),
            (None, None) => format!("{name:<24} {}", Verdict::Unknown.as_str()),
            (Some(Ratio { mean, low, high }), None) => {
                let verdict = self.told();
                let rate = rate(base_mbit.map(|base| base * mean));
                format!("{name:<24} {rate:>9} {mean:>7.2}    {low:.2} to {high:<6.2}  {verdict}")
            }
        }
    }

    fn json(&self, base_mbit: Option<f64>) -> Value {
        let ratio = self.ratio();
        json!({
            "change": self.change.to_string(),
            "pairs_bytes_per_second": self.pairs,
            "megabits_per_second": ratio.zip(base_mbit).map(|(ratio, base)| base * ratio.mean),
            "times": ratio.map(|ratio| ratio.mean),
            "times_low": ratio.map(|ratio| ratio.low),
            "times_high": ratio.map(|ratio| ratio.high),
            "verdict": self.told(),
            "trouble": self.trouble,
        })
    }
}

/// A rate in Mb/s as it is printed.
fn rate(mbit: Option<f64>) -> String {
    mbit.map_or("-".to_owned(), |mbit| format!("{mbit:.1}"))
}

/// All that was found.
pub(super) struct Report<'a> {
    trial: &'a Trial,
    via: Via,
    /// How many changes there are.
    planned: usize,
    pub(super) findings: Vec<Finding>,
    /// What helps, once more and all together.
    pub(super) together: Option<Finding>,
    /// Why the way as it is does not work any more.
    pub(super) broken: Option<String>,
    /// What was not tried, and why.
    notes: Vec<String>,
}

impl<'a> Report<'a> {
    /// Nothing yet of so many changes of this way.
    pub(super) fn new(trial: &'a Trial, via: Via, planned: usize, notes: Vec<String>) -> Self {
        Self { trial, via, planned, findings: Vec::new(), together: None, broken: None, notes }
    }

    /// Whether anything was measured.
    pub(super) fn has_figures(&self) -> bool {
        self.findings.iter().any(|finding| !finding.pairs.is_empty())
    }

    /// Whether there is anything to tell, and be it why nothing could be measured.
    pub(super) fn has_anything(&self) -> bool {
        self.has_figures() || self.findings.iter().any(|finding| finding.trouble.is_some())
    }

    /// Whether anything is missing of what was to be measured.
    fn is_cut_short(&self) -> bool {
        let pairs = self.trial.pairs;
        let is_any_short = self.findings.iter().chain(&self.together).any(|finding| finding.is_short(pairs));
        let is_last_missing = self.together.is_none() && !self.best().is_empty();
        self.findings.len() < self.planned || is_any_short || is_last_missing
    }

    /// All that is to be thought of.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        notes.extend(self.trial.ledger.notes());
        notes
    }

    pub(super) fn target(&self) -> String {
        self.trial.target.to_string()
    }

    /// Of each group the change that helps most, as far as that is sure.
    pub(super) fn best(&self) -> Vec<Change> {
        let mut best: Vec<(Group, f64, &Change)> = Vec::new();
        for finding in self.findings.iter().filter(|finding| finding.verdict() == Verdict::Helps) {
            let (Some(group), Some(ratio)) = (finding.change.group, finding.ratio()) else { continue };
            match best.iter_mut().find(|(other, ..)| *other == group) {
                Some(kept) if kept.1 < ratio.low => *kept = (group, ratio.low, &finding.change),
                Some(_) => {}
                None => best.push((group, ratio.low, &finding.change)),
            }
        }
        best.into_iter().map(|(.., change)| change.clone()).collect()
    }

    /// What is worth keeping: what helps, if it helps when it is measured once more. The best of many is easily a lucky one.
    fn kept(&self) -> Vec<Change> {
        match &self.together {
            Some(together) if together.verdict() == Verdict::Helps => self.best(),
            _ => Vec::new(),
        }
    }

    /// The pool that is worth keeping, without its secrets.
    fn pool(&self) -> String {
        let via = self.kept().iter().fold(self.via.clone(), |via, change| via.with(change));
        shorthand::shown(&self.trial.pool_through(&via))
    }

    /// The rate of the way as it is, in Mb/s: the geometric mean, as that of the ratios is.
    fn base_mbit(&self) -> Option<f64> {
        let found = self.findings.iter().chain(&self.together);
        let logarithms: Vec<f64> =
            found.flat_map(|finding| finding.pairs.iter().map(|(before, _)| before.ln())).collect();
        let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
        mean.is_finite().then(|| mean.exp() * 8.0 / 1e6)
    }

    /// As it is printed.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.target());
        let _ = writeln!(
            text,
            "{:<24} {:>9} {:>7}    {:<13}  verdict",
            "change", "Mb/s", "times", "95% interval"
        );
        let base = self.base_mbit();
        let _ = writeln!(text, "{:<24} {:>9} {:>7}", "(as it is)", rate(base), "1.00");
        for finding in &self.findings {
            let _ = writeln!(text, "{}", finding.line(&finding.change.to_string(), base));
        }
        if let Some(together) = &self.together {
            let _ = writeln!(text, "{}", together.line("(once more)", base));
        }
        text.push('\n');
        if self.is_cut_short() {
            text.push_str(match self.broken {
                Some(_) => "It was ended before all was measured.\n",
                None => {
                    "It was ended before all was measured: give more --seconds or --amount for the rest.\n"
                }
            });
        }
        text + &self.advice()
    }

    /// What to keep.
    fn advice(&self) -> String {
        let names = |verdict: Verdict| {
            let those = self
                .findings
                .iter()
                .filter(|finding| finding.verdict() == verdict && !finding.change.is_direct());
            those.map(|finding| finding.change.to_string()).collect::<Vec<_>>().join(", ")
        };
        let mut text = String::new();
        for (verdict, title) in [
            (Verdict::Helps, "Helps"),
            (Verdict::Hurts, "Hurts"),
            (Verdict::NoDifference, "No difference seen"),
        ] {
            let names = names(verdict);
            if !names.is_empty() {
                let _ = writeln!(text, "{title}: {names}.");
            }
        }
        for note in self.notes() {
            let _ = writeln!(text, "{note}");
        }
        let best = Change::together(&self.best());
        let _ = match &self.together {
            Some(together) if together.verdict() == Verdict::Helps => {
                let times = together.ratio().map_or(1.0, |ratio| ratio.mean);
                writeln!(text, "Keep {best}: once more it was {times:.2} times as fast as it is now.")
            }
            Some(together) if together.trouble.is_some() => {
                writeln!(text, "Keep the URL as it is: {best} could not be measured once more.")
            }
            Some(together) if together.pairs.len() >= TELLING || !together.is_short(self.trial.pairs) => {
                writeln!(text, "Keep the URL as it is: once more, {best} was not better for sure.")
            }
            None if self.best().is_empty() => {
                writeln!(text, "Keep the URL as it is: nothing else is better for sure.")
            }
            _ => writeln!(text, "Keep the URL as it is: there was no time to confirm {best}."),
        };
        let _ = write!(text, "\n{}", self.pool());
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let base = self.base_mbit();
        json!({
            "target": self.target(),
            "direction": if self.trial.is_upload { "up" } else { "down" },
            "carried_bytes": self.trial.ledger.carried(),
            "is_cut_short": self.is_cut_short(),
            "broken": self.broken,
            "as_it_is_megabits_per_second": base,
            "findings": self.findings.iter().map(|finding| finding.json(base)).collect::<Vec<_>>(),
            "once_more": self.together.as_ref().map(|finding| finding.json(base)),
            "notes": self.notes(),
            "keep": self.kept().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "file": self.pool(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tune::candidates;
    use crate::tune::ledger::{Share, tests::rich};
    use crate::tune::plan::Plan;
    use crate::tune::target::Target;

    fn trial() -> Trial {
        let share = Share::default();
        Trial {
            target: Target::parse("http://files.example/large").unwrap(),
            is_upload: false,
            body: Vec::new(),
            pairs: 4,
            plan: Plan { sample: share, growth: share, once_more: share },
            ledger: rich(),
        }
    }

    fn finding(change: Change, times: f64) -> Finding {
        of_pairs(change, times, 4)
    }

    fn of_pairs(change: Change, times: f64, pairs: u8) -> Finding {
        let mut finding = Finding::new(change);
        let of = |bytes: f64| Fetched { bytes: bytes as u64, time: Duration::from_secs(1) };
        (0..pairs).for_each(|pair| finding.add(of(5e6 + 1e3 * f64::from(pair)), of(5e6 * times)));
        finding
    }

    /// Findings of lanes and compression, the rates behind which are those of the way so many times.
    fn report<'a>(trial: &'a Trial, times: &[(&str, f64)]) -> Report<'a> {
        let hops = ["http://bob:pw@proxy:3128", "towpath://far.example:7000?key-file=key"];
        let via = Via::to_tunnel(&hops.map(str::to_owned)).unwrap();
        let changes = candidates::all(&via, &[Group::Lanes, Group::Compress], true, false).unwrap().changes;
        let mut report = Report::new(trial, via, changes.len(), vec!["Not tried: window.".to_owned()]);
        for change in changes {
            let known = times.iter().find(|(name, _)| *name == change.to_string());
            report.findings.push(match known {
                Some((_, times)) => finding(change, *times),
                None => {
                    let mut finding = Finding::new(change);
                    finding.failed("the connection was reset".to_owned());
                    finding
                }
            });
        }
        report
    }

    #[test]
    fn the_best_of_each_group_is_kept_and_all_is_told() {
        let trial = trial();
        let found = [
            ("lanes=4", 1.5),
            ("lanes=8", 2.0),
            ("lanes=1", 0.5),
            ("compress=off", 1.1),
            ("compress=lz4", 1.0),
        ];
        let mut report = report(&trial, &found);
        let best: Vec<_> = report.best().iter().map(ToString::to_string).collect();
        assert_eq!(best, ["lanes=8", "compress=off"]);
        report.together = Some(finding(Change::together(&report.best()), 2.2));
        let text = report.text();
        for line in [
            "Helps: lanes=4, lanes=8, compress=off.",
            "Hurts: lanes=1.",
            "No difference seen: compress=lz4.",
            "Not tried: window.",
            "Keep lanes=8 compress=off: once more it was 2.20 times as fast as it is now.",
            "via = [\"http://bob:***@proxy:3128\", \"towpath://far.example:7000?key-file=key&lanes=8&compress=off\"]",
            "backend = [\"files.example:80\"]",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.contains("lanes=16                 not measured: the connection was reset"), "{text}");
    }

    #[test]
    fn what_does_not_help_once_more_is_not_kept() {
        let trial = trial();
        let mut report = report(&trial, &[("lanes=4", 1.5)]);
        assert_eq!(report.json()["keep"], json!([]), "not yet");
        report.together = Some(finding(Change::together(&report.best()), 1.0));
        let text = report.text();
        assert!(text.contains("once more, lanes=4 was not better for sure"), "{text}");
        assert!(text.contains("?key-file=key\"]") && text.contains("\n(once more)  "), "{text}");
        report.together = Some(finding(Change::together(&report.best()), 1.5));
        let value = report.json();
        assert_eq!((&value["keep"], &value["direction"]), (&json!(["lanes=4"]), &json!("down")));
        assert_eq!(value["findings"][0]["trouble"], "the connection was reset");
    }

    #[test]
    fn where_nothing_is_better_the_url_stays() {
        let trial = trial();
        let text = report(&trial, &[("lanes=4", 1.0)]).text();
        assert!(text.contains("Keep the URL as it is") && text.contains("key-file=key\"]"), "{text}");
    }

    #[test]
    fn what_there_was_no_time_for_is_not_called_useless() {
        let trial = trial();
        let mut report = report(&trial, &[("lanes=4", 1.5)]);
        assert_eq!(report.json()["is_cut_short"], true, "nothing is confirmed");
        assert!(report.text().contains("there was no time to confirm lanes=4."), "{}", report.text());
        report.together = Some(of_pairs(Change::together(&report.best()), 1.0, 2));
        assert_eq!(report.json()["is_cut_short"], true);
        assert!(report.text().contains("there was no time to confirm lanes=4."), "{}", report.text());
        report.together = Some(of_pairs(Change::together(&report.best()), 1.0, 4));
        assert_eq!(report.json()["is_cut_short"], false);
        report.findings.pop();
        assert_eq!(report.json()["is_cut_short"], true, "one was not even begun");
    }

    #[test]
    fn rates_are_what_the_times_say() {
        let trial = trial();
        let mut report = report(&trial, &[]);
        assert!(report.text().lines().any(|line| line == "(as it is)                       -    1.00"));
        assert!(!report.has_figures() && report.has_anything(), "it tells why");
        let of = |rate: f64| Fetched { bytes: rate as u64, time: Duration::from_secs(1) };
        let mut one = Finding::new(report.findings[0].change.clone());
        // 4 and 16 MB a second as it is, 8 and 32 behind the change.
        one.add(of(4e6), of(8e6));
        one.add(of(16e6), of(32e6));
        report.findings[0] = one;
        let text = report.text();
        let figures = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(figures("(as it is)"), "(as it is) 64.0 1.00");
        assert!(figures("lanes=1").starts_with("lanes=1 128.0 2.00 2.00 to 2.00"), "{text}");
        let told = report.json()["findings"][0]["megabits_per_second"].as_f64().unwrap();
        assert!((told - 128.0).abs() < 1e-9, "{told}");
    }
}
