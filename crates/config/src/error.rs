//! What is wrong with a configuration, and how that is shown to the person who wrote it.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One mistake of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// Bytes of the text, after any byte order mark.
    pub span: Range<usize>,
    /// Another place of the text that the mistake is about, and what is there.
    also: Option<(Range<usize>, &'static str)>,
}

impl Mistake {
    /// A mistake at some bytes of the text; lines and columns are counted once all are known.
    pub(crate) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: clean(&message.into()),
            hint: None,
            line: 0,
            column: 0,
            span,
            also: None,
        }
    }

    /// A mistake that is not at any place of the text.
    pub(crate) fn of_the_file(message: impl Into<String>) -> Self {
        Self::at(0..0, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(clean(&hint.into()));
        self
    }

    /// Marks a second place, such as the first of two equal names.
    pub(crate) fn also(mut self, span: Range<usize>, label: &'static str) -> Self {
        self.also = Some((span, label));
        self
    }

    fn group<'a>(&'a self, source: &'a str, text: Option<&'a str>) -> Group<'a> {
        let title = Level::ERROR.primary_title(&self.message);
        let group = match text {
            Some(text) if self.line > 0 => title.element(self.snippet(source, text)),
            _ => Group::with_title(title),
        };
        group.elements(self.hint.iter().map(|hint| Level::HELP.message(hint)))
    }

    /// Only the lines from the one place to the other: the renderer reads all it is given.
    fn snippet<'a>(&self, source: &'a str, text: &'a str) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let also = self.also.as_ref().map_or(self.span.start, |(span, _)| span.start);
        let (low, high) = (self.span.start.min(also), self.span.start.max(also));
        let start = text[..low].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[high..]
            .find('\n')
            .map_or(text.len(), |newline| high + newline);
        let first_line = 1 + text[..start].bytes().filter(|&byte| byte == b'\n').count();
        let within = |span: &Range<usize>| span.start - start..span.end - start;
        let mut snippet = Snippet::source(&text[start..end])
            .line_start(first_line)
            .path(source)
            .annotation(AnnotationKind::Primary.span(within(&self.span)));
        if let Some((span, label)) = &self.also {
            snippet = snippet.annotation(AnnotationKind::Context.span(within(span)).label(*label));
        }
        snippet
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
        items.sort_by_key(|item| item.span.start);
        let more = items.len().saturating_sub(limit);
        items.truncate(limit);
        let (mut counted, mut line) = (0, 1);
        for item in &mut items {
            item.span = one_line(text, &item.span);
            if let Some((span, _)) = &mut item.also {
                *span = one_line(text, span);
            }
            line += text[counted..item.span.start]
                .bytes()
                .filter(|&byte| byte == b'\n')
                .count();
            counted = item.span.start;
            let start = text[..counted].rfind('\n').map_or(0, |newline| newline + 1);
            item.line = line;
            item.column = 1 + text[start..counted].chars().count();
        }
        Self {
            source: source.to_owned(),
            text: Some(text.to_owned()),
            items,
            more,
        }
    }

    /// One mistake about a file whose text is not at hand.
    pub(crate) fn of_file(source: &str, mistake: Mistake) -> Self {
        Self {
            source: clean(source),
            text: None,
            items: vec![mistake],
            more: 0,
        }
    }

    /// The mistakes, in the order of the text; at most fifty.
    pub fn items(&self) -> &[Mistake] {
        &self.items
    }

    /// How many mistakes there were beyond [`Self::items`].
    pub fn more(&self) -> usize {
        self.more
    }

    /// For a terminal: every mistake with its place, the source line, carets, the reason and a hint.
    /// A file that could not be read gives one line.
    pub fn render(&self, color: bool) -> String {
        let Some(text) = &self.text else {
            return format!("error: {self}\n");
        };
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for item in &self.items {
            out.push_str(&renderer.render(&[item.group(&self.source, Some(text))]));
            out.push_str("\n\n");
        }
        out.push_str(&format!("{}: {}\n", clean(&self.source), self.summary()));
        out
    }

    fn summary(&self) -> String {
        match self.items.len() + self.more {
            1 => "1 mistake".to_owned(),
            all if self.more > 0 => format!(
                "{all} mistakes, of which the first {} are shown",
                self.items.len()
            ),
            all => format!("{all} mistakes"),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = clean(&self.source);
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match item.line {
                0 => write!(f, "{source}: {}", item.message)?,
                line => write!(f, "{source}:{line}:{}: {}", item.column, item.message)?,
            }
            if let Some(hint) = &item.hint {
                write!(f, " (hint: {})", hint.replace('\n', " "))?;
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
    let line = text[start..end]
        .find(['\r', '\n'])
        .map_or(end, |newline| start + newline);
    start..line
}

/// The last character boundary up to a byte, within the text.
pub(crate) fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// Text that a terminal cannot be made to obey: control and direction characters are escaped.
fn clean(text: &str) -> String {
    let hostile = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hostile(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
    }
    out
}
