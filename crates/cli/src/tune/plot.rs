//! What was found, as a picture: a bar for each change, and a line for its interval.

use std::fmt::Write;

use super::report::{Report, Verdict};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 220.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 70.0;
const STEP: f64 = 26.0;

/// As SVG.
pub(super) fn svg(report: &Report<'_>) -> String {
    let found = report.findings.iter().chain(&report.together);
    let found: Vec<_> = found.filter_map(|finding| Some((finding, finding.ratio()?))).collect();
    let most = found.iter().map(|(_, ratio)| ratio.high).fold(1.2, f64::max).min(10.0);
    let x = |ratio: f64| LEFT + (RIGHT - LEFT) * ratio.min(most) / most;
    let height = TOP + STEP * found.len() as f64 + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"20\" y=\"28\" font-size=\"17\">{}</text>\n\
         <text x=\"20\" y=\"48\" fill=\"#6b7280\">times the rate of the way as it is, with 95% intervals</text>\n",
        escaped(&report.target())
    );
    for (place, (finding, ratio)) in found.iter().enumerate() {
        let y = TOP + STEP * place as f64;
        let color = match finding.verdict() {
            Verdict::Helps => "#15803d",
            Verdict::Hurts => "#b91c1c",
            Verdict::NoDifference | Verdict::Unknown => "#a8b2c1",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"{:.1}\">{}</text><rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"16\" fill=\"{color}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"black\"/><text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
            y + 13.0,
            escaped(&finding.change.to_string()),
            x(ratio.mean) - LEFT,
            x(ratio.low),
            x(ratio.high),
            y + 8.0,
            y + 8.0,
            x(ratio.high) + 6.0,
            y + 13.0,
            ratio.mean
        );
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{2:.1}\" stroke=\"#6b7280\" stroke-dasharray=\"4\"/>\n</svg>",
        x(1.0),
        TOP - 6.0,
        height - 24.0
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
