//! From text to a checked configuration: syntax, then shapes, then what they mean, all mistakes kept.

use crate::error::Mistakes;
use crate::report::Report;
use crate::{Config, FILE_BYTES_MAX, load, resolve, syntax};

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
    let root = syntax::root(text, &mut report);
    let config = resolve::config(root, &mut report);
    report.finish(config, text, source)
}

#[cfg(test)]
mod tests;
