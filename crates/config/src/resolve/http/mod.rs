//! What makes a listener balance requests: its routes, and what holds for them.

mod fields;
mod out;
mod route;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use super::listener::{named_pool, networks};
use super::pool::Pools;
use crate::error::Mistake;
use crate::file;
use crate::model::{ForwardedFields, Http, Pool, RecordFormat};
use crate::read::{Field, OneOrMany, OrOff, Tables};
use crate::report::Report;
use crate::words::Name;

pub(crate) use out::out;

/// The longest head of a request, unless it is given.
const HEADER_BYTES: usize = 16 * 1024;

/// Where the routes and rules of a listener find their pools.
pub(super) struct Finder<'a> {
    pools: &'a Pools,
    /// The places of those that were found, in order.
    used: Vec<usize>,
    /// Whether the listener has a field for ids of requests.
    has_ids: bool,
}

impl Finder<'_> {
    /// The pool of a name.
    fn find(&mut self, field: Field<Name>, report: &mut Report) -> Option<Arc<Pool>> {
        let index = named_pool(field, self.pools, report)?;
        self.used.push(index);
        Some(self.pools.at(index).pool.clone())
    }
}

/// What becomes of the requests of a listener, and the places of the pools that its routes and rules name.
pub(crate) fn http(shape: &mut file::Listener, pools: &Pools, report: &mut Report) -> (Http, Vec<usize>) {
    let own = std::mem::take(&mut shape.http);
    let request_id = match own.request_id.given() {
        Some(OrOff::On(name)) => Some(name.0),
        Some(OrOff::Off) | None => None,
    };
    let mut finder = Finder { pools, used: Vec::new(), has_ids: request_id.is_some() };
    let rules = rules::rules(std::mem::take(&mut shape.rules), &rules::defaults(), &mut finder, report);
    let tables = match shape.route.take() {
        Field::Given(Tables(tables), _) => tables.items,
        Field::Absent | Field::Struck => Vec::new(),
    };
    let count = tables.len();
    let mut routes = Vec::with_capacity(count);
    for (place, (table, span)) in tables.into_iter().enumerate() {
        let is_last = place + 1 == count;
        routes.extend(route::route(table, &span, is_last, &rules, &mut finder, report));
    }
    let time = |field: Field<crate::words::Timespan>, seconds| {
        field.given().map_or(Duration::from_secs(seconds), |time| time.0)
    };
    let http = Http {
        routes,
        rules,
        trusted: networks(shape.trusted.clone()),
        forwarded: own
            .forwarded_fields
            .given()
            .map_or(ForwardedFields { x_forwarded: true, standard: false }, |word| word.0),
        via: super::on(shape.via_name.take()).map(|name| name.0),
        header_timeout: time(shape.header_timeout.take(), 10),
        keepalive_timeout: time(own.keepalive_timeout, 60),
        header_bytes_max: own.header_max.given().map_or(HEADER_BYTES, |size| size.0),
        request_id,
        trace: own.trace.given().is_some_and(|switch| switch.0),
        record_format: own.record_format.given().map_or(RecordFormat::Own, |word| word.0),
    };
    (http, finder.used)
}

/// The items of a list, which is not to be there without any: that would read as if nothing fitted, and fit all.
fn several<T>(field: Field<OneOrMany<T>>, key: &str, report: &mut Report) -> Vec<T> {
    let Field::Given(list, span) = field else { return Vec::new() };
    if list.items.is_empty() && !list.struck {
        let mistake = Mistake::at(span, format!("`{key}` is empty"));
        report.push(mistake.hint(format!("give at least one, or leave `{key}` out")));
    }
    list.items.into_iter().map(|(item, _)| item).collect()
}

/// Notes keys of which only one can hold.
fn note_several(keys: &[(&str, Option<std::ops::Range<usize>>)], what: &str, report: &mut Report) {
    let mut given = keys.iter().filter_map(|(key, span)| Some((key, span.clone()?)));
    let Some((first, at)) = given.next() else { return };
    for (key, span) in given {
        let mistake = Mistake::at(span, format!("`{key}` does not go with `{first}`"));
        report.push(mistake.also(at.clone(), "the first one").hint(format!("{what}: leave all but one out")));
    }
}
