//! Arrays and inline tables that are never closed, found by the key or header that follows inside them.

use std::ops::Range;

use toml::de::Error;

use crate::error::Mistake;

/// Lines that an array is thought to have at most.
const LINES_MAX: usize = 1000;

/// Lines with an error that are tried.
const TRIES_MAX: usize = 100;

/// An opening bracket without its closing one.
pub(super) struct Unclosed {
    bracket: char,
    at: usize,
    next_line: usize,
    /// The bytes from the line of the bracket up to the line that cannot be in it.
    pub(super) lines: Range<usize>,
}

impl Unclosed {
    /// The mistake to report.
    pub(super) fn mistake(&self) -> Mistake {
        let close = if self.bracket == '[' { ']' } else { '}' };
        let message = format!("this `{}` is not closed", self.bracket);
        Mistake::at(self.at..self.at + 1, message)
            .hint(format!("add `{close}` before line {}", self.next_line))
    }
}

/// What the parser says when it meets the next key or header inside of brackets.
const REASONS: [&str; 4] = [
    "missing comma between",
    "unexpected `=` in array",
    "string values must be quoted",
    "missing key for inline table",
];

/// The first unclosed bracket that explains an error; the errors are in order.
pub(super) fn find(text: &str, errors: &[Error]) -> Option<Unclosed> {
    let from_within = |error: &&Error| REASONS.iter().any(|reason| error.message().starts_with(reason));
    let mut last_line = None;
    let lines = errors.iter().filter(from_within).filter_map(|error| {
        let at = error.span()?.start;
        let line = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
        let new = last_line.replace(line) != Some(line);
        let first_word = text[line..at].trim_matches([' ', '\t', '[']).is_empty();
        (new && first_word).then_some(line)
    });
    lines.take(TRIES_MAX).find_map(|line| before(text, line))
}

/// The unclosed bracket before a line that begins with a key or header.
fn before(text: &str, line: usize) -> Option<Unclosed> {
    if !begins_statement(&text[line..]) {
        return None;
    }
    let (statement, bracket, at) = opening(&text[..line])?;
    if bracket == '{' && is_closed_later(&text[line..]) {
        return None;
    }
    let next_line = 1 + text[..line].bytes().filter(|&byte| byte == b'\n').count();
    Some(Unclosed { bracket, at, next_line, lines: statement..line })
}

/// Where the lines begin that look like table headers.
pub(super) fn headers(text: &str) -> Vec<usize> {
    let mut at = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        at += line.len();
        (at - line.len(), line)
    });
    lines.filter(|(_, line)| is_header(line.trim_start())).map(|(start, _)| start).collect()
}

/// The last `KEY = [` or `KEY = {` that is open at the end: where its line begins, the bracket, where that is.
fn opening(text: &str) -> Option<(usize, char, usize)> {
    let mut end = text.len();
    let mut depth = 0;
    for line in text.split_inclusive('\n').rev().take(LINES_MAX) {
        let start = end - line.len();
        end = start;
        depth += line.matches(['[', '{']).count() as isize - line.matches([']', '}']).count() as isize;
        if is_header(line.trim_start()) {
            return None;
        }
        if depth <= 0 || !begins_statement(line) {
            continue;
        }
        let (key, value) = line.split_once('=')?;
        let bracket = value.trim_start().chars().next().filter(|first| matches!(first, '[' | '{'))?;
        let indent = value.len() - value.trim_start().len();
        return Some((start, bracket, start + key.len() + 1 + indent));
    }
    None
}

/// Whether a line begins with `KEY =` or a header.
fn begins_statement(line: &str) -> bool {
    let line = line.trim_start();
    let key = line.trim_start_matches(is_key_byte);
    is_header(line) || (key.len() < line.len() && key.trim_start_matches([' ', '\t']).starts_with('='))
}

fn is_header(line: &str) -> bool {
    let inner = line.trim_start_matches('[');
    let key = inner.trim_start_matches(is_key_byte);
    let close = key.trim_start();
    line.starts_with('[') && key.len() < inner.len() && (close.starts_with(']') || close.is_empty())
}

fn is_key_byte(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Whether a line with only `}` comes before the next header: then a comma is what is missing.
fn is_closed_later(text: &str) -> bool {
    let lines = text.lines().map(str::trim_start);
    lines.take_while(|line| !is_header(line)).any(|line| line.starts_with('}'))
}
