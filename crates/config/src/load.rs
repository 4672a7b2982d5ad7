//! A configuration from a file, with one clear mistake for each way in which a file cannot be read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Mistake, Mistakes};
use crate::{Config, FILE_BYTES_MAX, parse};

/// Reads and checks a configuration file of at most [`FILE_BYTES_MAX`] bytes.
///
/// # Errors
///
/// Every mistake of the file, or one that says why it could not be read.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    let source = path.display().to_string();
    let text = read(path).map_err(|mistake| Mistakes::of_file(&source, mistake))?;
    parse(&text, &source)
}

fn read(path: &Path) -> Result<String, Mistake> {
    let mut file = File::open(path).map_err(|error| unreadable(&error))?;
    let size = file.metadata().map_err(|error| unreadable(&error))?.len();
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    file.by_ref().take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(oversized(size));
    }
    if bytes.is_empty() {
        return Err(
            Mistake::of_the_file("the file is empty").hint("it needs at least a [[listener]] and a [[pool]]")
        );
    }
    String::from_utf8(bytes).map_err(|error| not_text(error.as_bytes(), error.utf8_error().valid_up_to()))
}

/// The mistake of a text beyond the limit; `size` is 0 for pipes, which have none.
pub(crate) fn oversized(size: u64) -> Mistake {
    let limit = FILE_BYTES_MAX;
    let message = if size > limit as u64 {
        format!("the file has {size} bytes, more than the limit of {limit} (1 MiB)")
    } else {
        format!("the file has more than the limit of {limit} bytes (1 MiB)")
    };
    Mistake::of_the_file(message).hint("is this the right file? a configuration is seldom over a few KiB")
}

fn unreadable(error: &io::Error) -> Mistake {
    let (message, hint) = match error.kind() {
        io::ErrorKind::NotFound => {
            ("there is no such file", "check the path; a relative one starts at the working directory")
        }
        io::ErrorKind::PermissionDenied => {
            ("reading the file is not permitted", "let the user that runs towpath read it")
        }
        io::ErrorKind::IsADirectory => ("this is a directory", "name the file in it"),
        _ => return Mistake::of_the_file(format!("the file cannot be read: {error}")),
    };
    Mistake::of_the_file(message).hint(hint)
}

fn not_text(bytes: &[u8], valid: usize) -> Mistake {
    let before = &bytes[..valid];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let in_line = valid - before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1) + 1;
    let found = bytes.get(valid).copied().unwrap_or_default();
    let message =
        format!("the file is not UTF-8: byte 0x{found:02x} at line {line}, byte {in_line} of the line");
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    Mistake::of_the_file(message).hint(if utf16 {
        "this is UTF-16; save it as UTF-8"
    } else {
        "save it as UTF-8; TOML knows no other encoding"
    })
}
