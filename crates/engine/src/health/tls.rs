//! A check by a TLS handshake. Certificates are not verified: the check asks whether the server works, and carries
//! nothing.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{CheckError, Wire};
use crate::tls::AnyCertificate;

pub(super) async fn ask(wire: Wire, server_name: Option<&str>) -> Result<(), CheckError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| CheckError::Bad(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        .with_no_client_auth();
    config.enable_sni = server_name.is_some();
    let name = ServerName::try_from(server_name.unwrap_or("localhost").to_owned())
        .map_err(|_| CheckError::Bad("the server name is none".to_owned()))?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, wire).await;
    handshake.map(drop).map_err(|error| CheckError::Bad(format!("TLS: {error}")))
}
