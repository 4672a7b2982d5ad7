//! Bodies in chunks, followed byte by byte (RFC 9112, section 7.1).

use super::cursor::{Cursor, Fields, Stop, is_text, is_token};
use super::{BODY_BYTES_MAX, FIELDS_MAX, HeadFault};

/// Most digits of a chunk's size.
const SIZE_DIGITS_MAX: u8 = 16;

/// Longest extensions of one chunk, in bytes.
const EXTENSION_BYTES_MAX: u16 = 256;

/// Longest trailers, in bytes, with the empty line behind them.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Follows a body in chunks, of which it keeps the trailers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    place: Place,
    trailer_bytes: Vec<u8>,
    trailers: usize,
}

/// What the next bytes of a body in chunks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bite {
    /// So many bytes of data.
    Data(usize),
    /// So many bytes around it.
    Around(usize),
    /// The same, and the body is over.
    Last(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the size of a chunk.
    Size { size: u64, digits: u8 },
    /// In its extensions.
    Extension { size: u64, bytes: u16 },
    /// Before the LF that ends its line.
    SizeEnd { size: u64 },
    /// In its data, of which so many bytes are left.
    Data(u64),
    /// Before the CR, and the LF, behind its data.
    DataEnd { has_cr: bool },
    /// Where a trailer begins, or the empty line.
    TrailerStart,
    /// In the name of a trailer.
    TrailerName,
    /// In its value.
    TrailerValue,
    /// Before the LF that ends its line.
    TrailerEnd,
    /// Before the LF that ends all.
    LastEnd,
    /// Behind the body.
    Over,
}

impl Default for Place {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// How many bytes of `input` continue the body without a fault, and whether it ends with them. A fault behind such bytes
    /// is told when they are gone.
    ///
    /// # Errors
    /// When the first byte is a fault.
    pub fn take(&mut self, input: &[u8]) -> Result<(usize, bool), HeadFault> {
        let mut at = 0;
        while at < input.len() && self.place != Place::Over {
            if let Place::Data(left) = self.place {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                at += count;
                self.place = match left - count as u64 {
                    0 => Place::DataEnd { has_cr: false },
                    left => Place::Data(left),
                };
                continue;
            }
            match self.step(input[at]) {
                Ok(place) => self.place = place,
                Err(fault) if at == 0 => return Err(fault),
                Err(_) => break,
            }
            at += 1;
        }
        Ok((at, self.place == Place::Over))
    }

    /// What `input`, which is not empty, begins with.
    ///
    /// # Errors
    /// The first fault before any data.
    pub fn bite(&mut self, input: &[u8]) -> Result<Bite, HeadFault> {
        if let Place::Data(left) = self.place {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            self.take(&input[..count])?;
            return Ok(Bite::Data(count));
        }
        for (at, byte) in input.iter().enumerate() {
            match self.place {
                Place::Data(_) => return Ok(Bite::Around(at)),
                Place::Over => return Ok(Bite::Last(at)),
                _ => self.place = self.step(*byte)?,
            }
        }
        Ok(if self.place == Place::Over { Bite::Last(input.len()) } else { Bite::Around(input.len()) })
    }

    /// The trailers, once the body is over; values without the space around them.
    pub fn trailers(&self) -> Vec<(&[u8], &[u8])> {
        let fields: Result<Fields<'_>, Stop> = Cursor::at_line(&self.trailer_bytes, 0).fields();
        fields.unwrap_or_default()
    }

    /// Where a byte leads to.
    fn step(&mut self, byte: u8) -> Result<Place, HeadFault> {
        match (self.place, byte) {
            (Place::Size { digits: 1.., size }, b'\r') => Ok(Place::SizeEnd { size }),
            (Place::Size { digits: 1.., size }, b';') => Ok(Place::Extension { size, bytes: 1 }),
            (Place::Size { size, digits }, _) => longer(size, digits, byte),
            (Place::Extension { size, .. }, b'\r') => Ok(Place::SizeEnd { size }),
            (Place::Extension { size, bytes }, _)
                if bytes < EXTENSION_BYTES_MAX && !byte.is_ascii_control() =>
            {
                Ok(Place::Extension { size, bytes: bytes + 1 })
            }
            (Place::SizeEnd { size: 0 }, b'\n') => Ok(Place::TrailerStart),
            (Place::SizeEnd { size }, b'\n') => Ok(Place::Data(size)),
            (Place::DataEnd { has_cr: false }, b'\r') => Ok(Place::DataEnd { has_cr: true }),
            (Place::DataEnd { has_cr: true }, b'\n') => Ok(Place::default()),
            (Place::Extension { .. } | Place::SizeEnd { .. } | Place::DataEnd { .. }, _) => {
                Err(HeadFault::Chunk)
            }
            _ => self.step_in_trailers(byte),
        }
    }

    fn step_in_trailers(&mut self, byte: u8) -> Result<Place, HeadFault> {
        let place = match (self.place, byte) {
            _ if self.trailer_bytes.len() == TRAILER_BYTES_MAX => return Err(HeadFault::Large),
            (Place::TrailerStart, b'\r') => Place::LastEnd,
            (Place::TrailerStart, b' ' | b'\t') => return Err(HeadFault::Folded),
            (Place::TrailerStart, _) if self.trailers == FIELDS_MAX => return Err(HeadFault::Large),
            (Place::TrailerStart, _) if is_token(byte) => {
                self.trailers += 1;
                Place::TrailerName
            }
            (Place::TrailerName, b':') => Place::TrailerValue,
            (Place::TrailerName, _) if is_token(byte) => Place::TrailerName,
            (Place::TrailerStart | Place::TrailerName, _) if byte == b'\r' || !byte.is_ascii_control() => {
                return Err(HeadFault::Name);
            }
            (Place::TrailerValue, b'\r') => Place::TrailerEnd,
            (Place::TrailerValue, _) if is_text(byte) => Place::TrailerValue,
            (Place::TrailerEnd, b'\n') => Place::TrailerStart,
            (Place::LastEnd, b'\n') => Place::Over,
            _ => return Err(HeadFault::Control),
        };
        self.trailer_bytes.push(byte);
        Ok(place)
    }
}

/// A size with one more digit.
fn longer(size: u64, digits: u8, byte: u8) -> Result<Place, HeadFault> {
    let digit = char::from(byte).to_digit(16).filter(|_| digits < SIZE_DIGITS_MAX);
    let size = digit.and_then(|digit| size.checked_mul(16)?.checked_add(digit.into()));
    match size.filter(|size| *size <= BODY_BYTES_MAX) {
        Some(size) => Ok(Place::Size { size, digits: digits + 1 }),
        None => Err(HeadFault::Chunk),
    }
}
