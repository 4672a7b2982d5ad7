//! The file of a picture: what is in it stays until there is another one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::exit::Failure;

/// A file that can be written, which is found out before anything is measured for it.
pub(super) struct Drawing {
    file: File,
    /// Where nothing was before, nothing is to be left where no picture comes of it.
    new: Option<PathBuf>,
}

impl Drawing {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let is_new = !path.exists();
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| {
            Failure::Usage(format!("--plot {} cannot be written: {error}", path.display()))
        })?;
        Ok(Self { file, new: is_new.then(|| path.to_owned()) })
    }

    pub(super) fn write(mut self, picture: &str) -> Result<(), Failure> {
        self.new = None;
        let written = self.file.write_all(picture.as_bytes()).and_then(|()| {
            // A pipe has no length.
            let is_file = self.file.metadata()?.is_file();
            if is_file { self.file.set_len(picture.len() as u64) } else { Ok(()) }
        });
        written.context("cannot write --plot").map_err(Failure::Other)
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        if let Some(path) = &self.new {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_file_stays_until_there_is_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.svg"), folder.path().join("new.svg"));
        fs::write(&old, "a longer picture").unwrap();
        drop(Drawing::open(&old).unwrap());
        assert_eq!(fs::read_to_string(&old).unwrap(), "a longer picture");
        Drawing::open(&old).unwrap().write("another").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "another");
        drop(Drawing::open(&new).unwrap());
        assert!(!new.exists(), "nothing is left of one that never came");
        Drawing::open(&new).unwrap().write("picture").unwrap();
        assert_eq!(fs::read_to_string(&new).unwrap(), "picture");
    }
}
