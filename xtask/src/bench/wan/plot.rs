//! What arrives straight and through a tunnel, as a picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Report, Wanted, Way, median};

const WIDTH: i32 = 920;
const MARGIN: i32 = 24;
const TOP: i32 = 64;
const STEP: i32 = 62;
const BAR: i32 = 16;
/// Where bars begin, and the longest ends.
const LEFT: i32 = 440;
const RIGHT: i32 = WIDTH - 90;
const INK: RGBColor = RGBColor(31, 41, 55);
const QUIET: RGBColor = RGBColor(107, 114, 128);
const TUNNEL: RGBColor = RGBColor(194, 65, 12);
const STRAIGHT: RGBColor = RGBColor(168, 178, 193);

/// Draws what was measured of ways with a rate of their own.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn draw(report: &Report, path: &Path) -> Result<()> {
    let has_rate = |way: &&Way| matches!(way.wanted, Wanted::Mbit(_) | Wanted::Times(_));
    let ways: Vec<&Way> = report.ways.iter().filter(has_rate).collect();
    let height = TOP + STEP * ways.len() as i32 + 2 * MARGIN;
    let area = SVGBackend::new(path, (WIDTH.unsigned_abs(), height.unsigned_abs())).into_drawing_area();
    let failed = |error| anyhow!("cannot draw: {error}");
    area.fill(&WHITE).map_err(failed)?;
    let text = |text: &str, at: (i32, i32), size: i32, color: RGBColor| -> Result<()> {
        let style = ("sans-serif", size).into_font().color(&color).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(text.to_owned(), at, style)).map_err(|error| anyhow!("cannot draw: {error}"))
    };
    text("One stream over a long way, Mb/s: more is better", (MARGIN, MARGIN), 18, INK)?;
    text("straight (grey), through a tunnel (red)", (MARGIN, MARGIN + 22), 12, QUIET)?;
    let rate = |way: &Way, is_tunnel: bool| {
        median(if is_tunnel { &way.tunnel } else { &way.straight }, |hauled| hauled.settled_mbit)
    };
    let most = ways.iter().flat_map(|way| [rate(way, true), rate(way, false)]).fold(1.0, f64::max);
    for (place, way) in (0..).zip(&ways) {
        let top = TOP + STEP * place;
        text(way.title, (MARGIN, top + BAR), 13, INK)?;
        for (row, is_tunnel) in [(0, false), (1, true)] {
            let (rate, at) = (rate(way, is_tunnel), top + row * (BAR + 4));
            let end = LEFT + ((RIGHT - LEFT) as f64 * rate / most) as i32;
            let color = if is_tunnel { TUNNEL } else { STRAIGHT };
            area.draw(&Rectangle::new([(LEFT, at), (end, at + BAR)], color.filled()))
                .map_err(|error| anyhow!("cannot draw: {error}"))?;
            text(&format!("{rate:.0}"), (end + 6, at + BAR / 2), 12, INK)?;
        }
    }
    let foot = format!(
        "{}; Linux {}; medians of {} rounds of {} s, behind the first 3 s",
        report.cpu, report.kernel, report.rounds, report.seconds
    );
    text(&foot, (MARGIN, height - MARGIN), 11, QUIET)?;
    area.present().map_err(|error| anyhow!("cannot draw: {error}"))
}
