//! The figures of a benchmark as a picture: horizontal bars, one small chart for each kind of work.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::contender::Contender;
use super::report::{KindReport, Report, rounded};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const COLUMNS: usize = 2;
const WIDTH: i32 = 920;
const MARGIN: i32 = 24;
const BAR_HEIGHT: i32 = 18;
const BAR_STEP: i32 = 25;
const LABEL_WIDTH: i32 = 84;
const VALUE_WIDTH: i32 = 70;
const TITLE_HEIGHT: i32 = 48;

const INK: RGBColor = RGBColor(31, 41, 55);
const QUIET: RGBColor = RGBColor(107, 114, 128);
const OURS: RGBColor = RGBColor(194, 65, 12);
const THEIRS: RGBColor = RGBColor(168, 178, 193);

/// Draws what the forwarders cost at each kind of work.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn draw(report: &Report, path: &Path) -> Result<()> {
    let kinds = report.kinds.iter().filter(|kind| kind.kind.is_a_cost());
    let charts: Vec<_> = kinds.map(Chart::new).filter(|chart| !chart.bars.is_empty()).collect();
    let rows: Vec<_> = charts.chunks(COLUMNS).collect();
    let height = |row: &&[Chart<'_>]| row.iter().map(Chart::height).max().unwrap_or_default();
    let total = 2 * MARGIN + 46 + rows.iter().map(height).sum::<i32>() + 14;
    let size = (WIDTH.unsigned_abs(), total.unsigned_abs());
    let area = SVGBackend::new(path, size).into_drawing_area();
    // Its own white, whatever the page around it is.
    area.fill(&WHITE).map_err(drawing)?;
    text(
        &area,
        "What a forwarder costs: one thread each, less is better",
        (MARGIN, MARGIN),
        18,
        INK,
        HPos::Left,
    )?;
    let mut top = MARGIN + 46;
    let width = (WIDTH - MARGIN) / COLUMNS as i32 - MARGIN;
    for row in &rows {
        for (column, chart) in (0..).zip(row.iter()) {
            chart.draw(&area, (MARGIN + column * (width + MARGIN), top), width)?;
        }
        top += height(row);
    }
    let foot = foot(report);
    text(&area, &foot, (MARGIN, total - MARGIN - 4), 11, QUIET, HPos::Left)?;
    area.present().map_err(drawing)
}

/// On what it was measured, and how often.
fn foot(report: &Report) -> String {
    let runs = || report.kinds.iter().map(|kind| kind.run.as_ref().unwrap_or(&report.run));
    let rounds = || runs().map(|run| run.rounds);
    let (fewest, most) = (rounds().min().unwrap_or_default(), rounds().max().unwrap_or_default());
    let rounds = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
    let run = &report.run;
    let machine = format!("{}; Linux {}", run.cpu, run.kernel);
    let same = runs().all(|other| (&other.cpu, &other.kernel) == (&run.cpu, &run.kernel));
    let machines = if same { machine } else { format!("{machine}, some figures from another") };
    format!("{machines}; medians of {rounds} rounds")
}

/// The bars of one kind.
struct Chart<'a> {
    title: &'a str,
    unit: String,
    bars: Vec<(Contender, f64)>,
}

impl<'a> Chart<'a> {
    fn new(kind: &'a KindReport) -> Chart<'a> {
        let cost = kind.results.iter().map(|result| (result.contender, result.median(|sample| sample.cost)));
        let unit = match kind.cost_unit.as_str() {
            "us/request" => "CPU, µs per request".to_owned(),
            "us/connection" => "CPU, µs per connection".to_owned(),
            "cpu-s/GB" => "CPU, seconds per GB".to_owned(),
            _ => "bytes".to_owned(),
        };
        Chart {
            title: &kind.title,
            unit,
            bars: cost.filter_map(|(contender, cost)| Some((contender, cost?))).collect(),
        }
    }

    fn height(&self) -> i32 {
        TITLE_HEIGHT + BAR_STEP * self.bars.len() as i32 + 22
    }

    fn draw(&self, area: &Area<'_>, (left, top): (i32, i32), width: i32) -> Result<()> {
        text(area, self.title, (left, top), 14, INK, HPos::Left)?;
        text(area, &self.unit, (left, top + 20), 11, QUIET, HPos::Left)?;
        let most = self.bars.iter().map(|(_, cost)| *cost).fold(f64::MIN_POSITIVE, f64::max);
        let room = f64::from(width - LABEL_WIDTH - VALUE_WIDTH);
        let start = left + LABEL_WIDTH;
        let mut y = top + TITLE_HEIGHT - 4;
        for (contender, cost) in &self.bars {
            let (fill, ink) = if *contender == Contender::Towpath { (OURS, OURS) } else { (THEIRS, INK) };
            let end = start + (room * cost.max(0.0) / most).round().max(1.0) as i32;
            let corners = [(start, y), (end, y + BAR_HEIGHT)];
            area.draw(&Rectangle::new(corners, fill.filled())).map_err(drawing)?;
            let middle = y + BAR_HEIGHT / 2 - 6;
            text(area, contender.name(), (start - 8, middle), 12, ink, HPos::Right)?;
            text(area, &rounded(*cost), (end + 6, middle), 12, ink, HPos::Left)?;
            y += BAR_STEP;
        }
        Ok(())
    }
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, ink: RGBColor, side: HPos) -> Result<()> {
    // plotters takes the height of a line, which it holds to be 1.24 times the size of the letters.
    let height = f64::from(size) * 1.24;
    let style = TextStyle::from(("Helvetica, Arial, sans-serif", height).into_font()).color(&ink);
    area.draw(&Text::new(text.to_owned(), at, style.pos(Pos::new(side, VPos::Top)))).map_err(drawing)
}

fn drawing<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

#[cfg(test)]
mod tests {
    use super::super::load::Kind;
    use super::super::report::{ContenderReport, Run, Sample};
    use super::*;

    #[test]
    fn there_is_a_bar_for_each_forwarder_and_none_for_the_direct_path() {
        let result = |contender, cost| ContenderReport {
            contender,
            rounds: vec![Sample { cost, ..Sample::default() }],
        };
        let results = vec![
            result(Contender::Towpath, Some(18.0)),
            result(Contender::Go, Some(30.0)),
            result(Contender::Direct, None),
        ];
        let spread = vec![result(Contender::Nginx, Some(0.1))];
        let report = Report {
            run: Run { rounds: 1, ..Run::default() },
            kinds: vec![KindReport::new(Kind::Request64, results), KindReport::new(Kind::Httpspread, spread)],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.svg");
        draw(&report, &path).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.contains("towpath") && svg.contains("go io.Copy") && !svg.contains("direct"), "{svg}");
        assert!(!svg.contains("nginx"), "how even requests are spread is no cost: {svg}");
        assert_eq!(svg.matches("<rect").count(), 3, "the ground and two bars: {svg}");
    }
}
