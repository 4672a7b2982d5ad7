//! Valid files load; each invalid one gives exactly the report beside it.
//!
//! With `TOWPATH_REWRITE=1` the reports are written instead: read the difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind);
    let entries = fs::read_dir(folder).expect("the folder of fixtures");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "toml"));
    paths.sort();
    assert!(!paths.is_empty(), "no fixtures are {kind}");
    paths
}

fn parse(path: &Path) -> Result<towpath_config::Config, towpath_config::Mistakes> {
    let name = path.file_name().expect("a file name").to_string_lossy();
    towpath_config::parse(&fs::read_to_string(path).expect("a fixture"), &name)
}

#[test]
fn valid_files_load() {
    for path in fixtures("valid") {
        if let Err(mistakes) = parse(&path) {
            panic!("{}", mistakes.render(false));
        }
    }
}

#[test]
fn invalid_files_give_the_report_beside_them() {
    let mut wrong = Vec::new();
    for path in fixtures("invalid") {
        let mistakes = parse(&path).expect_err(&format!("{} must not load", path.display()));
        let report = format!("{}\n{mistakes}\n", mistakes.render(false));
        let golden = path.with_extension("txt");
        if std::env::var_os("TOWPATH_REWRITE").is_some() {
            fs::write(&golden, &report).expect("a golden file");
        } else if fs::read_to_string(&golden).unwrap_or_default() != report {
            wrong.push(format!("{} is not what is reported now:\n{report}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ten_different_mistakes_are_all_reported() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/invalid/ten-mistakes.toml");
    let mistakes = parse(&path).expect_err("it has mistakes");
    let mut messages: Vec<_> = mistakes.items().iter().map(|mistake| &mistake.message).collect();
    messages.dedup();
    assert!(messages.len() >= 10, "{messages:#?}");
    assert!(mistakes.items().iter().all(|mistake| mistake.line > 0 && mistake.column > 0));
    assert!(mistakes.items().is_sorted_by_key(|mistake| (mistake.line, mistake.column)));
}

#[test]
fn colours_only_on_request() {
    let mistakes = towpath_config::parse("workrs = 1", "a.toml").expect_err("it has mistakes");
    assert!(!mistakes.render(false).contains('\u{1b}'));
    assert!(mistakes.render(true).contains('\u{1b}'));
}
