//! TLS on either side, by rustls: from certificates and keys to what handshakes need, and to streams.

mod client;
mod server;
mod shared_key;
mod stream;
#[cfg(test)]
mod tests;

use tokio_rustls::rustls;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use towpath_config::{Identity, Pem};

pub(crate) use client::AnyCertificate;
pub use client::TlsOut;
pub(crate) use server::Accepted;
pub use server::TlsIn;
pub(crate) use shared_key::{SharedKey, is_no_tls};

/// Why certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file holds none, or something else.
    #[error("{path}: {reason}")]
    File {
        /// Which one.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate and a key that do not go together, or are not usable.
    #[error("{cert} and {key}: {error}")]
    Pair {
        /// The certificate.
        cert: String,
        /// The key.
        key: String,
        /// What is wrong.
        error: rustls::Error,
    },
    /// The name of a server that is none.
    #[error("`{0}` cannot be the name of a server")]
    Name(String),
    /// The system has no authorities that it trusts.
    #[error("this system trusts no authorities; install ca-certificates, or give `ca`")]
    NoRoots,
    /// All else.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

fn file_error(pem: &Pem, reason: impl ToString) -> TlsError {
    TlsError::File { path: pem.path.display().to_string(), reason: reason.to_string() }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.text.reveal().as_bytes()).collect();
    let found = found.map_err(|error| file_error(pem, format!("{error:?}")))?;
    if found.is_empty() { Err(file_error(pem, "there is no certificate in it")) } else { Ok(found) }
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The error could repeat parts of the file.
    PrivateKeyDer::from_pem_slice(pem.text.reveal().as_bytes())
        .map_err(|_| file_error(pem, "there is no private key in it that is understood"))
}

fn pair_error(identity: &Identity, error: rustls::Error) -> TlsError {
    let path = |pem: &Pem| pem.path.display().to_string();
    TlsError::Pair { cert: path(&identity.cert), key: path(&identity.key), error }
}

/// The authorities of a file.
fn roots(pem: &Pem) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| file_error(pem, error))?;
    }
    Ok(roots)
}
