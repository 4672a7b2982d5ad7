//! The shape of a route of a listener: of its clients by their first bytes, or of its requests.

use schemars::JsonSchema;
use toml::Spanned;
use toml::de::DeValue;

use super::shape::shape;
use super::{FieldTest, Rules, Split};
use crate::read::{Field, Keys, OneOrMany, Read, Shape, Switch, Whole};
use crate::report::Report;
use crate::words::{
    AnswerText, FieldValue, MatchWord, MethodWord, Name, NamePattern, Network, PathWord, RedirectWord,
    RegexWord, Text,
};

shape! {
    /// What becomes of clients, or of requests, of one kind.
    Route, "a route",
    /// Mode tcp, required: what their first bytes are: TLS with one of the names, HTTP for one of the hosts, or another
    /// protocol; `any` is for all that is left, and for those who wait for the server to speak first.
    r#match: MatchWord,
    /// Matches tls_sni and http_host: the names, each `a.example` or `*.example`; without it any.
    name: OneOrMany<NamePattern>,
    /// Match tls_sni: only clients that offer one of these protocols (ALPN).
    alpn: OneOrMany<Text>,
    /// Mode http: only requests for one of these hosts, each `a.example` or `*.example`.
    host: OneOrMany<NamePattern>,
    /// Mode http: only requests for this path.
    path: PathWord,
    /// Mode http: only requests for this path and those below it.
    path_prefix: PathWord,
    /// Mode http: only requests in whose path this expression finds something.
    path_regex: RegexWord,
    /// Mode http: only requests with one of these methods.
    method: OneOrMany<MethodWord>,
    /// Mode http: only requests that have all of these fields.
    field: OneOrMany<FieldTest>,
    /// The name of the pool where they go.
    pool: Name,
    /// Mode http: pools where they go by lot, each with a weight.
    split: OneOrMany<Split>,
    /// Mode http: where their clients are sent; `{scheme}`, `{host}`, `{path}` and `{query}` stand for those of the request.
    redirect: RedirectWord,
    /// Mode http: the body with which they are answered.
    answer: AnswerText,
    /// Mode http: the status of `redirect`, 302 unless given, or of `answer`, 200 unless given.
    status: Whole<200, 599>,
    /// Mode http: what the body of `answer` is.
    content_type: FieldValue = "text/plain; charset=utf-8",
    /// Mode http: clients that may ask, networks or addresses; without it all.
    allow: OneOrMany<Network>,
    /// Mode http: clients that may not, be they in `allow` too.
    deny: OneOrMany<Network>,
    /// Mode http: whether anybody may ask, although the listener has users.
    open: Switch = false,
    .. rules: Rules,
}
