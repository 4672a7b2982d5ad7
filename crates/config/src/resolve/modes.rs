//! Keys that only listeners of some modes have a use for, and pools that listeners of a mode cannot use.

use super::listener::Found;
use super::pool::Pools;
use crate::error::Mistake;
use crate::file;
use crate::model::Mode;
use crate::read::Shape;
use crate::report::Report;

const PROXY: &[Mode] = &[Mode::Proxy];
const HTTP: &[Mode] = &[Mode::Http];
const TUNNEL: &[Mode] = &[Mode::Tunnel];
const FAR: &[Mode] = &[Mode::Proxy, Mode::Tunnel];
const BOTH: &[Mode] = &[Mode::Proxy, Mode::Http];

/// Notes the keys of a listener that go with other modes than its own.
pub(crate) fn note_foreign(mode: Mode, shape: &file::Listener, report: &mut Report) {
    let of_modes = [
        ("open", shape.open.span(), PROXY),
        ("allow_dest", shape.allow_dest.span(), FAR),
        ("deny_dest", shape.deny_dest.span(), FAR),
        ("forwarded", shape.forwarded.span(), PROXY),
        ("header_timeout", shape.header_timeout.span(), BOTH),
        ("via_name", shape.via_name.span(), BOTH),
        ("tunnel", shape.tunnel.span(), TUNNEL),
    ];
    let of_modes = of_modes.into_iter().filter_map(|(key, span, modes)| Some((key, span?, modes)));
    let of_requests = shape.http.spans().into_iter().map(|(key, span)| (key, span, HTTP));
    let of_rules = shape.rules.spans().into_iter().map(|(key, span)| {
        let modes = if matches!(key, "users" | "auth_file") { BOTH } else { HTTP };
        (key, span, modes)
    });
    for (key, span, modes) in of_modes.chain(of_requests).chain(of_rules) {
        if modes.contains(&mode) {
            continue;
        }
        let names: Vec<_> = modes.iter().map(|mode| format!("\"{}\"", name(*mode))).collect();
        let hint = match (key, mode) {
            ("forwarded", Mode::Http) => "in mode \"http\" write forwarded_fields = \"forwarded\"".to_owned(),
            _ => format!("add mode = {}, or leave `{key}` out", names.join(" or ")),
        };
        report.push(Mistake::at(span, format!("`{key}` goes with mode {}", names.join(" or "))).hint(hint));
    }
    if let Some(span) = shape.tls.span().filter(|_| mode == Mode::Tunnel) {
        let mistake = Mistake::at(span, "tunnels have their own encryption");
        report.push(mistake.hint("leave `tls` out: the key of `tunnel` is for both ends to know each other"));
    }
    if let Some(span) = shape.first_bytes_timeout.span().filter(|_| mode == Mode::Http) {
        let mistake = Mistake::at(span, "`first_bytes_timeout` goes with mode \"tcp\"");
        report.push(
            mistake.hint("in mode \"http\" `header_timeout` is how long the head of a request may take"),
        );
    }
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Tcp => "tcp",
        Mode::Proxy => "proxy",
        Mode::Http => "http",
        Mode::Tunnel => "tunnel",
    }
}

/// Notes what pools say of requests where listeners that carry connections use them.
pub(crate) fn note_requests(listeners: &[Found], pools: &Pools, report: &mut Report) {
    let carries = |found: &&Found| found.mode.is_some_and(|mode| mode != Mode::Http);
    let users =
        |index: usize| listeners.iter().filter(move |found| found.pools().any(|place| place == index));
    for index in 0..pools.count() {
        let pool = pools.at(index);
        if let Some(balancer) = users(index).find(|found| found.mode == Some(Mode::Http)) {
            for (key, span) in &pool.unshared {
                let message = format!("connections of `{}` serve one client after another", balancer.name);
                let hint =
                    format!("leave `{key}` out, or give listeners of mode \"tcp\" a pool of their own");
                report.push(Mistake::at(span.clone(), message).hint(hint));
            }
        }
        let Some(carrier) = users(index).find(carries) else { continue };
        if let Some(span) = &pool.request_key {
            let message =
                format!("the listener `{}` carries connections, and this goes by requests", carrier.name);
            let hint = "give the listener mode = \"http\", or write hash_key = \"source\"";
            report.push(Mistake::at(span.clone(), message).hint(hint));
        }
        if users(index).any(|found| found.mode.is_none_or(|mode| mode == Mode::Http)) {
            continue;
        }
        for (key, span) in &pool.http_keys {
            let mistake = Mistake::at(span.clone(), format!("`{key}` goes with listeners of mode \"http\""));
            let hint = format!("give the listener `{}` mode = \"http\", or leave `{key}` out", carrier.name);
            report.push(mistake.hint(hint));
        }
    }
}
