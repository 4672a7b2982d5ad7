//! What is done to the fields of requests and answers.

use super::Finder;
use crate::error::Mistake;
use crate::file;
use crate::model::FieldEdit;
use crate::read::{Field, OneOrMany};
use crate::report::Report;

/// Puts the edits of a table behind those that are there.
pub(super) fn edits(
    mut before: Vec<FieldEdit>,
    field: Field<file::Edits>,
    finder: &Finder<'_>,
    report: &mut Report,
) -> Vec<FieldEdit> {
    let Field::Given(shape, _) = field else { return before };
    let removed = shape.remove.given().unwrap_or(OneOrMany { items: Vec::new(), struck: false });
    for (name, span) in removed.items {
        if name.0 == "host" {
            report.push(Mistake::at(span, "every request has `host`").hint("set it, or leave it as it is"));
        }
        before.push(FieldEdit::Remove(name.0));
    }
    let set = shape.set.given().map(|map| map.0).unwrap_or_default();
    let added = shape.add.given().map(|map| map.0).unwrap_or_default();
    if let Some((.., span)) = added.iter().find(|(name, ..)| name.0 == "host") {
        let mistake = Mistake::at(span.clone(), "no request has `host` twice");
        report.push(mistake.hint("write it under `set`"));
    }
    let without_id = |(_, value, _): &&(_, crate::words::FieldValue, _)| value.0.contains("{request_id}");
    if let Some((.., span)) = set.iter().chain(&added).find(without_id).filter(|_| !finder.has_ids) {
        let mistake = Mistake::at(span.clone(), "requests of this listener have no id");
        report.push(mistake.hint("add request_id = \"x-request-id\" to the listener"));
    }
    before.extend(set.into_iter().map(|(name, value, _)| FieldEdit::Set(name.0, value.0)));
    before.extend(added.into_iter().map(|(name, value, _)| FieldEdit::Add(name.0, value.0)));
    before
}
