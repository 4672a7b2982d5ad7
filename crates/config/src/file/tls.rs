//! The shapes of TLS, to clients and to backends.

use schemars::JsonSchema;
use toml::Spanned;
use toml::de::DeValue;

use super::shape::shape;
use crate::read::{Field, Keys, OneOrMany, Read, Shape, Switch};
use crate::report::Report;
use crate::words::{FilePath, Text, VersionWord};

shape! {
    /// TLS to clients.
    #[schemars(extend("required" = ["cert", "key"]))]
    ServerTls, "tls of a listener",
    /// Files of certificates (PEM), each with its chain; the server name that a client asks for chooses, the first is for the
    /// rest.
    cert: OneOrMany<FilePath>,
    /// The files of their keys, in the same order.
    key: OneOrMany<FilePath>,
    /// Clients have to show a certificate of one of these authorities (PEM).
    client_ca: FilePath,
    /// The oldest version that is spoken.
    min_version: VersionWord = "1.2",
    /// The protocols that are offered (ALPN), the best first.
    alpn: OneOrMany<Text>,
}

shape! {
    /// TLS to backends.
    ClientTls, "tls of a pool",
    /// The name that their certificates must have, and that they are asked for (SNI); without it that of the address.
    server_name: Text,
    /// The authorities that are trusted (PEM); without it those of the system.
    ca: FilePath,
    /// Whether any certificate will do, so that anybody on the way can read along.
    insecure: Switch = false,
    /// The certificate to show (PEM).
    cert: FilePath,
    /// The file of its key.
    key: FilePath,
    /// The protocols to offer (ALPN), the best first.
    alpn: OneOrMany<Text>,
}
