//! Rules on single words: names that say nothing, unsafe, and sleeping in tests.

use proc_macro2::Span;
use syn::Ident;
use syn::visit::{self, Visit};

use super::{Source, Violation};

/// Words that name nothing in towpath. See ARCHITECTURE.md for those that do.
const FORBIDDEN: &[&str] = &["upstream", "frontend", "remote", "manager", "helper", "util", "common"];

pub(super) fn check(source: &Source<'_>) -> Vec<Violation> {
    let mut found = names(source);
    found.extend(unsafe_code(source));
    found.extend(sleeps(source));
    found
}

/// Forbidden words in the names of files, folders, modules and types.
fn names(source: &Source<'_>) -> Vec<Violation> {
    let mut names = Names::default();
    let inside = source.path.split('/').skip_while(|part| *part != "src" && *part != "tests");
    for part in inside {
        names.found.push((part.trim_end_matches(".rs").to_owned(), 1));
    }
    names.visit_file(&source.syntax);
    let mut found = Vec::new();
    for (name, line) in names.found {
        let words = words(&name);
        let words = words.iter().map(|word| word.strip_suffix('s').unwrap_or(word));
        for word in words.filter(|word| FORBIDDEN.contains(word)) {
            found.push(source.violation(line, format!("`{name}`: name it for what it does, not `{word}`")));
        }
    }
    found
}

/// The words of a snake_case or CamelCase name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter != '_') {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// Names of modules and types, with their lines.
#[derive(Default)]
struct Names {
    found: Vec<(String, usize)>,
}

impl Names {
    fn add(&mut self, ident: &Ident) {
        let span: Span = ident.span();
        self.found.push((ident.to_string(), span.start().line));
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.add(&item.ident);
        visit::visit_item_mod(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.add(&item.ident);
        visit::visit_item_union(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident);
        visit::visit_item_type(self, item);
    }
}

/// unsafe belongs to crates/sys, and there each block says why it is sound.
fn unsafe_code(source: &Source<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for index in source.find(&["unsafe"]) {
        let line = source.tokens[index].line;
        if !source.path.starts_with("crates/sys/") {
            found.push(source.violation(line, "unsafe belongs to crates/sys"));
            continue;
        }
        let next = source.tokens.get(index + 1).map_or("", |token| token.text.as_str());
        if matches!(next, "{" | "impl") && !has_safety_comment(source, line) {
            found.push(source.violation(line, "unsafe needs a `// SAFETY:` comment above it"));
        }
    }
    found
}

/// Whether a comment with `SAFETY:` stands above the statement that has unsafe in `line`.
fn has_safety_comment(source: &Source<'_>, line: usize) -> bool {
    for above in (1..line).rev() {
        let text = source.line(above).trim();
        if text.starts_with("//") && text.contains("SAFETY:") {
            return true;
        }
        // Up to where the statement before this one ends, or the block around it begins.
        let code = text.split("//").next().unwrap_or_default().trim_end();
        if code.ends_with([';', '{', '}']) || text.is_empty() {
            return false;
        }
    }
    false
}

/// A test that sleeps to synchronise is slow on a fast machine and wrong on a slow one.
fn sleeps(source: &Source<'_>) -> Vec<Violation> {
    let mut parts = source.path.split('/');
    if parts.next() != Some("crates") || parts.nth(1) != Some("tests") {
        return Vec::new();
    }
    let calls = ["sleep", "sleep_until"].into_iter().flat_map(|name| {
        let calls = source.tokens.windows(3).filter(move |window| {
            let text = |index: usize| window[index].text.as_str();
            text(1) == name && text(2) == "(" && text(0) != "." && text(0) != "fn"
        });
        calls.map(|window| window[1].line)
    });
    let excused =
        |line: usize| [line, line - 1].into_iter().any(|line| source.line(line).contains("// sleep: "));
    let reason = "wait for an event; a sleep that must be needs a `// sleep: why` comment";
    calls.filter(|line| !excused(*line)).map(|line| source.violation(line, reason)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn modules_and_types_have_telling_names() {
        let bad = "mod utils;\nmod tcp_helpers {}\nstruct RemotePool;\nenum Common {}\ntrait Upstream {}\ntype ConnManager = u8;\n";
        let lines: Vec<_> = sample("crates/wire/src/x.rs", bad, names);
        let lines: Vec<_> = lines.iter().map(|line| &line[..2]).collect();
        assert_eq!(lines, ["1:", "2:", "3:", "4:", "5:", "6:"]);
        assert_eq!(sample("crates/cli/tests/common/mod.rs", "", names).len(), 1);
        assert_eq!(sample("crates/wire/src/helpers.rs", "", names).len(), 1);
        let good = "mod pool;\nstruct Backend;\nfn remote() { let helper = 1; }\nstruct Commonwealth;\n";
        assert_eq!(sample("crates/wire/src/pool.rs", good, names), NONE);
    }

    #[test]
    fn unsafe_stays_in_its_crate() {
        let text = "// SAFETY: it is sound.\nfn f() { unsafe { g() } }\n";
        let found = sample("crates/engine/src/relay/mod.rs", text, unsafe_code);
        assert_eq!(found, ["2: unsafe belongs to crates/sys"]);
        let hidden = sample("crates/wire/src/x.rs", "fn f() { m!(unsafe { g() }) }\n", unsafe_code);
        assert_eq!(hidden.len(), 1);
        let text = "#![forbid(unsafe_code)]\n// unsafe\nconst T: &str = \"unsafe {}\";\n";
        assert_eq!(sample("crates/wire/src/x.rs", text, unsafe_code), NONE);
    }

    #[test]
    fn each_unsafe_block_says_why_it_is_sound() {
        let path = "crates/sys/src/x.rs";
        let good = [
            "fn f() {\n    // SAFETY: the descriptor is open.\n    unsafe { g() }\n}\n",
            "fn f() {\n    // SAFETY: the descriptor is open\n    // for as long as this runs.\n    let n =\n        unsafe { g() };\n}\n",
            "// SAFETY: it holds no pointer.\nunsafe impl Send for X {}\n",
            "unsafe extern \"C\" {\n    fn g();\n}\n",
        ];
        for text in good {
            assert_eq!(sample(path, text, unsafe_code), NONE, "{text}");
        }
        let bad = [
            "fn f() {\n    unsafe { g() }\n}\n",
            "fn f() {\n    // SAFETY: of another block.\n    h();\n    unsafe { g() }\n}\n",
            "fn f() {\n    // It is fine.\n    unsafe { g() }\n}\n",
            "unsafe impl Send for X {}\n",
        ];
        for text in bad {
            assert_eq!(sample(path, text, unsafe_code).len(), 1, "{text}");
        }
    }

    #[test]
    fn tests_do_not_sleep_to_synchronise() {
        let path = "crates/cli/tests/half_close.rs";
        let bad = "fn f() {\n    thread::sleep(d);\n    tokio::time::sleep(d);\n    sleep(d);\n    time::sleep_until(t);\n}\n";
        assert_eq!(sample(path, bad, sleeps).len(), 4);
        let good = "fn f() {\n    // sleep: the backend must be late.\n    thread::sleep(d);\n    sleep(d); // sleep: as above\n    \
                    clock.sleep(d);\n}\nfn sleep() {}\n";
        assert_eq!(sample(path, good, sleeps), NONE);
        assert_eq!(sample("crates/engine/src/worker.rs", bad, sleeps), NONE);
    }
}
