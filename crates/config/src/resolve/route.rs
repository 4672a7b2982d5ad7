//! Routes of a listener by first bytes: what they go by, and the pools that they name.

use super::listener::named_pool;
use super::note_absent;
use super::pool::Pools;
use crate::error::Mistake;
use crate::file;
use crate::model::{Match, Route};
use crate::read::{Field, OneOrMany, Shape, Tables};
use crate::report::Report;
use crate::words::Kinds;

/// The routes of a listener of mode tcp, each with the place of its pool.
pub(crate) fn routes(
    field: Field<Tables<file::Route>>,
    pools: &Pools,
    report: &mut Report,
) -> (Vec<Route>, Vec<usize>) {
    let (mut routes, mut used) = (Vec::new(), Vec::new());
    let Field::Given(Tables(tables), _) = field else { return (routes, used) };
    let count = tables.items.len();
    for (place, (shape, table)) in tables.items.into_iter().enumerate() {
        note_foreign(&shape, report);
        note_absent(&shape.r#match, ("route", "match", "match = \"tls_sni\""), &table, report);
        note_absent(&shape.pool, ("route", "pool", "pool = \"web\", the name of a [[pool]]"), &table, report);
        let kind = shape.r#match.given().map(|word| word.0);
        let foreign = [
            ("name", shape.name.span(), matches!(kind, Some(Kinds::TlsSni | Kinds::HttpHost))),
            ("alpn", shape.alpn.span(), kind == Some(Kinds::TlsSni)),
        ];
        for (key, span, fits) in foreign {
            if let Some(span) = span.filter(|_| !fits && kind.is_some()) {
                let mistake = Mistake::at(span, format!("this match has no use for `{key}`"));
                report.push(mistake.hint(format!("leave `{key}` out, or change `match`")));
            }
        }
        if kind == Some(Kinds::Any) && place + 1 < count {
            let mistake = Mistake::at(table.clone(), "`any` leaves nothing for the routes behind it");
            report.push(mistake.hint("make it the last one"));
        }
        let names = items(shape.name).into_iter().map(|name| name.0).collect();
        let matches = match kind {
            Some(Kinds::TlsSni) => {
                Match::TlsSni { names, alpn: items(shape.alpn).into_iter().map(|text| text.0).collect() }
            }
            Some(Kinds::HttpHost) => Match::HttpHost { names },
            Some(Kinds::Ssh) => Match::Ssh,
            Some(Kinds::Postgres) => Match::Postgres,
            Some(Kinds::Socks) => Match::Socks,
            Some(Kinds::Any) | None => Match::Any,
        };
        if let Some(index) = named_pool(shape.pool, pools, report) {
            routes.push(Route { matches, pool: pools.at(index).pool.clone() });
            used.push(index);
        }
    }
    (routes, used)
}

/// Notes keys of routes of requests.
fn note_foreign(shape: &file::Route, report: &mut Report) {
    let of_tcp = ["match", "name", "alpn", "pool"];
    for (key, span) in shape.spans().into_iter().filter(|(key, _)| !of_tcp.contains(key)) {
        let mistake = Mistake::at(span, format!("`{key}` goes with routes of mode \"http\""));
        report.push(mistake.hint(match key {
            "host" => {
                "write match = \"http_host\" and `name`, or give the listener mode = \"http\"".to_owned()
            }
            _ => format!("give the listener mode = \"http\", or leave `{key}` out"),
        }));
    }
}

fn items<T>(field: Field<OneOrMany<T>>) -> Vec<T> {
    field.given().map(|list| list.items).unwrap_or_default().into_iter().map(|(item, _)| item).collect()
}
