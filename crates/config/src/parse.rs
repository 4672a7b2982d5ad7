//! From text to a checked configuration: syntax, then shapes, then what they mean, all mistakes kept.

use std::ops::Range;

use toml::de::DeTable;

use crate::error::{Mistake, Mistakes, boundary};
use crate::file::Root;
use crate::near::excerpt;
use crate::read::Shape;
use crate::report::Report;
use crate::{Config, FILE_BYTES_MAX, load, resolve};

/// Checks the text of a configuration; `source` is the file name for messages.
///
/// # Errors
///
/// Every mistake of the text.
pub fn parse(text: &str, source: &str) -> Result<Config, Mistakes> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Mistakes::of_file(source, load::oversized(text.len() as u64)));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::default();
    let (table, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().unwrap_or_default().start);
    for error in &errors {
        let span = error.span().unwrap_or_default();
        report.syntax(line_around(text, span.start), syntax(text, error.message(), span));
    }
    let root = Root::from_table(table.into_inner(), &mut report);
    let config = resolve::config(root, &mut report);
    report.finish(config, text, source)
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = boundary(text, at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    start..text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}

/// The mistake that the parser's words stand for.
fn syntax(text: &str, reason: &str, span: Range<usize>) -> Mistake {
    let word = text.get(span.clone()).unwrap_or_default();
    match reason {
        "duplicate key" => Mistake::at(span, format!("`{}` is given twice", excerpt(word)))
            .hint("keep one; several values of one key are written as an array"),
        _ => Mistake::at(span, reason),
    }
}
