//! Mistakes as a terminal shows them: the place, the line, carets, the reason and a hint.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::error::{Mistake, boundary};

/// Bytes of a line that are given to the renderer on each side of a mistake; it shows fewer.
const LINE_BYTES_MAX: usize = 200;

/// A second place that is further away than this is named, not shown.
const APART_BYTES_MAX: usize = 16 << 10;

/// Every mistake, each with an empty line behind it.
pub(crate) fn mistakes(source: &str, text: &str, items: &[Mistake], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for item in items {
        let mut group = Group::with_title(Level::ERROR.primary_title(&item.message));
        group = match item.is_of_the_file() {
            true => group.element(Origin::path(source)),
            false => snippet(source, text, item, group),
        };
        if let Some(also) = item.also.as_ref().filter(|also| !is_shown(item, &also.span)) {
            group = group.element(Level::NOTE.message(format!("line {}: {}", also.line, also.label)));
        }
        if let Some(hint) = &item.hint {
            group = group.element(Level::HELP.message(hint));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out
}

/// Whether a second place is near enough to be in the same snippet.
fn is_shown(item: &Mistake, also: &Range<usize>) -> bool {
    item.span.start.abs_diff(also.start) <= APART_BYTES_MAX
}

/// Only the lines that matter, and not all of a long line: the renderer reads whatever it is given.
fn snippet<'a>(source: &'a str, text: &'a str, item: &'a Mistake, group: Group<'a>) -> Group<'a> {
    let also = item.also.as_ref().filter(|also| is_shown(item, &also.span));
    let (mut low, mut high) = (item.span.start, item.span.start);
    let mut first_line = item.line;
    if let Some(also) = also {
        (low, high) = (low.min(also.span.start), high.max(also.span.start));
        first_line = first_line.min(also.line);
    }
    let line_start = text[..low].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[high..].find('\n').map_or(text.len(), |newline| high + newline);
    let start = boundary(text, line_start.max(low.saturating_sub(LINE_BYTES_MAX)));
    let end = boundary(text, line_end.min(high + LINE_BYTES_MAX));
    let within = |span: &Range<usize>| span.start - start..span.end.min(end) - start;
    // One byte for one byte: the spans stay true.
    let mut snippet = Snippet::source(text[start..end].replace('\r', " "))
        .line_start(first_line)
        .annotation(AnnotationKind::Primary.span(within(&item.span)));
    if let Some(also) = also {
        snippet = snippet.annotation(AnnotationKind::Context.span(within(&also.span)).label(also.label));
    }
    if start == line_start {
        return group.element(snippet.path(source));
    }
    // The renderer would count columns from where the line is cut.
    group.element(Origin::path(source).line(item.line).char_column(item.column)).element(snippet)
}
