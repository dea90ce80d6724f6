//! TLS towards the collector: only the authorities of one file are trusted, names are verified.
//!
//! The file is replaced while the agent runs: in a pod the kubelet swaps the directory that a
//! ConfigMap is mounted as. It is read again for each new connection and each heartbeat, and what
//! follows from it is kept for as long as its bytes stay the same, sessions included, so that no
//! session outlives the trust that it rests on.
//!
//! ```text
//! file ──bytes──> as before? ──yes──> the present configuration
//!                     └──no──> parse ──> new configuration, no sessions, another TrustId
//! ```

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use palisade_report::TrustId;
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

/// The authorities of one file, which may be replaced at any time.
#[derive(Debug)]
pub(super) struct Trust {
    file: PathBuf,
    current: Option<Current>,
}

/// What follows from the file's bytes.
#[derive(Clone, Debug)]
struct Current {
    id: TrustId,
    config: Arc<ClientConfig>,
}

/// One connection in the making: whom to trust and which name to verify.
#[derive(Debug)]
pub(super) struct Connect {
    current: Current,
    name: ServerName<'static>,
}

impl Trust {
    /// The authorities of this file; it is not read yet.
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file, current: None }
    }

    /// Which authorities the file holds now; `None` if they cannot be used.
    pub(super) fn id(&mut self) -> Option<TrustId> {
        self.current().ok().map(|current| current.id)
    }

    /// A connection to `host`, with the authorities that the file holds now.
    pub(super) fn connect(&mut self, host: &str) -> Result<Connect, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(TlsError::Name)?;
        Ok(Connect { current: self.current()?.clone(), name })
    }

    fn current(&mut self) -> Result<&Current, TlsError> {
        let Self { file, current } = self;
        let pem = super::read_bounded(file, MAX_AUTHORITIES)
            .map_err(|source| TlsError::ReadAuthorities { path: file.clone(), source })?;
        let id = TrustId::of(&pem);
        let current = match current.take() {
            Some(same) if same.id == id => current.insert(same),
            Some(_) | None => current.insert(Current { id, config: config(&pem, file)? }),
        };
        Ok(current)
    }
}

impl Connect {
    /// Whether it trusts the same authorities as the other one.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.current.id == other.current.id
    }

    /// Agrees on TLS over `stream`.
    pub(super) async fn over(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, TlsError> {
        let connector = TlsConnector::from(Arc::clone(&self.current.config));
        connector.connect(self.name.clone(), stream).await.map_err(TlsError::Handshake)
    }
}

fn config(pem: &[u8], file: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let malformed = || TlsError::Authorities { path: file.to_owned() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| malformed())?;
        roots.add(certificate).map_err(|_| malformed())?;
    }
    if roots.is_empty() {
        return Err(malformed());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
