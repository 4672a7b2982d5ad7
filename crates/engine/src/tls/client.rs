//! TLS to backends and proxies: whom to trust, and handshakes.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use towpath_config::ClientTls;
use towpath_wire::destination::Host;

use super::{TlsError, certificates, pair_error, private_key, roots};
use crate::stream::Stream;

/// What handshakes with the backends of a pool, or with a proxy, need.
#[derive(Clone)]
pub struct TlsOut {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl fmt::Debug for TlsOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOut").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TlsOut {
    /// From the configuration; `alpn` is offered where that says nothing of it.
    ///
    /// # Errors
    /// What is wrong with its files.
    pub fn new(config: &ClientTls, alpn: &[&str]) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match (&config.ca, config.insecure) {
            (_, true) => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
            }
            (Some(pem), false) => builder.with_root_certificates(roots(pem)?),
            (None, false) => builder.with_root_certificates(system_roots()?),
        };
        let mut client = match &config.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(certificates(&identity.cert)?, private_key(&identity.key)?)
                .map_err(|error| pair_error(identity, error))?,
        };
        client.alpn_protocols = match config.alpn.is_empty() {
            true => alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            false => config.alpn.iter().map(|name| name.clone().into_bytes()).collect(),
        };
        let name = config
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name.clone())));
        Ok(Self { config: Arc::new(client), name: name.transpose()? })
    }

    /// Shakes hands with the server at the other end of `stream`, which is at `host`. The second is the protocol that was
    /// chosen (ALPN).
    ///
    /// # Errors
    /// What came of it otherwise.
    pub(crate) async fn connect(&self, host: &Host, stream: Stream) -> io::Result<(Stream, Option<Vec<u8>>)> {
        let name = match (&self.name, host) {
            (Some(name), _) => name.clone(),
            (None, Host::Ip(ip)) => ServerName::IpAddress(IpAddr::into(ip.to_canonical())),
            (None, Host::Name(name)) => {
                let plain = name.as_str().trim_end_matches('.').to_owned();
                ServerName::try_from(plain).map_err(io::Error::other)?
            }
        };
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await?;
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok((Stream::layered(stream), alpn))
    }
}

/// The authorities that this system trusts.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // A few odd ones among many are no reason to fail.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

/// Takes any certificate whose key the server has: for those who said that they want no more than a secret kept from
/// passers-by, and for checks, which carry nothing.
#[derive(Debug)]
pub(crate) struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    pub(crate) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
