//! What is wrong with a configuration, as a value and as lines of text.

use std::fmt;
use std::ops::Range;

use crate::mask::{hidden_in, masked_in_place};
use crate::render;

/// One mistake of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it; may have several lines.
    pub hint: Option<String>,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// Bytes of the text, behind any byte order mark; at most one line of them.
    pub span: Range<usize>,
    pub(crate) also: Option<Box<Also>>,
    whole: bool,
}

/// Another place of the text that a mistake is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Also {
    pub(crate) span: Range<usize>,
    /// Line, from 1.
    pub(crate) line: usize,
    /// What is there.
    pub(crate) label: &'static str,
}

impl Mistake {
    /// A mistake at some bytes of the text; its line and column are counted once all are known.
    pub(crate) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        let message = clean(&message.into());
        Self { message, hint: None, line: 0, column: 0, span, also: None, whole: false }
    }

    /// A mistake that is not at any place of the text.
    pub(crate) fn of_the_file(message: impl Into<String>) -> Self {
        Self { whole: true, ..Self::at(0..0, message) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(clean(&hint.into()));
        self
    }

    /// Marks a second place, such as the first of two equal names.
    pub(crate) fn also(mut self, span: Range<usize>, label: &'static str) -> Self {
        self.also = Some(Box::new(Also { span, line: 0, label }));
        self
    }

    /// Whether the mistake is not at any place of the text.
    pub(crate) fn is_of_the_file(&self) -> bool {
        self.whole
    }
}

/// Every mistake of a configuration, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    source: String,
    text: Option<String>,
    items: Vec<Mistake>,
    more: usize,
}

impl Mistakes {
    /// The mistakes of a text: sorted, at most `limit` of them, each with its line and column.
    pub(crate) fn of_text(source: &str, text: &str, mut items: Vec<Mistake>, limit: usize) -> Self {
        items.sort_by_key(|item| (!item.whole, item.span.start));
        let more = items.len().saturating_sub(limit);
        items.truncate(limit);
        for item in &mut items {
            item.message = hidden_in(&item.message, text);
            item.hint = item.hint.as_ref().map(|hint| hidden_in(hint, text));
        }
        let lines: Vec<usize> = text.match_indices('\n').map(|(newline, _)| newline + 1).collect();
        let place = |at: usize| {
            let before = lines.partition_point(|&start| start <= at);
            let start = before.checked_sub(1).map_or(0, |line| lines[line]);
            (before + 1, 1 + text[start..at].chars().count())
        };
        for item in items.iter_mut().filter(|item| !item.whole) {
            item.span = one_line(text, &item.span);
            (item.line, item.column) = place(item.span.start);
            if let Some(also) = &mut item.also {
                also.span = one_line(text, &also.span);
                also.line = place(also.span.start).0;
            }
        }
        Self { source: clean(source), text: Some(masked_in_place(text)), items, more }
    }

    /// One mistake about a file whose text is not at hand.
    pub(crate) fn of_file(source: &str, mistake: Mistake) -> Self {
        Self { source: clean(source), text: None, items: vec![mistake], more: 0 }
    }

    /// The mistakes, in the order of the text; at most fifty.
    pub fn items(&self) -> &[Mistake] {
        &self.items
    }

    /// How many mistakes were found beyond [`Self::items`]; the search ends at a thousand.
    pub fn more(&self) -> usize {
        self.more
    }

    /// For a terminal: every mistake with its place, the source line, carets, the reason and a hint, then
    /// how many there are. A file that could not be read gives one line.
    pub fn render(&self, color: bool) -> String {
        match &self.text {
            Some(text) => {
                let mistakes = render::mistakes(&self.source, text, &self.items, color);
                format!("{mistakes}{}: {}\n", self.source, self.summary())
            }
            None => format!("error: {self}\n"),
        }
    }

    fn summary(&self) -> String {
        match self.items.len() + self.more {
            1 => "1 mistake".to_owned(),
            all if self.more > 0 => {
                format!("{all} mistakes or more; the first {} are shown", self.items.len())
            }
            all => format!("{all} mistakes"),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.source;
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match item.line {
                0 => write!(f, "{source}: {}", item.message)?,
                line => write!(f, "{source}:{line}:{}: {}", item.column, item.message)?,
            }
            if let Some(also) = &item.also {
                write!(f, " (line {}: {})", also.line, also.label)?;
            }
            if let Some(hint) = &item.hint {
                write!(f, " (hint: {})", hint.split_whitespace().collect::<Vec<_>>().join(" "))?;
            }
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n{source}: and {more} more"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// The part of a span that is on its first line, on character boundaries and within the text.
fn one_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = boundary(text, span.start);
    let end = boundary(text, span.end).max(start);
    let line = text[start..end].find(['\r', '\n']).map_or(end, |newline| start + newline);
    start..line
}

/// The last character boundary up to a byte, within the text.
pub(crate) fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Text that a terminal cannot be made to obey: control and direction characters are escaped.
fn clean(text: &str) -> String {
    let hostile = |c: char| match c {
        '\n' => false,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match hostile(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}
