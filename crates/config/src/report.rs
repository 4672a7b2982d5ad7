//! Where the stages put the mistakes that they find, so that each can go on.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Mistake, Mistakes};

/// Mistakes that are shown; a file with more is some other kind of file.
const SHOWN_MAX: usize = 50;

/// Mistakes that are kept for sorting; with so many the search ends.
const KEPT_MAX: usize = 1000;

/// The mistakes found so far, and which parts of the text could not be read.
#[derive(Default)]
pub(crate) struct Report {
    items: Vec<Mistake>,
    /// Lines with a syntax error: where each begins and ends.
    torn: BTreeMap<usize, usize>,
    /// Where the tables of a text with syntax errors begin.
    headers: Vec<usize>,
    /// Whether there may be tables that could not be read.
    tables_lost: bool,
}

impl Report {
    /// Notes a mistake. What is left of a line with a syntax error is not judged.
    pub(crate) fn push(&mut self, mistake: Mistake) {
        let torn = !mistake.is_of_the_file() && self.is_torn_at(mistake.span.start);
        if !torn && !self.is_full() {
            self.items.push(mistake);
        }
    }

    /// Notes that a key is absent from the table that begins at the mistake, unless it may be in a torn line.
    pub(crate) fn absent(&mut self, mistake: Mistake) {
        let start = mistake.span.start;
        let end = self.next_header(start).unwrap_or(usize::MAX);
        let torn = self.torn.range(..end).next_back().is_some_and(|(_, &line_end)| line_end > start);
        if !torn {
            self.push(mistake);
        }
    }

    /// Notes a syntax error, one for each line: the next ones are the parser finding its feet again.
    pub(crate) fn syntax(&mut self, lines: Range<usize>, mistake: Mistake) {
        if !self.is_torn_at(mistake.span.start) && !self.is_full() {
            self.items.push(mistake);
            self.torn.insert(lines.start, lines.end);
        }
    }

    /// Says where the tables of a text with syntax errors begin.
    pub(crate) fn headers(&mut self, headers: Vec<usize>) {
        self.headers = headers;
    }

    /// Where the first table behind a byte begins, in a text with syntax errors.
    pub(crate) fn next_header(&self, at: usize) -> Option<usize> {
        let next = self.headers.partition_point(|&header| header <= at);
        self.headers.get(next).copied()
    }

    /// Says that there may be tables that could not be read.
    pub(crate) fn lose_tables(&mut self) {
        self.tables_lost = true;
    }

    /// Whether there may be tables that could not be read.
    pub(crate) fn has_lost_tables(&self) -> bool {
        self.tables_lost
    }

    /// Whether the text has syntax errors.
    pub(crate) fn is_torn(&self) -> bool {
        !self.torn.is_empty()
    }

    /// Whether a byte is in lines with a syntax error.
    pub(crate) fn is_torn_at(&self, at: usize) -> bool {
        self.torn.range(..=at).next_back().is_some_and(|(_, &end)| at <= end)
    }

    /// Whether looking further is in vain.
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= KEPT_MAX
    }

    /// The value if nothing is wrong, else the mistakes.
    pub(crate) fn finish<T>(self, value: T, text: &str, source: &str) -> Result<T, Mistakes> {
        match self.items.is_empty() {
            true => Ok(value),
            false => Err(Mistakes::of_text(source, text, self.items, SHOWN_MAX)),
        }
    }
}
