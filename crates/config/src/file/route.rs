//! The shape of a route of a listener that tells protocols apart.

use schemars::JsonSchema;
use toml::Spanned;
use toml::de::DeValue;

use super::shape::shape;
use crate::read::{Field, Keys, OneOrMany, Read, Shape};
use crate::report::Report;
use crate::words::{MatchWord, Name, NamePattern, Text};

shape! {
    /// Where clients of one kind go.
    #[schemars(extend("required" = ["match", "pool"]))]
    Route, "a route",
    /// By what their first bytes are: TLS with one of the names, HTTP for one of the hosts, or another protocol; `any` is
    /// for all that is left, and for those who wait for the server to speak first.
    r#match: MatchWord,
    /// Matches tls_sni and http_host: the names, each `a.example` or `*.example`; without it any.
    name: OneOrMany<NamePattern>,
    /// Match tls_sni: only clients that offer one of these protocols (ALPN).
    alpn: OneOrMany<Text>,
    /// The name of the pool where they go.
    pool: Name,
}
