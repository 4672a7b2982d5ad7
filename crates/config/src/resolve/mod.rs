//! From the shapes of the file to the checked model: defaults, references and what cannot work.

mod binds;
mod check;
mod http;
mod listener;
mod loops;
mod modes;
mod pool;
mod proxy;
mod route;
mod segments;
mod tls;
mod tunnel;
mod via;

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use crate::error::Mistake;
use crate::file::{self, Root};
use crate::model::{Admin, Config, Dns, Keepalive, Log, LogFormat, Mode, Relay, SocketOptions};
use crate::read::{Field, OrOff, Switch};
use crate::report::Report;
use crate::words::UserTimeout;

const EXAMPLE: &str = r#"a minimal file is
[[listener]]
name = "web"
bind = ":8080"
pool = "web"

[[pool]]
name = "web"
backend = "10.0.0.1:80""#;

/// The model of a file. With mistakes in the report it is not the one that was meant.
pub(crate) fn config(root: Root, report: &mut Report) -> Config {
    let commands = root.allow_commands.given().is_some_and(|switch| switch.0);
    let pools = pool::pools(root.pool, commands, report);
    let dns = dns(root.dns.given().unwrap_or_default(), report);
    let listeners = listener::listeners(root.listener, &pools, &dns, report);
    let (proxies, others): (Vec<_>, Vec<_>) =
        listeners.iter().partition(|found| matches!(found.mode, Some(Mode::Proxy | Mode::Tunnel)));
    let mut of_proxies: Vec<_> = proxies.iter().flat_map(|found| found.pools()).collect();
    of_proxies.retain(|place| !others.iter().any(|found| found.pools().any(|other| other == *place)));
    pools.note_empty(&of_proxies, report);
    binds::note_collisions(&listeners, report);
    binds::note_range_lengths(&listeners, &pools, report);
    loops::note_loops(&listeners, &pools, report);
    modes::note_requests(&listeners, &pools, report);
    Config {
        workers: root.workers.given().and_then(|count| NonZeroUsize::new(count.number() as usize)),
        max_connections: root.max_connections.given().map(|count| count.number() as usize),
        drain_timeout: root.drain_timeout.given().map_or(Duration::from_secs(30), |time| time.0),
        admin: admin(root.admin, report),
        log: log(root.log.given().unwrap_or_default()),
        dns,
        relay: relay(root.relay.given().unwrap_or_default()),
        listeners: listeners.into_iter().filter_map(|found| found.listener).collect(),
        pools: pools.into_models(),
    }
}

fn log(shape: file::Log) -> Log {
    Log {
        format: shape.format.given().map_or(LogFormat::Text, |word| word.0),
        records: shape.records.given().is_none_or(|switch| switch.0),
    }
}

fn admin(field: Field<file::Admin>, report: &mut Report) -> Option<Admin> {
    let Field::Given(shape, span) = field else { return None };
    note_absent(&shape.socket, ("[admin]", "socket", "socket = \"/run/towpath.sock\""), &span, report);
    Some(Admin { socket: shape.socket.given()?.0 })
}

fn dns(shape: file::Dns, report: &mut Report) -> Dns {
    let ttl_min = shape.ttl_min.clone().given().map_or(Duration::from_secs(1), |time| time.0);
    let ttl_max = shape.ttl_max.clone().given().map_or(Duration::from_secs(300).max(ttl_min), |time| time.0);
    if let Field::Given(_, span) = shape.ttl_max.clone()
        && ttl_max < ttl_min
    {
        let mistake = Mistake::at(span, format!("`ttl_max` is shorter than `ttl_min`, {ttl_min:?}"));
        report.push(mistake.hint("make it longer, or `ttl_min` shorter"));
    }
    let servers = shape.servers.given().map(|servers| servers.items).unwrap_or_default();
    Dns {
        servers: servers.into_iter().map(|(server, _)| server.0).collect(),
        timeout: shape.timeout.given().map_or(Duration::from_secs(5), |time| time.0),
        ttl_min,
        ttl_max,
    }
}

fn relay(shape: file::Relay) -> Relay {
    let splice = shape.splice.given().is_none_or(|switch| switch.0);
    let after = shape.splice_after.given().map_or(128 << 10, |size| size.0);
    Relay {
        buffer_bytes: shape.buffer.given().map_or(256 << 10, |size| size.0),
        splice_after_bytes: splice.then_some(after as u64),
        pipe_bytes: shape.pipe.given().map_or(1 << 20, |size| size.0),
    }
}

fn socket(
    nodelay: Field<Switch>,
    keepalive: Field<OrOff<file::Keepalive>>,
    user_timeout: Field<OrOff<UserTimeout>>,
    (segments, has_tcp): (file::Segments, bool),
    report: &mut Report,
) -> SocketOptions {
    let keepalive = match keepalive.given() {
        Some(OrOff::Off) => None,
        Some(OrOff::On(shape)) => Some(shape),
        None => Some(file::Keepalive::default()),
    };
    let nodelay = nodelay.given().is_none_or(|switch| switch.0);
    SocketOptions {
        segments: segments::segments(segments, nodelay, has_tcp, report),
        nodelay,
        keepalive: keepalive.map(|shape| Keepalive {
            idle: shape.idle.given().map_or(Duration::from_secs(60), |time| time.0),
            interval: shape.interval.given().map_or(Duration::from_secs(10), |time| time.0),
            count: shape.count.given().map_or(6, |count| count.number()),
        }),
        user_timeout: on(user_timeout).map(|time| time.0),
    }
}

/// The text of a regular file that is not larger than a configuration has use for.
fn small_file(path: &Path, limit: u64) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("is no regular file".to_owned());
    }
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > limit { Err(format!("has more than {limit} bytes")) } else { Ok(text) }
}

/// The value of a key that is off by default.
fn on<T>(field: Field<OrOff<T>>) -> Option<T> {
    match field.given() {
        Some(OrOff::On(value)) => Some(value),
        Some(OrOff::Off) | None => None,
    }
}

/// Notes that a required key is not there.
fn note_absent<T>(
    field: &Field<T>,
    (title, key, example): (&str, &str, &str),
    table: &std::ops::Range<usize>,
    report: &mut Report,
) {
    if field.is_absent() && !report.is_full() {
        let mistake = Mistake::at(table.clone(), format!("this {title} has no `{key}`"));
        report.absent(mistake.hint(format!("add {example}")));
    }
}
