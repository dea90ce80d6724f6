//! TLS towards the collector: only the authorities of one file are trusted, names are verified.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes that the file of authorities may have.
const MAX_AUTHORITIES: u64 = 1024 * 1024;

/// TLS could not be agreed on.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file holds no certificate, or one that is malformed. At fault: the configuration.
    #[error("failed to find authorities (PEM certificates) in {}", path.display())]
    Authorities {
        /// As configured.
        path: PathBuf,
    },
    /// No agreement, or the collector's certificate is not vouched for. At fault: the collector,
    /// the authorities' file, or somebody in between.
    #[error("failed to verify the collector")]
    Handshake(#[source] io::Error),
    /// The host is neither a DNS name nor an address. At fault: the configuration.
    #[error("failed to use the collector's host as a name in TLS")]
    Name(#[source] rustls_pki_types::InvalidDnsNameError),
    /// The file cannot be read. At fault: the configuration.
    #[error("failed to read the authorities at {}", path.display())]
    ReadAuthorities {
        /// As configured.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The provider offers no usable protocol version. At fault: us.
    #[error("failed to configure TLS")]
    Versions(#[source] rustls::Error),
}

/// Agrees on TLS over `stream`. The authorities are read anew: they are replaced by rotation.
pub(super) async fn connect(
    stream: TcpStream,
    host: &str,
    ca_file: &Path,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let connector = TlsConnector::from(Arc::new(config(ca_file)?));
    let name = ServerName::try_from(host.to_owned()).map_err(TlsError::Name)?;
    connector.connect(name, stream).await.map_err(TlsError::Handshake)
}

fn config(ca_file: &Path) -> Result<ClientConfig, TlsError> {
    let pem = super::read_bounded(ca_file, MAX_AUTHORITIES)
        .map_err(|source| TlsError::ReadAuthorities { path: ca_file.to_owned(), source })?;
    let malformed = || TlsError::Authorities { path: ca_file.to_owned() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| malformed())?;
        roots.add(certificate).map_err(|_| malformed())?;
    }
    if roots.is_empty() {
        return Err(malformed());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
