//! The shape of a check.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::shape::{either, shape};
use crate::error::Mistake;
use crate::near::excerpt;
use crate::read::{Field, Keys, OneOrMany, Read, Shape, Whole};
use crate::report::Report;
use crate::words::{Escaped, Hidden, KindWord, RoleWord, Text, Timespan};

shape! {
    /// How backends are looked after.
    #[schemars(extend("required" = ["kind"]))]
    CheckTable, "check",
    /// What is asked.
    kind: KindWord,
    /// Time between checks of a backend that is up.
    interval: Timespan = "2s",
    /// Time between checks of one that is down; without it the interval, at most a second.
    down_interval: Timespan,
    /// How long one check may take.
    timeout: Timespan = "2s",
    /// So many good checks in a row bring a backend up.
    rise: Whole<1, 1000> = 2,
    /// So many bad checks in a row take it down.
    fall: Whole<1, 1000> = 3,
    /// Port to ask in place of the backend's own.
    port: Whole<1, 65_535>,
    /// Kind tls: the server name (SNI).
    server_name: Text,
    /// Kind http: path and query.
    path: Text = "/",
    /// Kind http: the Host field; without it the backend's address.
    host: Text,
    /// Kind http: status codes that are good, as in 200 or "200-299", or several.
    status: OneOrMany<Status> = "200-399",
    /// Kind http: text that the body must contain.
    body: Text,
    /// Kind exchange: what is sent first; \\r, \\n, \\t, \\0, \\\\ and \\xNN stand for bytes.
    send: Escaped,
    /// Kind exchange: what must come.
    expect: Escaped,
    /// Kind postgres: "primary" is good only where writes are; kind redis: "master" likewise.
    role: RoleWord = "any",
    /// Kind postgres: who asks.
    user: Text = "postgres",
    /// Kind postgres: the database.
    database: Text = "postgres",
    /// Kinds postgres and redis: for servers that want one.
    password: Hidden,
    /// Kind command: the program and its arguments.
    command: OneOrMany<Text>,
}

/// A kind alone, or a table.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, while a file is read")]
pub(crate) enum Check {
    /// `"tcp"`.
    Kind(KindWord),
    /// `{ kind = "http", path = "/health" }`.
    Table(CheckTable),
}

either! { Check, "a kind of check or a table with one", Kind(KindWord), Table(CheckTable) }

/// Status codes of HTTP: both ends are in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status(pub(crate) u16, pub(crate) u16);

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
        let (first, last) = (code(first)?, code(last)?);
        (first <= last).then_some(Self(first, last))
    }
}

impl Read for Status {
    fn expected() -> String {
        "a status code or a range of them".to_owned()
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_integer() || value.is_str()
    }

    fn convert(_key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.as_str(),
            DeValue::String(text) => text,
            _ => return None,
        };
        let status = Self::parse(text);
        if status.is_none() {
            let message = format!("`{}` is no range of status codes", excerpt(text));
            report
                .push(Mistake::at(value.span(), message).hint("write 200 or \"200-299\", within 100 to 599"));
        }
        status
    }
}

impl JsonSchema for Status {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$" },
        ] })
    }
}
