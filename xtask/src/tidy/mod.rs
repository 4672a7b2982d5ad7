//! `cargo xtask tidy`: the house rules as a check that fails.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

mod arrows;
mod shape;
mod words;

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: String,
    line: usize,
    reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

/// Checks the workspace at `root` and prints a line for each violation.
///
/// # Errors
///
/// When there is a violation, or the workspace cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut paths = BTreeSet::new();
    for folder in ["crates", "xtask", "fuzz", "examples"] {
        collect(root, folder, &mut paths)?;
    }
    let mut found = shape::folders(&paths);
    found.extend(arrows::crates(root)?);
    for path in &paths {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        found.extend(check(path, &text));
    }
    found.sort();
    for violation in &found {
        println!("{violation}");
    }
    match found.len() {
        0 => println!("tidy: {} files follow the house rules", paths.len()),
        1 => bail!("tidy: 1 violation"),
        count => bail!("tidy: {count} violations"),
    }
    Ok(())
}

/// All rules that look at one file.
fn check(path: &str, text: &str) -> Vec<Violation> {
    match Source::parse(path, text) {
        Ok(source) => {
            let mut found = shape::check(&source);
            found.extend(words::check(&source));
            found.extend(arrows::stages(&source));
            found
        }
        Err(violation) => vec![violation],
    }
}

/// Adds the paths, relative to `root`, of the Rust files under `folder`.
fn collect(root: &Path, folder: &str, paths: &mut BTreeSet<String>) -> Result<()> {
    if !root.join(folder).is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(root.join(folder)).with_context(|| format!("cannot list {folder}"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(root, &path, paths)?;
            }
        } else if name.ends_with(".rs") {
            paths.insert(path);
        }
    }
    Ok(())
}

/// One Rust file, parsed.
struct Source<'a> {
    /// Relative to the root of the workspace.
    path: &'a str,
    lines: Vec<&'a str>,
    tokens: Vec<Token>,
    syntax: syn::File,
}

/// One word or sign of a file; macros are included, comments are not.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    /// Empty for a literal, so that no rule takes text for code.
    text: String,
    line: usize,
}

impl<'a> Source<'a> {
    fn parse(path: &'a str, text: &'a str) -> Result<Self, Violation> {
        let violation = |error: syn::Error| Violation {
            file: path.to_owned(),
            line: error.span().start().line.max(1),
            reason: format!("cannot be parsed: {error}"),
        };
        let stream: TokenStream = syn::parse_str(text).map_err(violation)?;
        let syntax = syn::parse_str(text).map_err(violation)?;
        Ok(Source { path, lines: text.lines().collect(), tokens: flatten(stream), syntax })
    }

    fn violation(&self, line: usize, reason: impl Into<String>) -> Violation {
        Violation { file: self.path.to_owned(), line, reason: reason.into() }
    }

    /// The text of `line`, counted from 1; empty outside the file.
    fn line(&self, line: usize) -> &'a str {
        line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default()
    }

    /// Where the words and signs of `pattern` follow each other: the index of each first token.
    fn find<'s>(&'s self, pattern: &'s [&'s str]) -> impl Iterator<Item = usize> + 's {
        let windows = self.tokens.windows(pattern.len()).enumerate();
        windows
            .filter(|(_, window)| window.iter().map(|token| token.text.as_str()).eq(pattern.iter().copied()))
            .map(|(index, _)| index)
    }
}

fn flatten(stream: TokenStream) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut push = |text: String, line: usize| tokens.push(Token { text, line });
    let mut stack = vec![stream.into_iter()];
    let mut closing = Vec::new();
    while let Some(trees) = stack.last_mut() {
        match trees.next() {
            Some(TokenTree::Ident(ident)) => push(ident.to_string(), ident.span().start().line),
            Some(TokenTree::Punct(punct)) => push(punct.to_string(), punct.span().start().line),
            Some(TokenTree::Literal(literal)) => push(String::new(), literal.span().start().line),
            Some(TokenTree::Group(group)) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open.to_owned(), group.span_open().start().line);
                closing.push((close, group.span_close().start().line));
                stack.push(group.stream().into_iter());
            }
            None => {
                stack.pop();
                if let Some((close, line)) = closing.pop() {
                    push(close.to_owned(), line);
                }
            }
        }
    }
    tokens
}

/// For the tests of the rules: `line: reason` of each violation in a file with this text.
#[cfg(test)]
fn sample(path: &str, text: &str, rule: fn(&Source<'_>) -> Vec<Violation>) -> Vec<String> {
    let source = Source::parse(path, text).expect("the sample parses");
    rule(&source).iter().map(|violation| format!("{}: {}", violation.line, violation.reason)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_parse_is_a_violation() {
        let found = check("crates/wire/src/x.rs", "//! X.\nfn f( {}\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("crates/wire/src/x.rs:2: cannot be parsed"), "{}", found[0]);
    }

    #[test]
    fn every_kind_of_rule_is_applied_to_a_file() {
        let text = "use crate::relay;\nfn f() { todo!() }\n";
        let found = check("crates/engine/src/inbound/mod.rs", text);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn text_is_not_code() {
        let found = check("crates/wire/src/x.rs", "//! X.\n\nconst T: &str = \"unsafe { todo!() }\";\n");
        assert_eq!(found, []);
    }
}
