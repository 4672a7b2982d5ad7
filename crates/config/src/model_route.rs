//! The checked configuration of routes: which clients of a listener go where.

use std::sync::Arc;

use crate::model::Pool;

/// Where clients of one kind go.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Who they are.
    pub matches: Match,
    /// Where they go.
    pub pool: Arc<Pool>,
}

/// What is told by the first bytes of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// TLS.
    TlsSni {
        /// For one of these names; empty is any, or none.
        names: Vec<HostPattern>,
        /// Offering one of these protocols; empty is any, or none.
        alpn: Vec<String>,
    },
    /// HTTP.
    HttpHost {
        /// For one of these hosts; empty is any, or none.
        names: Vec<HostPattern>,
    },
    /// SSH.
    Ssh,
    /// PostgreSQL.
    Postgres,
    /// SOCKS 4 or 5.
    Socks,
    /// All that is left.
    Any,
}

/// One name, or all below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This name, in lower case.
    Exact(String),
    /// All names that end in this, which begins with a dot.
    Below(String),
}

impl HostPattern {
    /// Whether a name, in lower case, is meant.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Exact(wanted) => name == wanted,
            Self::Below(end) => name.ends_with(end.as_str()),
        }
    }
}
