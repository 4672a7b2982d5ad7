//! TLS to clients: certificates by server name, and handshakes.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};
use towpath_config::{Mode, ServerTls};

use super::{TlsError, certificates, pair_error, private_key, roots};
use crate::stream::Stream;

/// What handshakes with the clients of a listener need.
#[derive(Clone)]
pub struct TlsIn {
    config: Arc<ServerConfig>,
    identities: Arc<ByName>,
}

impl fmt::Debug for TlsIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIn")
    }
}

/// A stream within TLS, and what its handshake settled.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    /// The server name that the client asked for.
    pub(crate) server_name: Option<String>,
    /// The protocol that was chosen (ALPN).
    pub(crate) alpn: Option<Vec<u8>>,
}

impl TlsIn {
    /// From the files of a listener of this mode.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(config: &ServerTls, mode: Mode) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut by_name = HashMap::new();
        let mut first = None;
        for identity in &config.identities {
            let chain = certificates(&identity.cert)?;
            let key = CertifiedKey::from_der(chain, private_key(&identity.key)?, &provider);
            let key = Arc::new(key.map_err(|error| pair_error(identity, error))?);
            for name in names(&key) {
                by_name.entry(name).or_insert_with(|| key.clone());
            }
            first.get_or_insert(key);
        }
        let versions: &[&SupportedProtocolVersion] = if config.v1_2 { &[&TLS13, &TLS12] } else { &[&TLS13] };
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
        let builder = match &config.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots(pem)?.into(), provider);
                let verifier = verifier.build().map_err(|error| super::file_error(pem, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let identities = Arc::new(ByName { by_name, first });
        let mut server = builder.with_cert_resolver(identities.clone());
        // Keys of tickets change every six hours, and those before are good for six more.
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        server.alpn_protocols = config.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        if mode != Mode::Tcp && config.alpn.is_empty() {
            server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Self { config: Arc::new(server), identities })
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// What came of it otherwise; the client was told by an alert.
    pub(crate) async fn accept(&self, client: Stream) -> io::Result<Accepted> {
        let stream = TlsAcceptor::from(self.config.clone()).accept(client).await?;
        let (_, connection) = stream.get_ref();
        let server_name = connection.server_name().map(str::to_ascii_lowercase);
        let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
        Ok(Accepted { stream: Stream::layered(stream), server_name, alpn })
    }
}

impl TlsIn {
    /// Whether a client that asked for `name`, in lower case, has seen the certificate of `other`.
    pub(crate) fn has_shown(&self, name: &str, other: &str) -> bool {
        match (self.identities.of(name), self.identities.of(other)) {
            (Some(shown), Some(meant)) => Arc::ptr_eq(shown, meant),
            (shown, meant) => shown.is_none() && meant.is_none(),
        }
    }
}

/// The names of a certificate, in lower case; one with a wildcard begins with a dot.
fn names(key: &CertifiedKey) -> Vec<String> {
    let Ok(certificate) = key.end_entity_cert() else { return Vec::new() };
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    let names = certificate.valid_dns_names().map(str::to_ascii_lowercase);
    names.map(|name| name.strip_prefix('*').map(str::to_owned).unwrap_or(name)).collect()
}

/// Chooses the certificate that has the name that a client asks for.
#[derive(Debug)]
struct ByName {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase).unwrap_or_default();
        self.of(&name).cloned()
    }
}

impl ByName {
    /// The certificate of a name, or else the first.
    fn of(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        // A wildcard stands for one label (RFC 6125, section 6.4.3).
        let below = || self.by_name.get(name.find('.').map(|dot| &name[dot..])?);
        self.by_name.get(name).or_else(below).or(self.first.as_ref())
    }
}
