//! The examples load, and the one that shows every default shows the true ones.

use std::path::{Path, PathBuf};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let entries = std::fs::read_dir(folder).expect("the folder of examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect()
}

#[test]
fn the_examples_load() {
    let examples = examples();
    assert!(!examples.is_empty());
    for path in examples {
        if let Err(mistakes) = towpath_config::load(&path) {
            panic!("{}", mistakes.render(false));
        }
    }
}

#[test]
fn everything_shows_the_true_defaults() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let shown = towpath_config::load(&folder.join("everything.toml")).unwrap();
    let bare = r#"
        listener = [{ name = "pg", bind = ":5432", pool = "pg" }]
        pool = [{ name = "pg", backend = ["10.0.0.11:5432", "10.0.0.12:5432"] }]
    "#;
    let bare = towpath_config::parse(bare, "bare.toml").unwrap();
    assert_eq!(format!("{shown:#?}"), format!("{bare:#?}"));
}
