//! The schema is pinned, and it and the parser know the same keys.
//!
//! With `TOWPATH_REWRITE=1` the golden file is written instead: read the difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn schema() -> Value {
    serde_json::from_str(&towpath_config::schema()).expect("the schema is JSON")
}

/// Follows a `$ref` into the definitions.
fn resolved<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    match node["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
        Some(path) => schema.pointer(path).expect("a definition"),
        None => node,
    }
}

/// The object that a key holds, through arrays and alternatives.
fn object<'a>(schema: &'a Value, node: &'a Value) -> Option<&'a Value> {
    let node = resolved(schema, node);
    if node.get("properties").is_some() {
        return Some(node);
    }
    let inner = node.get("items").into_iter().chain(node["anyOf"].as_array().into_iter().flatten());
    inner.filter_map(|inner| object(schema, inner)).next()
}

#[test]
fn the_schema_is_the_golden_one() {
    let golden = fixtures().join("schema.json");
    let now = towpath_config::schema();
    if std::env::var_os("TOWPATH_REWRITE").is_some() {
        fs::write(&golden, &now).expect("a golden file");
    }
    assert!(fs::read_to_string(&golden).unwrap_or_default() == now, "the schema is now\n{now}");
}

#[test]
fn every_table_is_closed_and_every_key_described() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().expect("definitions").values();
    let tables: Vec<_> =
        definitions.chain([&schema]).filter(|node| node.get("properties").is_some()).collect();
    assert_eq!(tables.len(), 21);
    for table in tables {
        assert_eq!(table["additionalProperties"], Value::Bool(false), "{table}");
        for (key, property) in table["properties"].as_object().expect("properties") {
            assert!(property["description"].is_string(), "`{key}` has no description");
        }
    }
}

/// Gives each key of the schema a value of a wrong type: it must be said to be wrong, not unknown.
#[test]
fn the_parser_knows_every_key_of_the_schema() {
    let schema = schema();
    let mut known = 0;
    let mut open = vec![(String::new(), &schema)];
    while let Some((path, table)) = open.pop() {
        for (key, property) in table["properties"].as_object().expect("properties") {
            let array = (matches!(key.as_str(), "listener" | "pool") && path.is_empty()) || key == "route";
            let text = wrapped(&path, &format!("{key} = 1979-05-27"));
            let mistakes = towpath_config::parse(&text, "key.toml").expect_err("a date is no value");
            let expected = format!("`{key}` takes ");
            assert!(
                mistakes.items().iter().any(|mistake| mistake.message.starts_with(&expected)),
                "{mistakes}"
            );
            known += 1;
            if let Some(inner) = object(&schema, property) {
                open.push((format!("{path}{key}{} ", if array { "*" } else { "" }), inner));
            }
        }
    }
    assert!(known > 40, "{known}");
}

/// `listener* keepalive ` and `count = 1` make `listener = [{ keepalive = { count = 1 } }]`.
fn wrapped(path: &str, inner: &str) -> String {
    path.split_whitespace().rev().fold(inner.to_owned(), |inner, key| match key.strip_suffix('*') {
        Some(key) => format!("{key} = [{{ {inner} }}]"),
        None => format!("{key} = {{ {inner} }}"),
    })
}

#[test]
fn what_the_schema_requires_the_parser_requires() {
    let schema = schema();
    for (table, least) in [
        ("Listener", ["name = \"a\"", "bind = \":80\""].as_slice()),
        ("Pool", ["name = \"p\"", "backend = \"10.0.0.1:80\""].as_slice()),
    ] {
        let required = schema["$defs"][table]["required"].as_array().expect("required keys");
        // A pool has a `backend` or a `backends_file`.
        assert!(required.len() == least.len() || table == "Pool", "{required:?}");
        for key in required.iter().filter_map(Value::as_str) {
            let kept: Vec<_> = least.iter().filter(|line| !line.starts_with(key)).copied().collect();
            let text = format!("[[{}]]\n{}", table.to_lowercase(), kept.join("\n"));
            let mistakes = towpath_config::parse(&text, "key.toml").expect_err("a key is missing");
            assert!(mistakes.to_string().contains(&format!("has no `{key}`")), "{mistakes}");
        }
    }
}

#[test]
fn valid_files_use_only_keys_of_the_schema() {
    let schema = schema();
    let mut files = 0;
    for folder in [fixtures().join("valid"), Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")] {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a file");
            let value: toml::Table = text.trim_start_matches('\u{feff}').parse().expect("TOML");
            check(&schema, &schema, &toml::Value::Table(value), &path);
            files += 1;
        }
    }
    assert!(files > 6, "{files}");
}

fn check(schema: &Value, node: &Value, value: &toml::Value, path: &Path) {
    match value {
        toml::Value::Array(items) => items.iter().for_each(|item| check(schema, node, item, path)),
        toml::Value::Table(table) => {
            // A table of names that the file chooses.
            if resolved(schema, node)["additionalProperties"].is_object() {
                return;
            }
            let object = object(schema, node).expect("a table where the schema has one");
            for (key, value) in table {
                let property = object["properties"].get(key);
                let property = property.unwrap_or_else(|| panic!("{}: `{key}`", path.display()));
                check(schema, property, value, path);
            }
        }
        _ => {}
    }
}
