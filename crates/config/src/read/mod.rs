//! From TOML values to the types of the file shapes, noting what does not fit and going on.

mod plain;
mod several;
mod word;

use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Mistake;
use crate::file::{Root, TABLES};
use crate::near::{excerpt, near};
use crate::report::Report;

pub(crate) use plain::{Switch, Whole};
pub(crate) use several::{OneOrMany, OrOff, Tables};
pub(crate) use word::Word;

/// What a file says for one key.
#[derive(Clone, Debug, Default)]
pub(crate) enum Field<T> {
    /// Nothing.
    #[default]
    Absent,
    /// Something wrong, which is noted: nothing more should be said about it.
    Struck,
    /// A value and its bytes in the text.
    Given(T, Range<usize>),
}

impl<T> Field<T> {
    /// The value, if it was given.
    pub(crate) fn given(self) -> Option<T> {
        match self {
            Self::Given(value, _) => Some(value),
            Self::Absent | Self::Struck => None,
        }
    }

    /// Takes it out of its table, in which nothing is left.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Absent)
    }

    /// Its bytes, if it was given.
    pub(crate) fn span(&self) -> Option<Range<usize>> {
        match self {
            Self::Given(_, span) => Some(span.clone()),
            Self::Absent | Self::Struck => None,
        }
    }

    /// Whether the key is not in the file.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A key as it is written: Rust has words of its own that are marked where they are names.
pub(crate) const fn key(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// A type that a value of the file can become.
pub(crate) trait Read: Sized {
    /// What to write, for messages: `a duration such as "30s"`.
    fn expected() -> String;

    /// Whether the TOML type is right.
    fn accepts(value: &DeValue<'_>) -> bool;

    /// What to say about a value of the wrong TOML type.
    fn hint(_key: &str, _value: &DeValue<'_>) -> Option<String> {
        None
    }

    /// The value, which is of a right TOML type; `None` once what is wrong has been noted.
    fn convert(key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self>;
}

/// Reads one value; `None` once what is wrong has been noted.
pub(crate) fn read<T: Read>(
    key: &'static str,
    value: Spanned<DeValue<'_>>,
    report: &mut Report,
) -> Option<T> {
    let span = value.span();
    // What the recovering parser puts where a value could not be read.
    if report.is_full() || (report.is_torn() && span == (0..0)) {
        return None;
    }
    if T::accepts(value.get_ref()) {
        return T::convert(key, value, report);
    }
    let message = format!("`{key}` takes {}, not {}", T::expected(), found(value.get_ref()));
    let mistake = Mistake::at(span, message);
    report.push(match T::hint(key, value.get_ref()) {
        Some(hint) => mistake.hint(hint),
        None => mistake,
    });
    None
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A table of the file.
pub(crate) trait Shape: Sized {
    /// How it is written: `[[pool]]`.
    const TITLE: &'static str;
    /// Its keys.
    const KEYS: &'static [&'static str];

    /// Takes its keys out of a table.
    fn take(table: &mut Keys<'_>, report: &mut Report) -> Self;

    /// The keys that were given, each with the bytes of its value.
    fn spans(&self) -> Vec<(&'static str, Range<usize>)>;

    /// Reads it. An unknown key that is nearly a known one stands for it: that is not also said to be absent.
    fn from_table(table: DeTable<'_>, report: &mut Report) -> Self {
        let mut keys = Keys { table, struck: Vec::new() };
        for key in keys.table.keys() {
            let word = key.get_ref();
            if Self::KEYS.contains(&word.as_ref()) {
                continue;
            }
            if report.is_full() {
                break;
            }
            // What is a key of another table is not a slip of the fingers.
            let near = match home(word) {
                Some(_) => None,
                None => near(word, Self::KEYS.iter().copied()),
            };
            keys.struck.extend(near);
            let mistake = Mistake::at(key.span(), format!("unknown key `{}`", excerpt(word)));
            report.push(mistake.hint(unknown_key_hint::<Self>(word, near)));
        }
        Self::take(&mut keys, report)
    }
}

fn unknown_key_hint<S: Shape>(key: &str, near_here: Option<&str>) -> String {
    if let Some(near) = near_here {
        return format!("did you mean `{near}`?");
    }
    let elsewhere = near(key, TABLES.iter().flat_map(|(_, keys)| keys.iter().copied()));
    match elsewhere.and_then(|near| Some((near, home(near)?))) {
        Some((near, Root::TITLE)) => format!("`{near}` belongs at the top, before the first header"),
        Some((near, title)) => format!("`{near}` belongs in {title}"),
        None => format!("the keys of {} are {}", S::TITLE, S::KEYS.join(", ")),
    }
}

/// The table that has a key, if it is the only one.
fn home(key: &str) -> Option<&'static str> {
    let mut homes = TABLES.iter().filter(|(_, keys)| keys.contains(&key)).map(|(title, _)| *title);
    homes.next().filter(|_| homes.next().is_none())
}

/// A table from which keys are taken.
pub(crate) struct Keys<'i> {
    table: DeTable<'i>,
    /// Known keys that others seem to be meant for.
    struck: Vec<&'static str>,
}

impl Keys<'_> {
    /// Takes a key out.
    pub(crate) fn take<T: Read>(&mut self, key: &'static str, report: &mut Report) -> Field<T> {
        let Some(value) = self.table.remove(key) else {
            return if self.struck.contains(&key) { Field::Struck } else { Field::Absent };
        };
        let span = value.span();
        match read(key, value, report) {
            Some(value) => Field::Given(value, span),
            None => Field::Struck,
        }
    }
}
