//! Rules on the shape of files: what they open with, how long they and their functions are, where folders start.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Source, Violation};

/// The style says about 400.
const FILE_LINES: usize = 450;
/// The style says about 70.
const FUNCTION_LINES: usize = 80;

pub(super) fn check(source: &Source<'_>) -> Vec<Violation> {
    let mut found = header(source);
    found.extend(file_length(source));
    found.extend(function_lengths(source));
    found.extend(unfinished(source));
    found
}

fn header(source: &Source<'_>) -> Vec<Violation> {
    let first = source.line(1).strip_prefix("//! ").unwrap_or_default();
    if first.trim().is_empty() {
        return vec![source.violation(1, "open the file with a `//!` line that says what it is for")];
    }
    Vec::new()
}

fn file_length(source: &Source<'_>) -> Option<Violation> {
    let count = source.lines.len();
    let reason = format!("{count} lines: split the file (about 400, at most {FILE_LINES})");
    (count > FILE_LINES).then(|| source.violation(FILE_LINES + 1, reason))
}

fn function_lengths(source: &Source<'_>) -> Vec<Violation> {
    let mut functions = Functions::default();
    functions.visit_file(&source.syntax);
    let long = functions.found.into_iter().filter(|(_, _, count)| *count > FUNCTION_LINES);
    long.map(|(name, line, count)| {
        let reason = format!("fn {name} has {count} lines (about 70, at most {FUNCTION_LINES})");
        source.violation(line, reason)
    })
    .collect()
}

/// Name, first line and line count of each function with a body, without its attributes.
#[derive(Default)]
struct Functions {
    found: Vec<(String, usize, usize)>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, end: Span) {
        let first = signature.span().start().line;
        self.found.push((signature.ident.to_string(), first, end.end().line + 1 - first));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block.span());
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn unfinished(source: &Source<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for name in ["todo", "unimplemented", "dbg"] {
        for index in source.find(&[name, "!"]) {
            found.push(source.violation(source.tokens[index].line, format!("`{name}!` is left over")));
        }
    }
    found
}

/// Folders of modules without a `mod.rs` that names what is in them.
pub(super) fn folders(paths: &BTreeSet<String>) -> Vec<Violation> {
    let folders: BTreeSet<_> =
        paths.iter().filter_map(|path| path.rsplit_once('/')).map(|(folder, _)| folder).collect();
    let missing = folders.into_iter().filter(|folder| is_module(folder) && !has_contents(folder, paths));
    missing
        .map(|folder| {
            let reason = "a folder of modules needs a mod.rs as its table of contents".to_owned();
            Violation { file: format!("{folder}/mod.rs"), line: 1, reason }
        })
        .collect()
}

/// Whether `folder` lies below `src` or `tests`; `bin` holds programs, not modules.
fn is_module(folder: &str) -> bool {
    let mut above = folder.split('/').rev().skip(1);
    above.any(|name| name == "src" || name == "tests") && !folder.ends_with("/bin")
}

/// Whether `folder` says what it holds; beside `x.rs`, a folder `x` may hold its tests alone.
fn has_contents(folder: &str, paths: &BTreeSet<String>) -> bool {
    let has = |name: &str| paths.contains(&format!("{folder}/{name}"));
    let own =
        paths.iter().filter(|path| path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder)).count();
    has("mod.rs")
        || has("main.rs")
        || (own == 1 && has("tests.rs") && paths.contains(&format!("{folder}.rs")))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const PATH: &str = "crates/wire/src/x.rs";

    #[test]
    fn a_file_opens_with_what_it_is_for() {
        assert_eq!(sample(PATH, "//! Reads heads.\nfn f() {}\n", header), Vec::<String>::new());
        for text in ["", "fn f() {}\n", "//!\nfn f() {}\n", "\n//! Late.\n", "// Plain.\n"] {
            assert_eq!(sample(PATH, text, header).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_file_has_at_most_450_lines() {
        let lines = |count: usize| "//! X.\n".repeat(count);
        let check = |source: &Source<'_>| file_length(source).into_iter().collect();
        assert_eq!(sample(PATH, &lines(450), check), Vec::<String>::new());
        let found = sample(PATH, &lines(451), check);
        assert_eq!(found, ["451: 451 lines: split the file (about 400, at most 450)"]);
    }

    #[test]
    fn a_function_has_at_most_80_lines_wherever_it_stands() {
        let body = |count: usize| format!("fn f() {{\n{}}}", "    g();\n".repeat(count - 2));
        let places = ["FN", "impl T { FN }", "trait T { FN }", "mod m { FN }", "fn outer() { { FN } }"];
        for place in &places[..4] {
            assert_eq!(sample(PATH, &place.replace("FN", &body(80)), function_lengths), Vec::<String>::new());
        }
        for place in places {
            let found = sample(PATH, &place.replace("FN", &body(81)), function_lengths);
            assert!(
                found.contains(&"1: fn f has 81 lines (about 70, at most 80)".to_owned()),
                "{place}: {found:?}"
            );
        }
    }

    #[test]
    fn documentation_does_not_count_as_function() {
        let text = format!("{}fn f() {{\n}}\n", "/// Long story.\n".repeat(90));
        assert_eq!(sample(PATH, &text, function_lengths), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_left_unfinished() {
        let text = "fn f() { todo!() }\nfn g() { unimplemented!() }\nfn h() { log!(dbg!(1)) }\n";
        assert_eq!(sample(PATH, text, unfinished).len(), 3);
        assert_eq!(sample(PATH, "// todo!()\nfn todo() {}\n", unfinished), Vec::<String>::new());
    }

    #[test]
    fn a_folder_has_a_table_of_contents() {
        let folders =
            |paths: &[&str]| super::folders(&paths.iter().map(|path| (*path).to_owned()).collect()).len();
        assert_eq!(folders(&["crates/a/src/lib.rs", "crates/a/src/m/mod.rs", "crates/a/src/m/x.rs"]), 0);
        assert_eq!(folders(&["crates/a/src/m.rs", "crates/a/src/m/tests.rs"]), 0);
        assert_eq!(folders(&["crates/a/tests/web.rs", "crates/a/src/bin/a.rs", "crates/a/build.rs"]), 0);
        assert_eq!(folders(&["crates/a/src/m.rs", "crates/a/src/m/x.rs"]), 1);
        assert_eq!(folders(&["crates/a/src/m/tests.rs"]), 1);
        assert_eq!(folders(&["crates/a/tests/support/x.rs"]), 1);
    }
}
