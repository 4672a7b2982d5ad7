//! What holds for requests: of a listener, or of a route in place of that.

use std::time::Duration;

use super::{Finder, fields, note_several, several};
use crate::error::Mistake;
use crate::file::{self, Compress};
use crate::model::{Coding, Pattern, RequestRate, Rewrite, Rules};
use crate::read::{Field, OrOff, Switch};
use crate::report::Report;
use crate::resolve::{note_absent, proxy};
use crate::words::{PathWord, Rate, lacks_groups};

/// How long bodies may pause, and heads of answers take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What holds where nothing is said.
pub(super) fn defaults() -> Rules {
    Rules { body_timeout: PATIENCE, answer_timeout: PATIENCE, ..Rules::default() }
}

/// What a table says, and for the rest what held `before`.
pub(super) fn rules(
    mut shape: file::Rules,
    before: &Rules,
    finder: &mut Finder<'_>,
    report: &mut Report,
) -> Rules {
    let request_fields =
        fields::edits(before.request_fields.clone(), shape.request_fields.take(), finder, report);
    let response_fields =
        fields::edits(before.response_fields.clone(), shape.response_fields.take(), finder, report);
    let (users, auth_file) = match shape.users.is_absent() && shape.auth_file.is_absent() {
        true => (before.users.clone(), before.auth_file.clone()),
        false => (proxy::users(shape.users.take(), report), proxy::auth_file(shape.auth_file.take(), report)),
    };
    Rules {
        rewrite: rewrite(&mut shape, report).or_else(|| before.rewrite.clone()),
        request_fields,
        response_fields,
        mirror: finder.find(shape.mirror, report).or_else(|| before.mirror.clone()),
        allow: Vec::new(),
        deny: Vec::new(),
        users,
        auth_file,
        rate: rate(shape.rate, shape.burst, before.rate, report),
        body_bytes_max: or_off(shape.body_max, |size| size.0, before.body_bytes_max),
        body_timeout: shape.body_timeout.given().map_or(before.body_timeout, |time| time.0),
        answer_timeout: shape.answer_timeout.given().map_or(before.answer_timeout, |time| time.0),
        request_timeout: or_off(shape.request_timeout, |time| time.0, before.request_timeout),
        compress: codings(shape.compress, report).unwrap_or_else(|| before.compress.clone()),
    }
}

fn or_off<T, U>(field: Field<OrOff<T>>, of: impl Fn(T) -> U, before: Option<U>) -> Option<U> {
    match field.given() {
        Some(OrOff::On(value)) => Some(of(value)),
        Some(OrOff::Off) => None,
        None => before,
    }
}

fn rewrite(shape: &mut file::Rules, report: &mut Report) -> Option<Rewrite> {
    let keys = [
        ("strip_prefix", shape.strip_prefix.span()),
        ("replace_prefix", shape.replace_prefix.span()),
        ("replace_regex", shape.replace_regex.span()),
    ];
    note_several(&keys, "a path is written anew once", report);
    if let Field::Given(PathWord(prefix), span) = shape.strip_prefix.take() {
        if prefix == "/" {
            let mistake = Mistake::at(span, "every path begins with `/`");
            report.push(mistake.hint("give the part that is to be taken off, as in \"/api\""));
        }
        return Some(Rewrite::Prefix(without_slash(prefix), String::new()));
    }
    if let Field::Given(table, span) = shape.replace_prefix.take() {
        note_absent(&table.from, ("replace_prefix", "from", "from = \"/old\""), &span, report);
        note_absent(&table.to, ("replace_prefix", "to", "to = \"/new\""), &span, report);
        let (from, to) = (table.from.given()?, table.to.given()?);
        return Some(Rewrite::Prefix(without_slash(from.0), without_slash(to.0)));
    }
    let Field::Given(table, span) = shape.replace_regex.take() else { return None };
    note_absent(&table.from, ("replace_regex", "from", "from = \"^/old/(.*)\""), &span, report);
    note_absent(&table.to, ("replace_regex", "to", "to = \"/new/$1\""), &span, report);
    let (Field::Given(from, _), Field::Given(to, span)) = (table.from, table.to) else { return None };
    if let Some(group) = lacks_groups(&from.0, &to.0) {
        let mistake = Mistake::at(span, format!("the expression has no group `{group}`"));
        report.push(mistake.hint(
            "groups are $1, $2 and so on, or ${name}; write ${1} where letters follow, and $$ for a $",
        ));
    }
    Some(Rewrite::Pattern(Pattern { regex: from.0 }, to.0))
}

/// A prefix as it is compared: what follows it begins with a slash.
pub(super) fn without_slash(mut prefix: String) -> String {
    prefix.truncate(prefix.trim_end_matches('/').len());
    prefix
}

fn rate(
    rate: Field<OrOff<Rate>>,
    burst: Field<crate::read::Whole<1, 1_000_000_000>>,
    before: Option<RequestRate>,
    report: &mut Report,
) -> Option<RequestRate> {
    if let (Field::Absent | Field::Given(OrOff::Off, _), Field::Given(_, span)) = (&rate, &burst) {
        let mistake = Mistake::at(span.clone(), "`burst` goes with `rate`");
        report.push(mistake.hint("add rate = \"10/s\", or leave `burst` out"));
    }
    let of = |rate: Rate| {
        // At most a billion, so it fits.
        let burst = burst.given().map_or(rate.0.ceil().max(1.0) as u32, |count| count.number());
        RequestRate { per_second: rate.0, burst }
    };
    match rate.given() {
        Some(OrOff::On(rate)) => Some(of(rate)),
        Some(OrOff::Off) => None,
        None => before,
    }
}

fn codings(field: Field<Compress>, report: &mut Report) -> Option<Vec<Coding>> {
    let Field::Given(compress, span) = field else { return None };
    Some(match compress {
        Compress::Whether(Switch(true)) => vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
        Compress::Whether(Switch(false)) => Vec::new(),
        Compress::With(list) => {
            several(Field::Given(list, span), "compress", report).into_iter().map(|word| word.0).collect()
        }
    })
}
