//! Values in several forms: a value or `"off"`, one value or an array, tables with double brackets.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::{Read, Shape, read};
use crate::report::Report;

/// `"off"`, or a value.
#[derive(Clone, Debug)]
pub(crate) enum OrOff<T> {
    /// `"off"`.
    Off,
    /// A value.
    On(T),
}

impl<T: Read> Read for OrOff<T> {
    fn expected() -> String {
        format!("{} or \"off\"", T::expected())
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.as_str() == Some("off") || T::accepts(value)
    }

    fn hint(key: &str, value: &DeValue<'_>) -> Option<String> {
        match value.as_bool() {
            Some(false) => Some("write \"off\"".to_owned()),
            Some(true) => Some(format!("for the default leave `{key}` out")),
            None => T::hint(key, value),
        }
    }

    fn convert(key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        match value.get_ref().as_str() {
            Some("off") => Some(Self::Off),
            _ => T::convert(key, value, report).map(Self::On),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_off", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": "off" }, value] })
    }
}

/// One value, or an array of them; each with its bytes in the text.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T> {
    /// Those that could be read.
    pub(crate) items: Vec<(T, Range<usize>)>,
    /// Whether the file has others, which could not.
    pub(crate) struck: bool,
}

impl<T: Read> Read for OneOrMany<T> {
    fn expected() -> String {
        format!("{} or an array of such", T::expected())
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_array() || T::accepts(value)
    }

    fn hint(key: &str, value: &DeValue<'_>) -> Option<String> {
        T::hint(key, value)
    }

    fn convert(key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        Some(match value.get_ref() {
            DeValue::Array(_) => each(key, value, report),
            _ => {
                let span = value.span();
                let items = T::convert(key, value, report).map(|item| (item, span));
                Self { struck: items.is_none(), items: items.into_iter().collect() }
            }
        })
    }
}

/// The items of an array that can be read.
fn each<T: Read>(key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> OneOrMany<T> {
    let DeValue::Array(array) = value.into_inner() else {
        return OneOrMany { items: Vec::new(), struck: true };
    };
    let mut all = OneOrMany { items: Vec::with_capacity(array.len()), struck: false };
    for item in array {
        let span = item.span();
        match read(key, item, report) {
            Some(item) => all.items.push((item, span)),
            None => all.struck = true,
        }
    }
    all
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("one_or_many_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [item, { "type": "array", "items": item }] })
    }
}

/// Tables that are written `[[KEY]]`.
#[derive(Clone, Debug)]
pub(crate) struct Tables<T>(pub(crate) OneOrMany<T>);

impl<T: Shape + Read> Read for Tables<T> {
    fn expected() -> String {
        format!("an array of {} tables", T::TITLE)
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_array()
    }

    fn hint(_key: &str, value: &DeValue<'_>) -> Option<String> {
        Some(match value {
            DeValue::Table(_) => format!("write {} with two brackets: there may be several", T::TITLE),
            _ => format!("begin each with a line {}", T::TITLE),
        })
    }

    fn convert(key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        Some(Self(each(key, value, report)))
    }
}

impl<T: JsonSchema> JsonSchema for Tables<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("tables_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "items": item, "minItems": 1 })
    }
}
