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

/// How often a text is read again without the lines that hide what follows.
const ROUNDS_MAX: usize = 8;

/// TOML errors that are looked at; most are noise long before.
const ERRORS_MAX: usize = 10_000;

/// Texts beyond this are not read again.
const AGAIN_BYTES_MAX: usize = 64 << 10;

/// Errors at which the parser ends the document: what follows is read without their lines.
const STOPS: [&str; 2] = ["key with no value", "missing value for key"];

/// Errors that may take all that follows with them.
const SWALLOWS: [&str; 5] =
    ["invalid multi-line", "unclosed array,", "unclosed inline", "cannot recurse", "recursion limit"];

/// The shapes of a text. Whatever is wrong is in the report.
pub(crate) fn root(text: &str, report: &mut Report) -> Root {
    let mut readable = Cow::Borrowed(text);
    for round in 0.. {
        let (table, mut errors) = DeTable::parse_recoverable(&readable);
        errors.truncate(ERRORS_MAX);
        errors.sort_by_key(|error| error.span().unwrap_or_default().start);
        if round == 0 && !errors.is_empty() {
            report.headers(unclosed::headers(text));
        }
        let again = round < ROUNDS_MAX && text.len() <= AGAIN_BYTES_MAX;
        let lines = lost_lines(&readable, &errors, again, report);
        if again && !lines.is_empty() {
            readable = Cow::Owned(blank(&readable, &lines));
            continue;
        }
        if !lines.is_empty() {
            report.lose_tables();
        }
        note(text, &errors, report);
        return Root::from_table(table.into_inner(), report);
    }
    Root::default()
}

/// Notes the errors that hide what follows, and gives the lines without which it can be read.
fn lost_lines(text: &str, errors: &[Error], again: bool, report: &mut Report) -> Vec<Range<usize>> {
    if let Some(found) = unclosed::find(text, errors) {
        let torn = if again { found.lines.end - 1 } else { text.len() };
        report.syntax(found.lines.start..torn, found.mistake());
        return vec![found.lines];
    }
    let stops = |error: &&Error| STOPS.iter().any(|start| error.message().starts_with(start));
    let stops: Vec<Error> = errors.iter().filter(stops).cloned().collect();
    note(text, &stops, report);
    let at = stops.iter().map(|error| error.span().unwrap_or_default().start);
    let mut lines: Vec<_> = at.map(|at| line_around(text, at)).collect();
    lines.dedup();
    lines
}

/// The text with some lines emptied, every other byte where it was; the lines are in order.
fn blank(text: &str, lines: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for lines in lines {
        out.push_str(&text[at..lines.start]);
        out.extend(text[lines.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        at = lines.end;
    }
    out.push_str(&text[at..]);
    out
}

/// Notes the errors, one for each line.
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
        if !line.contains(&span.start) {
            line = line_around(text, span.start);
        }
        let header = text[line.clone()].trim_start().starts_with('[');
        if header || SWALLOWS.iter().any(|start| error.message().starts_with(start)) {
            report.lose_tables();
        }
        // Nobody knows which table the keys under a torn header are for.
        let end = if header { report.next_header(line.start).unwrap_or(text.len()) } else { line.end };
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
    ("invalid basic string, expected `\"`", "this string is not closed", "add the closing \""),
    ("invalid literal string, expected `'`", "this string is not closed", "add the closing '"),
    ("invalid multi-line basic string", "this string is not closed", "add the closing \"\"\""),
    ("invalid multi-line literal string", "this string is not closed", "add the closing '''"),
    (
        "unexpected key or value",
        "there is something behind the value",
        "begin a new line; several values of one key are an array, as in [\"a\", \"b\"]",
    ),
    ("unclosed array table", "this table header is not closed", "close it with ]]"),
    ("unclosed table", "this table header is not closed", "close it with ]"),
    ("unclosed array", "an array is not closed", "add the closing ]"),
    ("unclosed inline table", "an inline table is not closed", "add the closing }"),
    ("missing comma", "a comma is missing before this", "put a comma between two values"),
    ("missing key for inline table", "a key is missing here", "write { KEY = VALUE, KEY = VALUE }"),
    ("extra comma", "there is a comma too many", "remove it"),
    ("extra `=`", "there is a `=` too many", "remove it"),
    ("key with no value", "this key has no value", "write KEY = VALUE"),
    ("missing value for key", "this key has no value", "write KEY = VALUE"),
    ("missing value", "there is no value behind the `=`", "write KEY = VALUE"),
    ("cannot recurse", "this is nested too deeply", "no value of a configuration has so many brackets"),
    ("unexpected leading zero", "this number begins with a zero", "leave the zero out"),
    ("invalid unquoted key", "a key has no such character", "write KEY = VALUE; keys are of a-z and _"),
    ("recursion limit", "a key has too many dots", "no key of a configuration has more than two"),
    ("carriage return", "there is a carriage return inside a line", "end lines with a newline"),
];

fn mistake(text: &str, reason: &str, span: Range<usize>) -> Mistake {
    let word = text.get(span.clone()).unwrap_or_default();
    if reason == "duplicate key" {
        return twice(text, word, span);
    }
    let unquoted = ["string values must be quoted", "invalid boolean"];
    if unquoted.iter().any(|start| reason.starts_with(start)) && !word.is_empty() {
        return match word.to_ascii_lowercase().as_str() {
            lower @ ("true" | "false") => {
                Mistake::at(span, format!("`{word}` is not `{lower}`")).hint(format!("write {lower}"))
            }
            _ => Mistake::at(span, "this string has no quotes").hint(format!("write \"{}\"", excerpt(word))),
        };
    }
    if let Some((_, message, hint)) = WORDS.iter().find(|(start, ..)| reason.starts_with(start)) {
        return Mistake::at(span, *message).hint(*hint);
    }
    match reason.split_once(", expected ") {
        Some((message, "nothing")) => Mistake::at(span, message),
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
