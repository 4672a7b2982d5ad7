//! Where the stages put the mistakes that they find, so that each can go on.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Mistake, Mistakes};

/// Mistakes that are shown; a file with more is some other kind of file.
const SHOWN_MAX: usize = 50;

/// Mistakes that are kept for sorting; with so many the search ends.
const KEPT_MAX: usize = 1000;

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Report {
    items: Vec<Mistake>,
    /// Lines with a syntax error: where each begins and ends.
    torn: BTreeMap<usize, usize>,
}

impl Report {
    /// Notes a mistake. What is left of a line with a syntax error is not judged.
    pub(crate) fn push(&mut self, mistake: Mistake) {
        let line = self.torn.range(..=mistake.span.start).next_back();
        let torn = line.is_some_and(|(_, &end)| mistake.span.start <= end);
        if !torn && !self.is_full() {
            self.items.push(mistake);
        }
    }

    /// Notes that something is absent. After a syntax error that says nothing: it may be in what was lost.
    pub(crate) fn absent(&mut self, mistake: Mistake) {
        if !self.is_torn() {
            self.push(mistake);
        }
    }

    /// Notes a syntax error, one for each line: the next ones are the parser finding its feet again.
    pub(crate) fn syntax(&mut self, line: Range<usize>, mistake: Mistake) {
        if !self.torn.contains_key(&line.start) && !self.is_full() {
            self.items.push(mistake);
            self.torn.insert(line.start, line.end);
        }
    }

    /// Whether the text has syntax errors.
    pub(crate) fn is_torn(&self) -> bool {
        !self.torn.is_empty()
    }

    /// Whether looking further is in vain.
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= KEPT_MAX
    }

    /// The value if there is one and nothing is wrong, else the mistakes.
    pub(crate) fn finish<T>(self, value: Option<T>, text: &str, source: &str) -> Result<T, Mistakes> {
        match value {
            Some(value) if self.items.is_empty() => Ok(value),
            _ => Err(Mistakes::of_text(source, text, self.items, SHOWN_MAX)),
        }
    }
}
