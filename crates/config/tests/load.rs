//! Files that cannot be read: each gives one mistake, on one line, that says what to do.

use std::fs;
use std::path::Path;

use towpath_config::{FILE_BYTES_MAX, load};

/// The one line about a file, without its path.
fn about(path: &Path) -> String {
    let mistakes = load(path).expect_err("it must not load");
    assert_eq!(mistakes.items().len(), 1);
    let line = mistakes.to_string();
    assert_eq!(mistakes.render(false), format!("error: {line}\n"));
    assert_eq!(line.lines().count(), 1);
    assert!(line.contains("(hint: "), "{line}");
    line.strip_prefix(&format!("{}: ", path.display())).expect("the path first").to_owned()
}

fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), bytes).expect("writing it");
    file
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(about(&folder.path().join("none.toml")).starts_with("there is no such file"));
    assert!(about(folder.path()).starts_with("this is a directory"));
    assert!(about(written(b"").path()).starts_with("the file is empty"));
}

#[test]
fn text_in_other_encodings_is_refused_with_its_place() {
    let latin = about(written(b"workers = 1\n# caf\xe9\n").path());
    assert!(latin.starts_with("the file is not UTF-8: byte 0xe9 at line 2, byte 6 of the line"), "{latin}");
    let utf16: Vec<u8> = "workers = 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(about(written(&[b"\xff\xfe", utf16.as_slice()].concat()).path()).contains("this is UTF-16"));
}

#[test]
fn a_file_may_have_a_mebibyte_and_no_more() {
    let least = "listener = [{ name = \"a\", bind = \":80\", pool = \"p\" }]\npool = [{ name = \"p\", backend = \"b:80\" }]\n#";
    let padded = |bytes: usize| format!("{least}{}", "x".repeat(bytes - least.len()));
    assert!(load(written(padded(FILE_BYTES_MAX).as_bytes()).path()).is_ok());
    let message = about(written(padded(FILE_BYTES_MAX + 1).as_bytes()).path());
    assert!(
        message.starts_with("the file has 1048577 bytes, more than the limit of 1048576 (1 MiB)"),
        "{message}"
    );
    // A file without an end, and without a size to ask for.
    assert!(about(Path::new("/dev/zero")).starts_with("the file has more than the limit"));
}

#[test]
fn mistakes_are_errors() {
    let mistakes = load(Path::new("/nowhere/towpath.toml")).expect_err("there is none");
    let error: Box<dyn std::error::Error> = Box::new(mistakes);
    assert!(error.to_string().starts_with("/nowhere/towpath.toml: there is no such file"));
}
