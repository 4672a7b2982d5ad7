//! Tunnels: the far end that a listener is, and those that the URL of a hop speaks of.

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::small_file;
use crate::error::Mistake;
use crate::file;
use crate::model::{Compression, Lanes, TunnelEnd, TunnelIn, TunnelOut};
use crate::near::excerpt;
use crate::read::{Field, OrOff, Word};
use crate::report::Report;
use crate::secret::Secret;
use crate::units::Bad;
use crate::words::{CompressionWord, Memory, Timespan};

/// Longest file of a key.
const KEY_FILE_BYTES: u64 = 4096;

/// Most lanes of a session that this end opens.
const LANES_MAX: usize = 64;

/// Most lanes where their number is found out.
const AUTO_LANES_MAX: usize = 16;

/// Either end, unless it is said.
fn end() -> TunnelEnd {
    TunnelEnd {
        key: None,
        key_file: None,
        compress: Compression::Auto,
        resume: Duration::from_secs(30),
        window_bytes: 64 << 20,
        memory_bytes: 128 << 20,
    }
}

/// The far end that a listener is.
pub(super) fn tunnel_in(
    field: Field<file::Tunnel>,
    listener: Option<Range<usize>>,
    report: &mut Report,
) -> Option<TunnelIn> {
    let Field::Given(shape, span) = field else {
        if field.is_absent() {
            let mistake = Mistake::at(listener.unwrap_or_default(), "this tunnel has no key");
            report.push(
                mistake
                    .hint("add tunnel = { key_file = \"key\" }, which `towpath tunnel --new-key key` makes"),
            );
        }
        return None;
    };
    let default = end();
    let is_plain = shape.plain.given().is_some_and(|switch| switch.0);
    let key = match (shape.key_file, is_plain) {
        (Field::Given(path, span), false) => match key(&path.0) {
            Ok(key) => Some((key, path.0)),
            Err(Bad { message, hint }) => {
                report.push(Mistake::at(span, message).hint(hint));
                None
            }
        },
        (Field::Given(_, span), true) => {
            let mistake = Mistake::at(span, "a plain tunnel has no key");
            report.push(mistake.hint("leave `plain` out, or `key_file`"));
            None
        }
        (Field::Absent, false) => {
            let mistake = Mistake::at(span, "this tunnel has no key");
            let hint = "add key_file = \"key\", which `towpath tunnel --new-key key` makes; or plain = true, if nobody \
                        else can use its way";
            report.push(mistake.hint(hint));
            None
        }
        _ => None,
    };
    let (key, key_file) = key.unzip();
    Some(TunnelIn {
        end: TunnelEnd {
            key,
            key_file,
            compress: shape.compress.given().map_or(default.compress, |word| word.0),
            resume: match shape.resume_timeout.given() {
                Some(OrOff::On(time)) => time.0,
                Some(OrOff::Off) => Duration::ZERO,
                None => default.resume,
            },
            window_bytes: shape.window.given().map_or(default.window_bytes, |size| size.0),
            memory_bytes: shape.memory.given().map_or(default.memory_bytes, |size| size.0),
        },
        sessions_max: shape.sessions.given().map_or(256, |count| count.number() as usize),
        lanes_max: shape.lanes.given().map_or(64, |count| count.number() as usize),
        streams_max: shape.streams.given().map_or(1024, |count| count.number() as usize),
    })
}

/// The key in a file, whose first line has it.
fn key(path: &Path) -> Result<Secret, Bad> {
    let bad = |why: String| {
        let hint = "it holds 64 hexadecimal digits, as `towpath tunnel --new-key FILE` makes them";
        Bad::new(format!("the key file {} {why}", path.display()), hint)
    };
    let text = small_file(path, KEY_FILE_BYTES).map_err(bad)?;
    let line = text.lines().next().unwrap_or_default().trim_ascii();
    match line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(Secret::new(line)),
        false => Err(bad("has no key in its first line".to_owned())),
    }
}

/// What the query of a `towpath://` URL has said so far.
#[derive(Default)]
pub(super) struct Asked {
    key: Option<(Secret, PathBuf)>,
    is_plain: bool,
    out: Option<TunnelOut>,
}

impl Asked {
    /// Takes a key of the query, if it is one of a tunnel; tells whether it is.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, Bad> {
        let fresh = || TunnelOut { end: end(), lanes: Lanes::Auto(AUTO_LANES_MAX), bind: Vec::new() };
        let out = self.out.get_or_insert_with(fresh);
        match name.replace('-', "_").as_str() {
            "key_file" => self.key = Some((key(Path::new(value))?, value.into())),
            "plain" if value.is_empty() => self.is_plain = true,
            "lanes" => out.lanes = lanes(value)?,
            "compress" => out.end.compress = CompressionWord::from_word(value)?.0,
            "resume" if value == "off" => out.end.resume = Duration::ZERO,
            "resume" if value == "on" => {}
            "resume_timeout" => out.end.resume = Timespan::from_word(value)?.0,
            "window" => out.end.window_bytes = Memory::from_word(value)?.0,
            "memory" => out.end.memory_bytes = Memory::from_word(value)?.0,
            "bind" => {
                for address in value.split(',') {
                    let hint = "give local addresses with commas between, as in bind=10.0.0.2,10.1.0.2";
                    let bad = |_| Bad::new(format!("`{}` is no address", excerpt(address)), hint);
                    out.bind.push(address.parse::<IpAddr>().map_err(bad)?);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// All that was said.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn finish(self) -> Result<TunnelOut, Bad> {
        let hint = "write towpath://HOST:PORT?key-file=FILE, with the file that `towpath tunnel --new-key FILE` has made; \
                    or ?plain, if the far end is plain too and nobody else can use the way";
        match (self.key, self.is_plain) {
            (None, false) => Err(Bad::new("this tunnel has no key", hint)),
            (Some(_), true) => Err(Bad::new("a plain tunnel has no key", hint)),
            (key, _) => {
                let out = self.out.unwrap_or_else(|| TunnelOut {
                    end: end(),
                    lanes: Lanes::Auto(AUTO_LANES_MAX),
                    bind: Vec::new(),
                });
                let (key, key_file) = key.unzip();
                Ok(TunnelOut { end: TunnelEnd { key, key_file, ..out.end }, ..out })
            }
        }
    }
}

fn lanes(text: &str) -> Result<Lanes, Bad> {
    if text == "auto" {
        return Ok(Lanes::Auto(AUTO_LANES_MAX));
    }
    match text.parse() {
        Ok(count @ 1..=LANES_MAX) => Ok(Lanes::Fixed(count)),
        _ => Err(Bad::new(
            format!("`{}` is no number of lanes", excerpt(text)),
            format!("give 1 to {LANES_MAX}, or `auto` for as many as are of use"),
        )),
    }
}
