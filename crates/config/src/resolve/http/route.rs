//! Routes of requests: what each goes by, and what becomes of the request.

use std::ops::Range;

use super::{Finder, note_several, rules, several};
use crate::error::Mistake;
use crate::file;
use crate::model::{Action, FieldMatch, HttpRoute, PathMatch, Pattern, Rules};
use crate::read::Field;
use crate::report::Report;
use crate::resolve::listener::{allowed, networks};
use crate::resolve::note_absent;

/// The actions of routes.
const ACTIONS: [&str; 4] = ["pool", "split", "redirect", "answer"];

/// A route of requests; `None` if it has no action. `before` holds where it says nothing.
pub(super) fn route(
    mut shape: file::Route,
    table: &Range<usize>,
    is_last: bool,
    before: &Rules,
    finder: &mut Finder<'_>,
    report: &mut Report,
) -> Option<HttpRoute> {
    note_foreign(&shape, report);
    let takes_all = shape.host.is_absent()
        && shape.method.is_absent()
        && shape.field.is_absent()
        && shape.path.is_absent()
        && shape.path_prefix.is_absent()
        && shape.path_regex.is_absent();
    if takes_all && !is_last {
        let mistake =
            Mistake::at(table.clone(), "this route takes all requests and leaves none for those behind it");
        report.absent(mistake.hint("make it the last one, or add a condition, as in path_prefix = \"/api\""));
    }
    let path = path(&mut shape, report);
    let fields = several(shape.field.take(), "field", report).into_iter();
    let fields = fields.filter_map(|table| {
        let value = table.value.given().map(|word| Pattern { regex: word.0 });
        Some(FieldMatch { name: table.name.given()?.0, value })
    });
    let fields = fields.collect();
    let (allow, deny) = (allowed(shape.allow.take(), report), networks(shape.deny.take()));
    let is_open = shape.open.take().given().is_some_and(|switch| switch.0);
    let has_users = shape.rules.users.span().or_else(|| shape.rules.auth_file.span());
    if let Some(span) = has_users.filter(|_| is_open) {
        let mistake = Mistake::at(span, "this route has users, and is open to anybody");
        report.push(mistake.hint("leave `open` out, or its users"));
    }
    let action = action(&mut shape, table, finder, report);
    let hosts = several(shape.host, "host", report).into_iter().map(|name| name.0).collect();
    let methods = several(shape.method, "method", report).into_iter().map(|method| method.0).collect();
    let mut rules = Rules { allow, deny, ..rules::rules(shape.rules, before, finder, report) };
    if is_open {
        (rules.users, rules.auth_file) = (Vec::new(), None);
    }
    Some(HttpRoute { hosts, path, methods, fields, action: action?, rules })
}

