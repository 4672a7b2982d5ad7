//! What both kinds of heads are made of: characters, lines and fields (RFC 9112, sections 2.2 and 5).

use super::{FIELDS_MAX, HEAD_BYTES_MAX, HeadFault, LINE_BYTES_MAX};

/// Why reading stops before the end of a head.
pub(super) enum Stop {
    /// The rest has not come.
    Incomplete,
    /// It is none.
    Fault(HeadFault),
}

impl Stop {
    /// What it comes to for a caller.
    pub(super) fn told<T>(self) -> Result<Option<T>, HeadFault> {
        match self {
            Self::Incomplete => Ok(None),
            Self::Fault(fault) => Err(fault),
        }
    }
}

/// Names and values, in their order.
pub(super) type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

/// So many fields most heads have room for.
const FIELDS_COMMON: usize = 16;

/// A place in a head.
pub(super) struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
    /// Where it has to have ended.
    limit: usize,
    /// What it is when it has not.
    too_long: HeadFault,
}

impl<'a> Cursor<'a> {
    /// At the first line, which begins at `start`.
    pub(super) fn at_line(input: &'a [u8], start: usize) -> Self {
        Self { input, at: start, limit: start + LINE_BYTES_MAX, too_long: HeadFault::LongLine }
    }

    /// How many bytes have been read.
    pub(super) fn length(&self) -> usize {
        self.at
    }

    /// The next byte, which stays.
    pub(super) fn peek(&self) -> Result<u8, Stop> {
        match self.input.get(self.at) {
            Some(byte) if self.at < self.limit => Ok(*byte),
            _ => Err(self.out()),
        }
    }

    /// Takes one byte that must be there.
    pub(super) fn expect(&mut self, wanted: u8, otherwise: HeadFault) -> Result<(), Stop> {
        match self.peek()? {
            byte if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            byte => Err(odd(byte, otherwise)),
        }
    }

    /// Takes one digit.
    pub(super) fn digit(&mut self) -> Result<u8, Stop> {
        match self.peek()? {
            byte @ b'0'..=b'9' => {
                self.at += 1;
                Ok(byte - b'0')
            }
            byte => Err(odd(byte, HeadFault::Line)),
        }
    }

    /// Takes the bytes that belong together, up to one that is there and does not.
    pub(super) fn run(&mut self, belongs: impl Fn(u8) -> bool) -> Result<&'a [u8], Stop> {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !belongs(*byte)).ok_or_else(|| self.out())?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// Takes text, up to a byte that is there and is none.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Stop> {
        let rest = self.rest();
        // Up to a tab, or else to all but the end of it.
        let plain = plain_length(rest);
        let end = rest[plain..].iter().position(|byte| !is_text(*byte)).ok_or_else(|| self.out())?;
        self.at += plain + end;
        Ok(&rest[..plain + end])
    }

    /// Takes a word of ASCII, which `belongs` must not go beyond, and which is not empty.
    pub(super) fn word(
        &mut self,
        belongs: impl Fn(u8) -> bool,
        otherwise: HeadFault,
    ) -> Result<&'a str, Stop> {
        let word = self.run(belongs)?;
        match std::str::from_utf8(word) {
            Ok(word) if !word.is_empty() => Ok(word),
            _ => Err(odd(self.peek()?, otherwise)),
        }
    }

    /// Takes the end of a line; `otherwise` it goes on with a character that it cannot have.
    pub(super) fn line_end(&mut self, otherwise: HeadFault) -> Result<(), Stop> {
        self.expect(b'\r', otherwise)?;
        self.expect(b'\n', HeadFault::Control)
    }

    /// Takes the fields, which begin here, and the empty line behind them.
    pub(super) fn fields(&mut self) -> Result<Fields<'a>, Stop> {
        (self.limit, self.too_long) = (HEAD_BYTES_MAX, HeadFault::Large);
        let mut fields = Vec::with_capacity(FIELDS_COMMON);
        loop {
            match self.peek()? {
                b'\r' => {
                    self.line_end(HeadFault::Control)?;
                    return Ok(fields);
                }
                b' ' | b'\t' => return Err(Stop::Fault(HeadFault::Folded)),
                _ if fields.len() == FIELDS_MAX => return Err(Stop::Fault(HeadFault::Large)),
                _ => fields.push(self.field()?),
            }
        }
    }

    fn field(&mut self) -> Result<(&'a [u8], &'a [u8]), Stop> {
        let name = self.run(is_token)?;
        if name.is_empty() {
            return Err(odd(self.peek()?, HeadFault::Name));
        }
        self.expect(b':', HeadFault::Name)?;
        let value = self.text()?;
        self.line_end(HeadFault::Control)?;
        Ok((name, value.trim_ascii()))
    }

    /// What is left of the input, as far as this line or head may go.
    fn rest(&self) -> &'a [u8] {
        &self.input[self.at..self.input.len().min(self.limit)]
    }

    fn out(&self) -> Stop {
        if self.input.len() < self.limit { Stop::Incomplete } else { Stop::Fault(self.too_long) }
    }
}

/// The values of the fields of a name, whose case does not matter.
pub(super) fn named<'a>(fields: &[(&[u8], &'a [u8])], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let fields = fields.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
    fields.map(|(_, value)| *value)
}

/// Whether the fields of a name have this word among those that commas part; no case matters.
pub(super) fn has_word(fields: &[(&[u8], &[u8])], name: &str, word: &str) -> bool {
    named(fields, name).any(|value| words(value).any(|one| one.eq_ignore_ascii_case(word.as_bytes())))
}

/// The words of a value, between its commas.
pub fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// A byte that does not belong where it stands.
fn odd(byte: u8, otherwise: HeadFault) -> Stop {
    // A line that ends early is short, and not written with the wrong characters.
    let is_control = byte != b'\r' && byte.is_ascii_control();
    Stop::Fault(if is_control { HeadFault::Control } else { otherwise })
}

/// Whether a byte may be in a method or in the name of a field (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    TOKENS[usize::from(byte)]
}

/// By byte, since each name asks for each of its bytes.
static TOKENS: [bool; 256] = {
    let mut tokens = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        tokens[byte as usize] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut place = 0;
    while place < marks.len() {
        tokens[marks[place] as usize] = true;
        place += 1;
    }
    tokens
};

/// How many bytes there are in front of the first control character; without one, in front of what is left behind the last
/// eight. Eight are looked at together, as values are most of what a head has.
fn plain_length(bytes: &[u8]) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let (parts, _) = bytes.as_chunks();
    for (place, part) in parts.iter().enumerate() {
        let part = u64::from_le_bytes(*part);
        let not_del = part ^ (EACH * 0x7f);
        // The first byte whose highest bit is set here is one; those behind it may borrow from it.
        let found = (part.wrapping_sub(EACH * 0x20) & !part) | (not_del.wrapping_sub(EACH) & !not_del);
        let found = found & (EACH * 0x80);
        if found != 0 {
            return place * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    parts.len() * 8
}

/// Whether a byte may be in the value of a field (RFC 9110, section 5.5).
pub(super) fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}
