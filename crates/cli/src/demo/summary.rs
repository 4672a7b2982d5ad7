//! What the demo says at its end.

use std::fmt::Write;
use std::sync::Arc;

use super::backend::Backend;
use super::figures::Shown;
use super::units::{bytes, millis, number, rate};

/// The figures of a whole run.
pub(super) fn text(whole: &Shown, backends: &[Arc<Backend>]) -> String {
    let mut text = String::new();
    let answered = whole.answered.iter().sum();
    let rates = whole.rates.iter().sum();
    let carried = whole.totals.up_bytes + whole.totals.down_bytes;
    let stops: u32 = backends.iter().map(|backend| backend.condition().stops).sum();
    let lines = [
        ("requests answered", format!("{}, {} a second", number(answered), rate(rates))),
        ("requests failed", number(whole.failed)),
        ("latency", {
            let latency = whole.latency;
            let (p50, p99, max) = (millis(latency.p50), millis(latency.p99), millis(latency.max));
            format!("p50 {p50}, p99 {p99}, max {max}")
        }),
        ("carried", format!("{} over {} connections", bytes(carried), number(whole.totals.accepted))),
        ("backend stops", format!("{stops} in {:.0} s", whole.elapsed.as_secs_f64())),
    ];
    for (name, value) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<19} {value}");
    }
    for (place, (backend, answered)) in backends.iter().zip(whole.answered).enumerate() {
        let stops = match backend.condition().stops {
            1 => "stopped once".to_owned(),
            times => format!("stopped {times} times"),
        };
        let name = format!("backend {}", place + 1);
        let _ = writeln!(text, "{name:<19} {} answered, {stops}", number(answered));
    }
    if let Some(failure) = &whole.first_failure {
        let _ = writeln!(text, "{:<19} {failure}", "first failure");
    }
    text
}
