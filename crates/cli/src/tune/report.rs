//! What was found, as it is told.

use std::fmt::Write;

use super::candidates::{Change, Group, Url};
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
    bytes: u64,
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
        Self { change, pairs: Vec::new(), bytes: 0, trouble: None }
    }

    pub(super) fn add(&mut self, before: Fetched, after: Fetched) {
        self.pairs.push((before.rate(), after.rate()));
        self.bytes += before.bytes + after.bytes;
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

    /// Itself, if it tells anything.
    pub(super) fn into_seen(self) -> Option<Self> {
        self.ratio().is_some().then_some(self)
    }

    /// The mean rate in Mb/s, behind the change.
    fn mbit(&self) -> f64 {
        let rates: f64 = self.pairs.iter().map(|(_, after)| after).sum();
        rates / self.pairs.len().max(1) as f64 * 8.0 / 1e6
    }

    fn line(&self) -> String {
        let name = self.change.to_string();
        match (self.ratio(), &self.trouble) {
            (_, Some(trouble)) => format!("{name:<24} not measured: {trouble}"),
            (None, None) => format!("{name:<24} {}", Verdict::Unknown.as_str()),
            (Some(Ratio { mean, low, high }), None) => {
                let verdict = self.verdict().as_str();
                format!("{name:<24} {:>9.1} {mean:>7.2}    {low:.2} to {high:<6.2}  {verdict}", self.mbit())
            }
        }
    }
}

/// All that was found.
pub(super) struct Report<'a> {
    trial: &'a Trial,
    url: Url,
    pub(super) findings: Vec<Finding>,
    pub(super) together: Option<Finding>,
    /// Bytes that were carried.
    pub(super) bytes: u64,
    pub(super) is_cut_short: bool,
}

impl<'a> Report<'a> {
    /// Nothing yet, of the way of this URL.
    pub(super) fn new(trial: &'a Trial, url: Url) -> Self {
        Self { trial, url, findings: Vec::new(), together: None, bytes: 0, is_cut_short: false }
    }

    pub(super) fn target(&self) -> String {
        self.trial.target.to_string()
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.bytes += finding.bytes;
        self.findings.push(finding);
    }

    /// The best of each group that helps.
    pub(super) fn best(&self) -> Vec<Change> {
        let mut best: Vec<(Group, f64, &Change)> = Vec::new();
        for finding in self.findings.iter().filter(|finding| finding.verdict() == Verdict::Helps) {
            let (Some(group), Some(ratio)) = (finding.change.group, finding.ratio()) else { continue };
            match best.iter_mut().find(|(other, ..)| *other == group) {
                Some(kept) if kept.1 < ratio.mean => *kept = (group, ratio.mean, &finding.change),
                Some(_) => {}
                None => best.push((group, ratio.mean, &finding.change)),
            }
        }
        best.into_iter().map(|(.., change)| change.clone()).collect()
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
            let _ = writeln!(text, "{}", together.line());
        }
        text.push('\n');
        if self.is_cut_short {
            text.push_str(
                "It was ended before all was measured: give more --seconds or --amount for the rest.\n",
            );
        }
        text.push_str(&self.advice());
        text
    }

    /// What to keep.
    fn advice(&self) -> String {
        let best = self.best();
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
        if best.is_empty() {
            text.push_str("Keep the URL as it is: nothing else is better for sure.\n");
        }
        let kept = best.iter().fold(self.url.clone(), |url, change| url.with(change));
        let pool = self.trial.pool(&self.trial.hops_with(&kept));
        let _ = write!(text, "\n{}", shorthand::shown(&pool));
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tune::candidates;
    use crate::tune::fetch::Target;

    fn trial() -> Trial {
        Trial {
            target: Target::parse("http://files.example/large").unwrap(),
            is_upload: false,
            sample: Duration::from_secs(1),
            amount: 1,
            end: std::time::Instant::now(),
            hops: vec!["http://proxy:3128".to_owned(), "towpath://far.example:7000?key-file=key".to_owned()],
        }
    }

    /// Findings of lanes and compression, the rates behind which are those of the way so many times.
    fn report<'a>(trial: &'a Trial, times: &[(&str, f64)]) -> Report<'a> {
        let url = Url::of_tunnel(&trial.hops).unwrap();
        let mut report = Report::new(trial, url.clone());
        for change in candidates::all(&url, &[Group::Lanes, Group::Compress], false, false) {
            let known = times.iter().find(|(name, _)| *name == change.to_string());
            let mut finding = Finding::new(change);
            let of = |bytes: f64| Fetched { bytes: bytes as u64, time: Duration::from_secs(1) };
            if let Some((_, times)) = known {
                (0..4).for_each(|pair| finding.add(of(5e6 + 1e3 * f64::from(pair)), of(5e6 * times)));
            } else {
                finding.failed("the connection was reset".to_owned());
            }
            report.add(finding);
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
        let report = report(&trial, &found);
        let best: Vec<_> = report.best().iter().map(ToString::to_string).collect();
        assert_eq!(best, ["lanes=8", "compress=off"]);
        let text = report.text();
        for line in [
            "Helps: lanes=4, lanes=8, compress=off.",
            "Hurts: lanes=1.",
            "No difference seen: compress=lz4.",
            "via = [\"http://proxy:3128\", \"towpath://far.example:7000?key-file=key&lanes=8&compress=off\"]",
            "backend = [\"files.example:80\"]",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.contains("lanes=16                 not measured: the connection was reset"), "{text}");
    }

    #[test]
    fn where_nothing_is_better_the_url_stays() {
        let trial = trial();
        let text = report(&trial, &[("lanes=4", 1.0)]).text();
        assert!(text.contains("Keep the URL as it is") && text.contains("key-file=key\"]"), "{text}");
    }
}
