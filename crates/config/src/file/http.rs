//! The shapes of HTTP: how listeners take requests, what holds for them, and how pools send them.

use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::Status;
use super::shape::shape;
use crate::error::Mistake;
use crate::read::{Field, Keys, OneOrMany, OrOff, Read, Shape, Switch, Whole, Word};
use crate::report::Report;
use crate::words::{
    Bytes, CodingWord, CookieName, EditName, FieldName, FieldValue, FilePath, ForwardedWord, HeadBytes,
    HttpVersionWord, Name, NewPathWord, PathWord, Rate, RecordWord, RegexWord, ReplayBytes, SignSecret, Text,
    Timespan, UserWord,
};

shape! {
    /// How a listener takes requests.
    HttpIn, "[[listener]]",
    /// Mode http: how long a client may stay between two requests.
    keepalive_timeout: Timespan = "60s",
    /// Mode http: the longest head of a request, from 1KiB to 16KiB.
    header_max: HeadBytes = "16KiB",
    /// Mode http: the fields that tell backends of the client: those of X-Forwarded-*, Forwarded (RFC 7239), both or none.
    forwarded_fields: ForwardedWord = "x_forwarded",
    /// Mode http: the name of a field with an id of each request, which is passed on or made.
    request_id: OrOff<EditName> = "off",
    /// Mode http: whether the W3C field traceparent is passed on with a new parent id, or made.
    trace: Switch = false,
    /// Mode http: the form of the records of requests.
    record_format: RecordWord = "own",
}

shape! {
    /// What holds for requests: of a listener, or of a route in place of what its listener says.
    Rules, "a route",
    /// Mode http: this prefix is taken off paths.
    strip_prefix: PathWord,
    /// Mode http: a prefix of paths becomes another.
    replace_prefix: ReplacePrefix,
    /// Mode http: the first match of an expression in paths becomes a text.
    replace_regex: ReplaceRegex,
    /// Mode http: what is done to the fields of requests; a listener's come before those of a route.
    request_fields: Edits,
    /// Mode http: what is done to the fields of answers; a listener's come before those of a route.
    response_fields: Edits,
    /// Mode http: the name of a pool that gets copies of requests; its answers are dropped.
    mirror: Name,
    /// Modes proxy and http: users, each `NAME:PASSWORD`.
    users: OneOrMany<UserWord>,
    /// Modes proxy and http: a file of users, each `NAME:HASH` as `towpath passwd` makes it (bcrypt or argon2).
    auth_file: FilePath,
    /// Mode http: requests of one client address in a time, as in `10/s`; more get 429.
    rate: OrOff<Rate>,
    /// Mode http: how many of them may come at once; without it those of a second, at least one.
    burst: Whole<1, 1_000_000_000>,
    /// Mode http: the longest body of a request; without it no limit.
    body_max: OrOff<Bytes>,
    /// Mode http: how long a body may pause, either way.
    body_timeout: Timespan = "60s",
    /// Mode http: how long the head of an answer may take, once the request is sent.
    answer_timeout: Timespan = "60s",
    /// Mode http: how long a request may take in all.
    request_timeout: OrOff<Timespan> = "off",
    /// Mode http: codings in which answers may be compressed, the preferred first; true for zstd, br and gzip.
    compress: Compress = false,
}

shape! {
    /// A prefix that becomes another.
    #[schemars(extend("required" = ["from", "to"]))]
    ReplacePrefix, "replace_prefix",
    /// What paths begin with.
    from: PathWord,
    /// What they begin with then.
    to: NewPathWord,
}

shape! {
    /// A text in place of what an expression finds.
    #[schemars(extend("required" = ["from", "to"]))]
    ReplaceRegex, "replace_regex",
    /// The expression.
    from: RegexWord,
    /// The text, in which `$1`, `${1}` or `${name}` stand for groups.
    to: Text,
}

shape! {
    /// What is done to fields: removed, then set, then added.
    Edits, "a table of fields",
    /// Fields that have these values, whatever they had before. In values `{client}`, `{host}`, `{path}`, `{scheme}` and
    /// `{request_id}` stand for those of the request.
    set: FieldMap,
    /// Fields that have these values too.
    add: FieldMap,
    /// Fields that are taken out.
    remove: OneOrMany<EditName>,
}

