//! TLS between two ends that have a key in common: each knows the other by it, and nobody else.
//!
//! Either end makes the same two pairs of Ed25519 keys of it (RFC 5869, RFC 8032), one for those who connect and one for those who
//! accept, and takes no other public key (RFC 7250). Who does not have the key can show neither.

use std::fmt;
use std::io;
use std::sync::Arc;

use ::aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use ::aws_lc_rs::signature::Ed25519KeyPair;
use tokio_rustls::rustls::client::AlwaysResolvesClientRawPublicKeys;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use tokio_rustls::rustls::server::AlwaysResolvesServerRawPublicKeys;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use towpath_config::Secret;

use super::TlsError;
use crate::stream::Stream;

/// The name that is asked for, which nobody looks at.
const NAME: &str = "towpath.invalid";

/// What a key in common makes of either end.
#[derive(Clone)]
pub(crate) struct SharedKey {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey")
    }
}

impl SharedKey {
    /// Both ends of a key.
    ///
    /// # Errors
    /// When the library has no use for it.
    pub(crate) fn new(key: &Secret) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let near = pair(key, b"towpath tunnel: who connects", &provider)?;
        let far = pair(key, b"towpath tunnel: who accepts", &provider)?;
        let only = |pair: &Arc<CertifiedKey>| {
            Arc::new(Only { key: pair.cert.first().cloned(), provider: provider.clone() })
        };
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(only(&far))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(near.clone())));
        // Nothing is to be learned of a lane from another.
        client.resumption = tokio_rustls::rustls::client::Resumption::disabled();
        client.enable_sni = false;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(only(&near))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(far.clone())));
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    /// Shakes hands with the end that accepts.
    ///
    /// # Errors
    /// What came of it otherwise: of the kind `InvalidData` if the other end has another key.
    pub(crate) async fn connect(&self, stream: Stream) -> io::Result<Stream> {
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        Ok(Stream::layered(TlsConnector::from(self.client.clone()).connect(name, stream).await?))
    }

    /// Shakes hands with the end that connects.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        Ok(Stream::layered(TlsAcceptor::from(self.server.clone()).accept(stream).await?))
    }
}

/// Whether a handshake failed because the other end speaks no TLS.
pub(crate) fn is_no_tls(error: &io::Error) -> bool {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    matches!(of_tls, Some(Error::InvalidMessage(_)))
}

/// The pair of keys that `key` makes for one end.
fn pair(key: &Secret, role: &[u8], provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let failed = || TlsError::Rustls(Error::General("the key cannot be used".to_owned()));
    let mut seed = [0; 32];
    let digits = key.reveal().to_ascii_lowercase();
    let expanded = Salt::new(HKDF_SHA256, b"towpath").extract(digits.as_bytes());
    expanded.expand(&[role], SeedLength).and_then(|bytes| bytes.fill(&mut seed)).map_err(|_| failed())?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| failed())?;
    let pkcs8 = pair.to_pkcs8().map_err(|_| failed())?;
    let signing = provider
        .key_provider
        .load_private_key(PrivatePkcs8KeyDer::from(pkcs8.as_ref()).clone_key().into())?;
    let public = signing.public_key().ok_or_else(failed)?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], signing)))
}

/// Bytes of the seed of a pair (RFC 8032, section 5.1.5).
struct SeedLength;

impl KeyType for SeedLength {
    fn len(&self) -> usize {
        32
    }
}

/// Takes this public key and no other.
#[derive(Debug)]
struct Only {
    key: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Only {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        match self.key.as_ref().is_some_and(|key| key.as_ref() == shown.as_ref()) {
            true => Ok(()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(shown.as_ref()),
            signed,
            algorithms,
        )
    }

    fn older() -> Error {
        Error::General("TLS 1.3 is spoken, and no older one".to_owned())
    }
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Self::older())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Self::older())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
