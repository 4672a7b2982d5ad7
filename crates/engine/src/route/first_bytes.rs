//! Routes by the first bytes of a client.

use towpath_config::Match;
use towpath_wire::sniff::Sniffed;

/// Whether a route is for a client whose first bytes are `sniffed`; of one that has not sent enough in time, that is
/// [`Sniffed::Incomplete`].
pub(crate) fn matches(wanted: &Match, sniffed: &Sniffed) -> bool {
    match (wanted, sniffed) {
        (Match::TlsSni { names, alpn }, Sniffed::Tls(hello)) => {
            let name = hello.server_name.as_deref();
            let has_name = names.is_empty() || name.is_some_and(|name| names.iter().any(|one| one.has(name)));
            let offers = |wanted: &String| hello.alpn.iter().any(|one| one == wanted.as_bytes());
            has_name && (alpn.is_empty() || alpn.iter().any(offers))
        }
        (Match::HttpHost { names }, Sniffed::Http(host)) => {
            names.is_empty() || host.as_ref().is_some_and(|host| names.iter().any(|one| one.has(host)))
        }
        (Match::Ssh, Sniffed::Ssh)
        | (Match::Postgres, Sniffed::Postgres)
        | (Match::Socks, Sniffed::Socks)
        | (Match::Any, _) => true,
        _ => false,
    }
}
