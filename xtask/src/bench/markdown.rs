//! The figures of a benchmark as tables of Markdown, as the README has them: one for each thing that towpath is.

use std::fmt::Write as _;

use super::contender::Contender;
use super::load::{Kind, Role};
use super::report::{ContenderReport, KindReport, Ratio, Report, Sample, rounded};

/// One of the tables.
struct Table {
    caption: &'static str,
    peers: &'static [(Contender, &'static str)],
    /// Whether nginx has a ratio of its own.
    beside_nginx: bool,
    takes: fn(Role) -> bool,
}

const TABLES: [Table; 3] = [
    Table {
        caption: "As a forwarder:",
        peers: &[(Contender::Haproxy, "HAProxy"), (Contender::Nginx, "nginx"), (Contender::Go, "Go io.Copy")],
        beside_nginx: false,
        takes: |role| role == Role::Forwarder,
    },
    Table {
        caption: "As a proxy:",
        peers: &[
            (Contender::Tinyproxy, "tinyproxy"),
            (Contender::Squid, "Squid"),
            (Contender::Goconnect, "40 lines of Go"),
        ],
        beside_nginx: false,
        takes: |role| role == Role::Proxy,
    },
    Table {
        caption: "Balancing HTTP requests over servers of HTTP/1.1:",
        peers: &[(Contender::Haproxy, "HAProxy"), (Contender::Nginx, "nginx")],
        beside_nginx: true,
        takes: |role| matches!(role, Role::Balancer { .. }),
    },
];

/// The tables of all that `report` has figures of.
pub(super) fn tables(report: &Report) -> String {
    let mut out = String::new();
    for table in &TABLES {
        let kinds: Vec<_> = report.kinds.iter().filter(|kind| (table.takes)(kind.kind.role())).collect();
        if !kinds.is_empty() {
            table.write(&mut out, &kinds);
        }
    }
    out
}

impl Table {
    fn write(&self, out: &mut String, kinds: &[&KindReport]) {
        let mut heads = vec!["work", "unit", "towpath"];
        heads.extend(self.peers.iter().map(|(_, name)| *name));
        heads.push("towpath / best of the others");
        heads.extend(self.beside_nginx.then_some("towpath / nginx"));
        let _ = writeln!(out, "{}\n\n{}|{}", self.caption, line(&heads), "---|".repeat(heads.len()));
        for kind in kinds {
            let cost = self.cells(kind, |result| result.median(|sample: &Sample| sample.cost).map(rounded));
            let ratios = self.ratios(kind, "cost");
            out.push_str(&row(&kind.title, &kind.cost_unit, cost, ratios));
            if kind.kind.is_about_latency() {
                let p99 = self.cells(kind, |result| result.median(|sample| sample.p99_us).map(rounded));
                out.push_str(&row("the same, p99", "us", p99, self.ratios(kind, "p99")));
            }
            if kind.kind == Kind::H2storm {
                let errors = self.cells(kind, |result| Some(result.errors().to_string()));
                out.push_str(&row("the same, errors", "requests", errors, self.ratios(kind, "errors")));
            }
        }
        out.push('\n');
    }

    /// What `text` says of towpath and the peers; a dash for those which did not take part.
    fn cells(&self, kind: &KindReport, text: impl Fn(&ContenderReport) -> Option<String>) -> Vec<String> {
        let peers = self.peers.iter().map(|(contender, _)| *contender);
        let result = |contender| kind.results.iter().find(|result| result.contender == contender);
        let cell = |contender| result(contender).and_then(&text).unwrap_or_else(|| "-".to_owned());
        std::iter::once(Contender::Towpath).chain(peers).map(cell).collect()
    }

    /// The ratio with the best peer, and where it has a column that with nginx.
    fn ratios(&self, kind: &KindReport, of: &str) -> Vec<String> {
        let ratios = || kind.ratios.iter().filter(|ratio| ratio.of == of);
        let cell = |ratio: Option<&Ratio>| {
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio.median))
        };
        let nginx = || cell(ratios().find(|ratio| ratio.peer == Contender::Nginx));
        std::iter::once(cell(ratios().next())).chain(self.beside_nginx.then(nginx)).collect()
    }
}

fn row(work: &str, unit: &str, figures: Vec<String>, ratios: Vec<String>) -> String {
    let cells = [work.to_owned(), unit.to_owned()].into_iter().chain(figures).chain(ratios);
    line(&cells.collect::<Vec<_>>())
}

fn line<T: AsRef<str>>(cells: &[T]) -> String {
    let cells = cells.iter().map(|cell| format!(" {} |", cell.as_ref()));
    format!("|{}\n", cells.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::report::Run;
    use super::*;

    fn kind(kind: Kind, figures: &[(Contender, f64)]) -> KindReport {
        let sample = |cost| Sample { cost: Some(cost), p99_us: Some(2.0 * cost), ..Sample::default() };
        let result = |(contender, cost): &(Contender, f64)| ContenderReport {
            contender: *contender,
            rounds: vec![sample(*cost)],
        };
        KindReport::new(kind, figures.iter().map(result).collect())
    }

    #[test]
    fn there_is_a_table_for_each_thing_that_was_measured() {
        let storm = kind(Kind::H2storm, &[(Contender::Towpath, 20.0), (Contender::Haproxy, 40.0)]);
        let http = [(Contender::Towpath, 10.0), (Contender::Haproxy, 20.0), (Contender::Nginx, 40.0)];
        let kinds = vec![kind(Kind::Http1k, &http), storm];
        let text = tables(&Report { run: Run::default(), kinds });
        let expected = "Balancing HTTP requests over servers of HTTP/1.1:

| work | unit | towpath | HAProxy | nginx | towpath / best of the others | towpath / nginx |
|---|---|---|---|---|---|---|
| HTTP/1.1 to 3 servers, 64 connections, 1 kB | us/request | 10.0 | 20.0 | 40.0 | 0.50 | 0.25 |
| HTTP/2 to 3 servers, 100 connections of 100 streams | us/request | 20.0 | 40.0 | - | 0.50 | - |
| the same, p99 | us | 40.0 | 80.0 | - | 0.50 | - |
| the same, errors | requests | 0 | 0 | - | - | - |

";
        assert_eq!(text, expected);
    }
}
