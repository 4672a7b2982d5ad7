//! Rules on who may know whom: between the crates, and between the stages of the engine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{Dependency, DependencyKind, MetadataCommand};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::UseTree;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Source, Violation};

/// One crate of the house.
struct Layer {
    name: &'static str,
    /// Those of ours that it may depend on.
    ours: &'static [&'static str],
    /// Others' crates that would break what it promises.
    never: &'static [&'static str],
}

/// The house, top to bottom.
const LAYERS: &[Layer] = &[
    Layer {
        name: "towpath",
        ours: &["towpath-control", "towpath-engine", "towpath-config", "towpath-wire"],
        never: &[],
    },
    Layer {
        name: "towpath-control",
        ours: &["towpath-engine", "towpath-config", "towpath-wire", "towpath-sys"],
        never: &[],
    },
    Layer {
        name: "towpath-engine",
        ours: &["towpath-config", "towpath-wire", "towpath-sys"],
        never: &["serde", "serde_json", "axum", "etcd-client"],
    },
    Layer { name: "towpath-config", ours: &["towpath-wire"], never: &["tokio"] },
    Layer {
        name: "towpath-wire",
        ours: &[],
        never: &["tokio", "mio", "socket2", "rustix", "libc", "rand", "fastrand"],
    },
    Layer { name: "towpath-sys", ours: &[], never: &[] },
];

/// The stages of a connection: siblings that do not know each other.
const STAGES: &[&str] =
    &["listen", "inbound", "admit", "route", "balance", "health", "outbound", "relay", "tunnel"];

/// What tells the story of a connection or of a request; the stages do not call it.
const STORIES: &[&str] = &["conn", "far", "forward", "http", "proxied"];

/// What puts the stages into threads, before there is a connection.
const WIRING: &[&str] = &["engine", "worker", "listen"];

/// Checks the arrows between the crates of the workspace at `root`.
pub(super) fn crates(root: &Path) -> Result<Vec<Violation>> {
    let metadata =
        MetadataCommand::new().current_dir(root).no_deps().exec().context("cannot run cargo metadata")?;
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let Ok(path) = package.manifest_path.strip_prefix(root) else {
            continue;
        };
        if !path.starts_with("crates") {
            continue;
        }
        let manifest =
            fs::read_to_string(&package.manifest_path).with_context(|| format!("cannot read {path}"))?;
        for (dependency, reason) in wrong_arrows(&package.name, &package.dependencies) {
            let names = |line: &str| line.trim_start().trim_start_matches('"').starts_with(&dependency);
            let line = manifest.lines().position(names).map_or(1, |index| index + 1);
            found.push(Violation { file: path.to_string(), line, reason });
        }
    }
    Ok(found)
}

/// The dependencies that `name` may not have, each with the reason.
fn wrong_arrows(name: &str, dependencies: &[Dependency]) -> Vec<(String, String)> {
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
        let reason = format!("{name} has no place in the layers of xtask/src/tidy/arrows.rs");
        return vec![("name".to_owned(), reason)];
    };
    let mut found = Vec::new();
    for dependency in dependencies {
        let other = dependency.name.as_str();
        let ours = LAYERS.iter().any(|layer| layer.name == other);
        let for_tests = dependency.kind == DependencyKind::Development;
        // A crate may use itself in its tests.
        if ours && other != name && !layer.ours.contains(&other) {
            found.push((other.to_owned(), format!("{name} must not know {other}: arrows point down only")));
        } else if !for_tests && layer.never.contains(&other) {
            found.push((other.to_owned(), format!("{name} must not depend on {other}")));
        }
    }
    found
}

/// Checks that a file of the engine knows only the stages that it may know.
pub(super) fn stages(source: &Source<'_>) -> Vec<Violation> {
    let Some(module) = engine_module(source.path) else {
        return Vec::new();
    };
    let top = module.first().map(String::as_str).unwrap_or_default();
    let tells_a_story = matches!(&module[..], [only] if STORIES.contains(&only.as_str()));
    let joins = top.is_empty() || tells_a_story || WIRING.contains(&top);
    if joins || module.iter().any(|part| part == "tests") {
        return Vec::new();
    }
    let mut uses = Uses { module: module.clone(), found: Vec::new() };
    uses.visit_file(&source.syntax);
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    for (used, line) in &uses.found {
        let used = used.as_str();
        let is_stage = STAGES.contains(&used);
        let reason = if used == top || !(is_stage || STORIES.contains(&used)) {
            continue;
        } else if STAGES.contains(&top) {
            format!(
                "stage `{top}` must not know `{used}`: stages meet in conn.rs, proxied.rs and http/mod.rs"
            )
        } else if is_stage && known.insert(used) && known.len() > 1 {
            format!("a second stage, `{used}`: only conn.rs, proxied.rs and http/mod.rs join stages")
        } else {
            continue;
        };
        found.push(source.violation(*line, reason));
    }
    found.dedup();
    found
}

/// The module of the engine that the file at `path` is.
fn engine_module(path: &str) -> Option<Vec<String>> {
    let inside = path.strip_prefix("crates/engine/src/")?.strip_suffix(".rs")?;
    let mut module: Vec<_> = inside.split('/').map(str::to_owned).collect();
    module.pop_if(|last| last == "mod" || last == "lib");
    Some(module)
}

/// The modules at the root of the crate that a file names, with the lines; without its tests.
struct Uses {
    /// Where the visitor is.
    module: Vec<String>,
    found: Vec<(String, usize)>,
}

impl Uses {
    /// Notes what `path`, seen from the current module, leads to.
    fn note(&mut self, path: &[String], span: Span) {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let mut full = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self") => self.module.clone(),
            Some("super") => self.module[..self.module.len().saturating_sub(supers)].to_vec(),
            _ => return,
        };
        full.extend(path.iter().skip(supers.max(1)).cloned());
        if let Some(top) = full.into_iter().next() {
            self.found.push((top, span.start().line));
        }
    }

    fn note_use(&mut self, before: &[String], tree: &UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.note_use(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_use(before, tree)),
            UseTree::Name(name) => self.note(&with(&name.ident), tree.span()),
            UseTree::Rename(rename) => self.note(&with(&rename.ident), tree.span()),
            UseTree::Glob(_) => self.note(before, tree.span()),
        }
    }

    /// Notes the paths in what a macro is given, which has no syntax of its own.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for tree in tokens {
            match tree {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        path.clear();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                    if path.len() > 1 {
                        self.note(&path, ident.span());
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    path.clear();
                    self.note_tokens(group.stream());
                }
                _ => path.clear(),
            }
        }
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let for_tests = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
        };
        if item.attrs.iter().any(for_tests) {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&parts, path.span());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.note_tokens(item.tokens.clone());
    }
}

#[cfg(test)]
mod tests;
