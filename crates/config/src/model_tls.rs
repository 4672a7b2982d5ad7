//! The checked configuration of TLS: what the files hold, not where they are.

use std::path::PathBuf;

use crate::secret::Secret;

/// TLS to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// At least one; the first is for clients that ask for no name of another.
    pub identities: Vec<Identity>,
    /// Clients have to show a certificate of one of these authorities.
    pub client_ca: Option<Pem>,
    /// Whether version 1.2 is spoken beside 1.3.
    pub v1_2: bool,
    /// The protocols that are offered, the best first; empty leaves them to the mode.
    pub alpn: Vec<String>,
}

/// TLS to backends or to a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The name that the certificate must have; `None` is that of the address.
    pub server_name: Option<String>,
    /// The authorities that are trusted; `None` is those of the system.
    pub ca: Option<Pem>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// What to show.
    pub identity: Option<Identity>,
    /// The protocols to offer, the best first.
    pub alpn: Vec<String>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and its chain.
    pub cert: Pem,
    /// The key.
    pub key: Pem,
}

/// The content of a file of certificates or keys, and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    /// The file.
    pub path: PathBuf,
    /// What it held.
    pub text: Secret,
}
