//! Switches and numbers.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::Read;
use crate::error::Mistake;
use crate::near::excerpt;
use crate::report::Report;

/// `true` or `false`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch(pub(crate) bool);

impl Read for Switch {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_bool()
    }

    fn hint(_key: &str, value: &DeValue<'_>) -> Option<String> {
        if let Some(number) = value.as_integer() {
            return match number.as_str() {
                "1" => Some("write true".to_owned()),
                "0" => Some("write false".to_owned()),
                _ => None,
            };
        }
        match value.as_str()? {
            "on" | "yes" | "true" => Some("write true, without quotes".to_owned()),
            "off" | "no" | "false" => Some("write false, without quotes".to_owned()),
            _ => None,
        }
    }

    fn convert(_key: &'static str, value: Spanned<DeValue<'_>>, _report: &mut Report) -> Option<Self> {
        value.get_ref().as_bool().map(Self)
    }
}

impl JsonSchema for Switch {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Switch".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Whole<MIN, MAX> {
    /// The number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32> Read for Whole<MIN, MAX> {
    fn expected() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_integer()
    }

    fn hint(_key: &str, value: &DeValue<'_>) -> Option<String> {
        let number: u32 = value.as_str()?.parse().ok()?;
        Some(format!("write {number}, without quotes"))
    }

    fn convert(key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        let written = value.get_ref().as_integer()?;
        let number = u32::from_str_radix(written.as_str(), written.radix());
        if let Ok(number) = number
            && (MIN..=MAX).contains(&number)
        {
            return Some(Self(number));
        }
        let message = format!("`{key}` is {}, outside {MIN} to {MAX}", excerpt(&written.to_string()));
        let hint = if written.as_str().starts_with('-') || number.is_ok_and(|number| number < MIN) {
            format!("give at least {MIN}, or leave `{key}` out")
        } else {
            format!("give at most {MAX}")
        };
        report.push(Mistake::at(value.span(), message).hint(hint));
        None
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Whole_{MIN}_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}