shape! {
    /// A field that requests must have.
    #[schemars(extend("required" = ["name"]))]
    FieldTest, "a field",
    /// Its name.
    name: FieldName,
    /// An expression that finds something in its value; without it any value will do.
    value: RegexWord,
}

shape! {
    /// A pool and its share.
    #[schemars(extend("required" = ["pool"]))]
    Split, "a split",
    /// The name of the pool.
    pool: Name,
    /// Its share beside the others; 0 is none.
    weight: Whole<0, 1_000_000> = 1,
}

shape! {
    /// How a pool sends requests.
    HttpOut, "[[pool]]",
    /// Mode http: what its backends speak; 2 is HTTP/2, over TLS or with prior knowledge.
    http_version: HttpVersionWord = "1.1",
    /// Mode http: idle connections that each worker keeps to each backend.
    idle_connections: Whole<0, 10_000> = 64,
    /// Mode http: how long each of them is kept.
    idle_connection_timeout: Timespan = "50s",
    /// Mode http: connections that each worker has ready to each backend before there is a request for them.
    warm_connections: Whole<0, 1000> = 0,
    /// Mode http: attempts beside the first.
    retries: Whole<0, 20> = 3,
    /// Mode http: answers that are asked for again at another backend, as in 503 or \"500-599\", or several.
    retry_on: OneOrMany<Status>,
    /// Mode http: no more retries than so many percent of the requests.
    retry_budget: Whole<0, 100> = 20,
    /// Mode http: bodies up to this size are kept to be sent again, at most 16MiB.
    replay_body: ReplayBytes = "64KiB",
    /// Mode http: a cookie that brings a client back to its backend.
    sticky: Sticky,
}

shape! {
    /// A cookie that brings a client back to its backend.
    #[schemars(extend("required" = ["cookie"]))]
    Sticky, "sticky",
    /// Its name.
    cookie: CookieName,
    /// What it is signed with, at least 16 bytes.
    secret: SignSecret,
    /// A file whose first line is the secret.
    secret_file: FilePath,
    /// How long a browser keeps it; without it until it ends.
    max_age: Timespan,
}

/// Names of fields and their values, in the order of the text, each with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct FieldMap(pub(crate) Vec<(EditName, FieldValue, Range<usize>)>);

impl Read for FieldMap {
    fn expected() -> String {
        "a table of fields and their values".to_owned()
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_table()
    }

    fn hint(key: &str, _value: &DeValue<'_>) -> Option<String> {
        Some(format!("write {key} = {{ \"x-name\" = \"value\" }}"))
    }

    fn convert(_key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        let DeValue::Table(table) = value.into_inner() else { return None };
        let mut fields: Vec<(EditName, FieldValue, Range<usize>)> = Vec::with_capacity(table.len());
        for (key, value) in table {
            let name = match EditName::from_word(key.get_ref()) {
                Ok(name) => name,
                Err(bad) => {
                    report.push(Mistake::at(key.span(), bad.message).hint(bad.hint));
                    continue;
                }
            };
            if let Some((_, _, first)) = fields.iter().find(|(other, ..)| other.0 == name.0) {
                let mistake = Mistake::at(key.span(), format!("`{}` is here twice", name.0));
                report.push(
                    mistake.also(first.clone(), "the first one").hint("upper and lower case are the same"),
                );
            }
            if let Some(value) = crate::read::read("a field", value, report) {
                fields.push((name, value, key.span()));
            }
        }
        fields.sort_by_key(|(.., span)| span.start);
        Some(Self(fields))
    }
}

impl JsonSchema for FieldMap {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FieldMap".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<FieldValue>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// Codings, or whether there are any.
#[derive(Clone, Debug)]
pub(crate) enum Compress {
    /// `true`.
    Whether(Switch),
    /// `["zstd", "gzip"]`.
    With(OneOrMany<CodingWord>),
}

impl Read for Compress {
    fn expected() -> String {
        format!("true, false, {}", OneOrMany::<CodingWord>::expected())
    }

    fn accepts(value: &DeValue<'_>) -> bool {
        value.is_bool() || OneOrMany::<CodingWord>::accepts(value)
    }

    fn convert(key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(_) => Switch::convert(key, value, report).map(Self::Whether),
            _ => OneOrMany::convert(key, value, report).map(Self::With),
        }
    }
}

impl JsonSchema for Compress {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Compress".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let words = generator.subschema_for::<OneOrMany<CodingWord>>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, words] })
    }
}
