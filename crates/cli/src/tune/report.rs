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

    /// The mean rate in Mb/s, behind the change.
    fn mbit(&self) -> f64 {
        let rates: f64 = self.pairs.iter().map(|(_, after)| after).sum();
        rates / self.pairs.len().max(1) as f64 * 8.0 / 1e6
    }

    fn line(&self) -> String {
        self.line_of(&self.change.to_string())
    }

    /// Its line under another name.
    fn line_of(&self, name: &str) -> String {
        match (self.ratio(), &self.trouble) {
            (_, Some(trouble)) => format!("{name:<24} not measured: {trouble}"),
            (None, None) => format!("{name:<24} {}", Verdict::Unknown.as_str()),
            (Some(Ratio { mean, low, high }), None) => {
                let verdict = self.told();
                format!("{name:<24} {:>9.1} {mean:>7.2}    {low:.2} to {high:<6.2}  {verdict}", self.mbit())
            }
        }
    }

    fn json(&self) -> Value {
        let ratio = self.ratio();
        json!({
            "change": self.change.to_string(),
            "pairs_bytes_per_second": self.pairs,
            "megabits_per_second": ratio.map(|_| self.mbit()),
            "times": ratio.map(|ratio| ratio.mean),
            "times_low": ratio.map(|ratio| ratio.low),
            "times_high": ratio.map(|ratio| ratio.high),
            "verdict": self.told(),
            "trouble": self.trouble,
        })
    }
}

/// All that was found.
pub(super) struct Report<'a> {
    trial: &'a Trial,
    via: Via,
    pub(super) findings: Vec<Finding>,
    /// What helps, once more and all together.
    pub(super) together: Option<Finding>,
    pub(super) is_cut_short: bool,
    /// Why the way as it is does not work any more.
    pub(super) broken: Option<String>,
    /// What was not tried, and why.
    notes: Vec<String>,
}

impl<'a> Report<'a> {
    /// Nothing yet, of this way.
    pub(super) fn new(trial: &'a Trial, via: Via, notes: Vec<String>) -> Self {
        Self { trial, via, findings: Vec::new(), together: None, is_cut_short: false, broken: None, notes }
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

    /// The rate of the way as it is, in Mb/s.
    fn base_mbit(&self) -> f64 {
        let rates = self.findings.iter().flat_map(|finding| finding.pairs.iter().map(|(before, _)| before));
        let (sum, count) = rates.fold((0.0, 0_u32), |(sum, count), rate| (sum + rate, count + 1));
        sum / f64::from(count.max(1)) * 8.0 / 1e6
    }

    /// As it is printed.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.target());
        let _ = writeln!(
            text,
            "{:<24} {:>9} {:>7}    {:<13}  verdict",
            "change", "Mb/s", "times", "95% interval"
        );
        let _ = writeln!(text, "{:<24} {:>9.1} {:>7}", "(as it is)", self.base_mbit(), "1.00");
        for finding in &self.findings {
            let _ = writeln!(text, "{}", finding.line());
        }
        if let Some(together) = &self.together {
            let _ = writeln!(text, "{}", together.line_of("(once more)"));
        }
        text.push('\n');
        if self.is_cut_short {
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
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        let best = Change::together(&self.best());
        let _ = match &self.together {
            Some(together) if together.verdict() == Verdict::Helps => {
                let times = together.ratio().map_or(1.0, |ratio| ratio.mean);
                writeln!(text, "Keep {best}: once more it was {times:.2} times as fast as it is now.")
            }
            Some(_) => writeln!(text, "Keep the URL as it is: once more, {best} was not better for sure."),
            None if self.best().is_empty() => {
                writeln!(text, "Keep the URL as it is: nothing else is better for sure.")
            }
            None => writeln!(text, "Keep the URL as it is until {best} is measured once more."),
        };
        let _ = write!(text, "\n{}", self.pool());
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "target": self.target(),
            "direction": if self.trial.is_upload { "up" } else { "down" },
            "carried_bytes": self.trial.carried.get(),
            "is_cut_short": self.is_cut_short,
            "broken": self.broken,
            "as_it_is_megabits_per_second": self.base_mbit(),
            "findings": self.findings.iter().map(Finding::json).collect::<Vec<_>>(),
            "once_more": self.together.as_ref().map(Finding::json),
            "notes": self.notes,
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
    use crate::tune::target::Target;

    fn trial() -> Trial {
        Trial {
            target: Target::parse("http://files.example/large").unwrap(),
            is_upload: false,
            body: Vec::new(),
            sample: Duration::from_secs(1),
            growth: Duration::ZERO,
            sample_bytes: 1,
            pairs: 4,
            amount: 1,
            end: std::time::Instant::now(),
            carried: 0.into(),
            is_interrupted: std::sync::Arc::default(),
        }
    }

    fn finding(change: Change, times: f64) -> Finding {
        let mut finding = Finding::new(change);
        let of = |bytes: f64| Fetched { bytes: bytes as u64, time: Duration::from_secs(1) };
        (0..4).for_each(|pair| finding.add(of(5e6 + 1e3 * f64::from(pair)), of(5e6 * times)));
        finding
    }

    /// Findings of lanes and compression, the rates behind which are those of the way so many times.
    fn report<'a>(trial: &'a Trial, times: &[(&str, f64)]) -> Report<'a> {
        let hops = ["http://bob:pw@proxy:3128", "towpath://far.example:7000?key-file=key"];
        let via = Via::to_tunnel(&hops.map(str::to_owned)).unwrap();
        let changes = candidates::all(&via, &[Group::Lanes, Group::Compress], true, false).unwrap().changes;
        let mut report = Report::new(trial, via, vec!["Not tried: window.".to_owned()]);
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
}