/// Notes keys of routes by first bytes, and those without a meaning for what the route does.
fn note_foreign(shape: &file::Route, report: &mut Report) {
    let of_tcp = [("match", shape.r#match.span()), ("name", shape.name.span()), ("alpn", shape.alpn.span())];
    for (key, span) in of_tcp {
        if let Some(span) = span {
            let mistake = Mistake::at(span, format!("`{key}` goes with routes of mode \"tcp\""));
            report.push(mistake.hint(
                "in mode \"http\" requests are told apart by `host`, `path_prefix`, `method` or `field`",
            ));
        }
    }
    for table in shape.field.clone().given().map(|list| list.items).unwrap_or_default() {
        note_absent(&table.0.name, ("field", "name", "name = \"x-user\""), &table.1, report);
    }
    let (redirects, answers) = (!shape.redirect.is_absent(), !shape.answer.is_absent());
    if let Some(span) = shape.status.span().filter(|_| !redirects && !answers) {
        let mistake = Mistake::at(span, "`status` goes with `redirect` or `answer`");
        report.push(mistake.hint("leave `status` out"));
    }
    if let Some(span) = shape.content_type.span().filter(|_| !answers) {
        let mistake = Mistake::at(span, "`content_type` goes with `answer`");
        report.push(mistake.hint("leave `content_type` out"));
    }
    let is_sent = !shape.pool.is_absent() || !shape.split.is_absent();
    let of_backends = [
        ("strip_prefix", shape.rules.strip_prefix.span()),
        ("replace_prefix", shape.rules.replace_prefix.span()),
        ("replace_regex", shape.rules.replace_regex.span()),
        ("request_fields", shape.rules.request_fields.span()),
        ("mirror", shape.rules.mirror.span()),
        ("answer_timeout", shape.rules.answer_timeout.span()),
    ];
    for (key, span) in of_backends {
        if let Some(span) = span.filter(|_| (redirects || answers) && !is_sent) {
            let mistake = Mistake::at(span, format!("`{key}` goes with `pool` or `split`"));
            report
                .push(mistake.hint(format!("no server gets the requests of this route; leave `{key}` out")));
        }
    }
}

fn path(shape: &mut file::Route, report: &mut Report) -> PathMatch {
    let keys = [
        ("path", shape.path.span()),
        ("path_prefix", shape.path_prefix.span()),
        ("path_regex", shape.path_regex.span()),
    ];
    note_several(&keys, "a route goes by one of them", report);
    if let Some(path) = shape.path.take().given() {
        return PathMatch::Exact(path.0);
    }
    if let Some(prefix) = shape.path_prefix.take().given() {
        let prefix = rules::without_slash(prefix.0);
        return if prefix.is_empty() { PathMatch::Any } else { PathMatch::Prefix(prefix) };
    }
    match shape.path_regex.take().given() {
        Some(word) => PathMatch::Pattern(Pattern { regex: word.0 }),
        None => PathMatch::Any,
    }
}

fn action(
    shape: &mut file::Route,
    table: &Range<usize>,
    finder: &mut Finder<'_>,
    report: &mut Report,
) -> Option<Action> {
    let is_absent = shape.pool.is_absent()
        && shape.split.is_absent()
        && shape.redirect.is_absent()
        && shape.answer.is_absent();
    if is_absent {
        let mistake = Mistake::at(table.clone(), "this route does nothing with its requests");
        report.absent(
            mistake.hint("add pool = \"web\", the name of a [[pool]], or `split`, `redirect` or `answer`"),
        );
        return None;
    }
    let spans = [shape.pool.span(), shape.split.span(), shape.redirect.span(), shape.answer.span()];
    let keys: Vec<_> = ACTIONS.into_iter().zip(spans).collect();
    note_several(&keys, "a route does one thing", report);
    if !shape.pool.is_absent() {
        return Some(Action::Pools(vec![(finder.find(shape.pool.take(), report)?, 1)]));
    }
    if let Field::Given(list, span) = shape.split.take() {
        return split(Field::Given(list, span), finder, report);
    }
    let status = shape.status.take();
    let code = |default: u16| match &status {
        Field::Given(code, _) => code.number() as u16,
        Field::Absent | Field::Struck => default,
    };
    if let Some(to) = shape.redirect.take().given() {
        let redirect = code(302);
        if let Some(span) = status.span().filter(|_| !matches!(redirect, 301 | 302 | 303 | 307 | 308)) {
            let mistake = Mistake::at(span, format!("{redirect} sends nobody elsewhere"));
            report.push(mistake.hint("write 301, 302, 303, 307 or 308"));
        }
        return Some(Action::Redirect { status: redirect, to: to.0 });
    }
    let Field::Given(body, span) = shape.answer.take() else { return None };
    let answer = code(200);
    if matches!(answer, 204 | 205 | 304) && !body.0.is_empty() {
        let mistake = Mistake::at(span, format!("an answer of status {answer} has no body"));
        report.push(mistake.hint("write answer = \"\", or another `status`"));
    }
    let content_type = shape.content_type.take().given();
    let content_type = content_type.map_or_else(|| "text/plain; charset=utf-8".to_owned(), |value| value.0);
    Some(Action::Answer { status: answer, content_type, body: body.0 })
}

fn split(
    field: Field<crate::read::OneOrMany<file::Split>>,
    finder: &mut Finder<'_>,
    report: &mut Report,
) -> Option<Action> {
    let Field::Given(list, span) = field else { return None };
    let mut pools = Vec::with_capacity(list.items.len());
    for (shape, table) in list.items {
        note_absent(&shape.pool, ("split", "pool", "pool = \"web\", the name of a [[pool]]"), &table, report);
        let weight = shape.weight.given().map_or(1, |weight| weight.number());
        let pool = finder.find(shape.pool, report);
        pools.extend(pool.map(|pool| (pool, weight)));
    }
    if !list.struck && !report.is_full() && pools.iter().all(|(_, weight)| *weight == 0) {
        let mistake = Mistake::at(span, "this split gives no pool a share");
        report
            .push(mistake.hint(
                "write it as in split = [{ pool = \"a\", weight = 95 }, { pool = \"b\", weight = 5 }]",
            ));
        return None;
    }
    pools.retain(|(_, weight)| *weight > 0);
    Some(Action::Pools(pools))
}
