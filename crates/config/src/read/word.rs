//! Values that are written as strings.

use toml::Spanned;
use toml::de::DeValue;

use super::Read;
use crate::error::Mistake;
use crate::report::Report;
use crate::units::Bad;

/// A type that is written as a string.
pub(crate) trait Word: Sized {
    /// What to write, for messages: `a duration such as "30s"`.
    const EXPECTED: &'static str;

    /// Understands the string.
    fn from_word(text: &str) -> Result<Self, Bad>;

    /// What to say about a value that is no string.
    fn hint(_value: &DeValue<'_>) -> Option<String> {
        None
    }
}

impl<W: Word> Read for W {
    fn expected() -> String {
        W::EXPECTED.to_owned()
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_str()
    }

    fn hint(_key: &str, value: &DeValue<'_>) -> Option<String> {
        W::hint(value)
    }

    fn convert(_key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        let bad = match W::from_word(value.get_ref().as_str()?) {
            Ok(word) => return Some(word),
            Err(bad) => bad,
        };
        report.push(Mistake::at(value.span(), bad.message).hint(bad.hint));
        None
    }
}
