//! A file of backends: one address a line, with its weight behind it if that is not 1.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use towpath_config::Backend;
use towpath_wire::addr::Target;

/// Longest file, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// A file and how it looked when it was read last.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    /// How it looked when it was read.
    read: Option<Look>,
    /// How it looked last.
    seen: Option<Look>,
}

/// What changes when a file does.
type Look = (u64, u64, i64, i64);

impl WatchedFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: None, seen: None }
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The backends in it. An empty file is a mistake: it may be about to be written.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub(super) fn read(&mut self) -> Result<Vec<Backend>, String> {
        self.read = self.look();
        let mut text = String::new();
        if !self.path.metadata().map_err(|error| explain(&error))?.is_file() {
            return Err("it is no regular file".to_owned());
        }
        let file = File::open(&self.path).map_err(|error| explain(&error))?;
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| explain(&error))?;
        if text.is_empty() {
            return Err("the file is empty; a comment in it says that this is meant".to_owned());
        }
        if text.len() as u64 > BYTES_MAX {
            return Err("the file has more than 1 MiB".to_owned());
        }
        parse(&text)
    }

    /// The same if it looks other than when it was read, and as it did at the last look: it may be half written until then.
    pub(super) fn read_if_changed(&mut self) -> Option<Result<Vec<Backend>, String>> {
        let now = self.look();
        let rests = now == std::mem::replace(&mut self.seen, now);
        (now != self.read && rests).then(|| self.read())
    }

    fn look(&self) -> Option<Look> {
        let metadata = self.path.metadata().ok()?;
        Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::InvalidData => "the file is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

fn parse(text: &str) -> Result<Vec<Backend>, String> {
    let lines =
        text.lines().enumerate().map(|(index, line)| (index + 1, line.split('#').next().unwrap_or("")));
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| backend(line).map_err(|reason| format!("line {number}: {reason}"))).collect()
}

fn backend(line: &str) -> Result<Backend, String> {
    let mut words = line.split_whitespace();
    let address: Target = words.next().unwrap_or("").parse().map_err(|error| format!("{error}"))?;
    let weight = match words.next() {
        None => 1,
        Some(word) => word
            .parse()
            .ok()
            .filter(|weight| (1..=1000).contains(weight))
            .ok_or_else(|| format!("`{word}` is no weight; write a number from 1 to 1000"))?,
    };
    match words.next() {
        None => Ok(Backend { address, weight, backup: false, max_connections: None, drain: false }),
        Some(word) => Err(format!("`{word}` is too much; a line has an address and at most a weight")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_weights_are_understood() {
        let found = parse("# all\n10.0.0.1:80\n\n  db:5432 3 # the big one\n").unwrap();
        let told: Vec<_> =
            found.iter().map(|backend| (backend.address.to_string(), backend.weight)).collect();
        assert_eq!(told, [("10.0.0.1:80".to_owned(), 1), ("db:5432".to_owned(), 3)]);
    }

    #[test]
    fn a_mistake_names_its_line() {
        assert!(parse("10.0.0.1:80\n10.0.0.2\n").unwrap_err().starts_with("line 2: "));
        assert!(parse("10.0.0.1:80 0").unwrap_err().contains("weight"));
        assert!(parse("10.0.0.1:80 1 x").unwrap_err().contains("too much"));
    }
}
