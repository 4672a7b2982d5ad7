//! From text to shapes: TOML's own mistakes, in words, and reading on behind them.

mod unclosed;

use std::borrow::Cow;
use std::ops::Range;

use toml::de::{DeTable, Error};

use crate::error::{Mistake, boundary};
use crate::file::Root;
use crate::near::excerpt;
use crate::read::Shape;
use crate::report::Report;

/// How many unclosed arrays and inline tables are looked behind.
const UNCLOSED_MAX: usize = 8;

/// TOML errors that are looked at; most are noise long before.
const ERRORS_MAX: usize = 10_000;

/// Texts beyond this are not read again to look behind unclosed arrays.
const AGAIN_BYTES_MAX: usize = 64 << 10;

/// The shapes of a text. Whatever is wrong is in the report.
pub(crate) fn root(text: &str, report: &mut Report) -> Root {
    let mut readable = Cow::Borrowed(text);
    for round in 0.. {
        let (table, mut errors) = DeTable::parse_recoverable(&readable);
        if errors.is_empty() {
            return Root::from_table(table.into_inner(), report);
        }
        errors.truncate(ERRORS_MAX);
        errors.sort_by_key(|error| error.span().unwrap_or_default().start);
        if round == 0 {
            report.headers(unclosed::headers(text));
        }
        // An unclosed bracket swallows all that follows: without its lines the rest can be read.
        if let Some(found) = unclosed::find(&readable, &errors) {
            let lines = found.lines.clone();
            report.syntax(lines.start..lines.end.saturating_sub(1), found.mistake());
            if round < UNCLOSED_MAX && text.len() <= AGAIN_BYTES_MAX {
                readable = Cow::Owned(unclosed::blank(&readable, lines));
                continue;
            }
            report.lose_tables();
        } else {
            note(text, &errors, report);
        }
        return Root::from_table(table.into_inner(), report);
    }
    Root::default()
}

fn note(text: &str, errors: &[Error], report: &mut Report) {
    let mut line = 0..0;
    for error in errors {
        let span = error.span().unwrap_or_default();
        if report.is_full() {
            return;
        }
        if report.is_torn_at(span.start) {
            continue;
        }
        if line.is_empty() || !line.contains(&span.start) {
            line = line_around(text, span.start);
        }
        let header = text[line.clone()].trim_start().starts_with('[');
        let to_the_end = ["invalid multi-line", "unclosed array,", "unclosed inline"];
        if header || to_the_end.iter().any(|start| error.message().starts_with(start)) {
            report.lose_tables();
        }
        // Nobody knows which table the keys under a torn header are for.
        let end = if header {
            report.next_header(line.start).unwrap_or(text.len())
        } else {
            line.end
        };
        report.syntax(line.start..end, mistake(text, error.message(), span));
    }
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = boundary(text, at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    start..text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}

/// What TOML's parser says, by its first words, what that means and what to do.
const WORDS: &[(&str, &str, &str)] = &[
    (
        "invalid basic string, expected `\"`",
        "this string is not closed",
        "add the closing \"",
    ),
    (
        "invalid literal string, expected `'`",
        "this string is not closed",
        "add the closing '",
    ),
    (
        "invalid multi-line basic string",
        "this string is not closed",
        "add the closing \"\"\"",
    ),
    (
        "invalid multi-line literal string",
        "this string is not closed",
        "add the closing '''",
    ),
    (
        "unexpected key or value",
        "there is something behind the value",
        "begin a new line; several values of one key are an array, as in [\"a\", \"b\"]",
    ),
    (
        "unclosed array table",
        "this table header is not closed",
        "close it with ]]",
    ),
    (
        "unclosed table",
        "this table header is not closed",
        "close it with ]",
    ),
    ("unclosed array", "an array is not closed", "add the closing ]"),
    (
        "unclosed inline table",
        "an inline table is not closed",
        "add the closing }",
    ),
    (
        "missing comma",
        "a comma is missing before this",
        "put a comma between two values",
    ),
    (
        "missing key for inline table",
        "a key is missing here",
        "write { KEY = VALUE, KEY = VALUE }",
    ),
    ("extra comma", "there is a comma too many", "remove it"),
    ("extra `=`", "there is a `=` too many", "remove it"),
    ("key with no value", "this key has no value", "write KEY = VALUE"),
    (
        "missing value for key",
        "this key has no value",
        "write KEY = VALUE",
    ),
    (
        "missing value",
        "there is no value behind the `=`",
        "write KEY = VALUE",
    ),
    (
        "cannot recurse",
        "this is nested too deeply",
        "no value of a configuration has so many brackets",
    ),
    (
        "recursion limit",
        "a key has too many dots",
        "no key of a configuration has more than two",
    ),
    (
        "carriage return",
        "there is a carriage return inside a line",
        "end lines with a newline",
    ),
];

fn mistake(text: &str, reason: &str, span: Range<usize>) -> Mistake {
    let word = text.get(span.clone()).unwrap_or_default();
    if reason == "duplicate key" {
        return twice(text, word, span);
    }
    if reason.starts_with("string values must be quoted") {
        let hint = format!("write \"{}\"", excerpt(word));
        return Mistake::at(span, "this string has no quotes").hint(hint);
    }
    if let Some((_, message, hint)) = WORDS.iter().find(|(start, ..)| reason.starts_with(start)) {
        return Mistake::at(span, *message).hint(*hint);
    }
    match reason.split_once(", expected ") {
        Some((message, expected)) => Mistake::at(span, message).hint(format!("expected {expected}")),
        None => Mistake::at(span, reason),
    }
}

fn twice(text: &str, key: &str, span: Range<usize>) -> Mistake {
    let line = text[line_around(text, span.start)].trim();
    let hint = match (line.starts_with("[["), line.starts_with('[')) {
        (true, _) => format!("`{}` is something else above: keep one of them", excerpt(key)),
        (_, true) if matches!(key, "listener" | "pool") => format!("write [[{key}]], with two brackets"),
        (_, true) => "put all its keys under one header".to_owned(),
        _ => "keep one; several values of one key are an array, as in [\"a\", \"b\"]".to_owned(),
    };
    Mistake::at(span, format!("`{}` is there already", excerpt(key))).hint(hint)
}
