//! TLS by rustls and ring: TLS 1.2 and 1.3, no client certificates, certificate and key replaced
//! without a restart. Old connections finish with what they began with.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use palisade_report::Digest;
use palisade_report::Moment;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::TlsAcceptor;

use crate::settings::TlsFiles;

pub mod certificate;
pub(crate) mod client;

/// Bytes that a certificate or key file may have.
const MAX_PEM: u64 = 1024 * 1024;

/// Why certificate and key cannot be used. At fault: configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The chain is no PEM.
    #[error("failed to parse the certificates in {path}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: pem::Error,
    },
    /// The key is no PEM.
    #[error("failed to parse the private key in {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: pem::Error,
    },
    /// The two do not fit each other, or are of an unsupported kind.
    #[error("failed to use the certificate with its key")]
    Pair(#[source] rustls::Error),
}

/// The present certificate and key.
pub struct Tls {
    source: Source,
    current: RwLock<Current>,
}

/// Where certificate and key come from.
#[derive(Debug)]
enum Source {
    /// Files that are read again.
    Files(TlsFiles),
    /// Whoever calls [`Tls::replace`].
    Handed,
}

struct Current {
    digest: Digest,
    config: Arc<ServerConfig>,
    end: Option<Moment>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("source", &self.source).finish_non_exhaustive()
    }
}

/// What came of looking at the files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// New connections use other ones.
    Replaced,
    /// The same bytes.
    Unchanged,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let (cert, key) = read_pair(&files)?;
        let current = RwLock::new(Current::new(&files, &cert, &key)?);
        Ok(Self { source: Source::Files(files), current })
    }

    /// Serves this pair (PEM) until it is replaced.
    ///
    /// # Errors
    /// [`TlsError`], naming the part as the key of a Secret.
    pub fn handed(cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let current = RwLock::new(Current::new(&secret_keys(), cert, key)?);
        Ok(Self { source: Source::Handed, current })
    }

    /// Serves new connections with this pair (PEM), if it is usable.
    ///
    /// # Errors
    /// [`TlsError`], naming the part as the key of a Secret; what was in use stays in use.
    pub fn replace(&self, cert: &[u8], key: &[u8]) -> Result<Reloaded, TlsError> {
        self.take(&secret_keys(), cert, key)
    }

    /// Reads the files again, and takes them if they are different and usable. Without files,
    /// nothing changes.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use stays in use.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        match &self.source {
            Source::Files(files) => {
                let (cert, key) = read_pair(files)?;
                self.take(files, &cert, &key)
            }
            Source::Handed => Ok(Reloaded::Unchanged),
        }
    }

    /// End of the certificate that is served; `None` if that cannot be read.
    #[must_use]
    pub fn end(&self) -> Option<Moment> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).end
    }

    /// An acceptor with the present certificate.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.config).into()
    }

    fn take(&self, names: &TlsFiles, cert: &[u8], key: &[u8]) -> Result<Reloaded, TlsError> {
        let digest = digest(cert, key);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).digest == digest {
            return Ok(Reloaded::Unchanged);
        }
        let next = Current::new(names, cert, key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(Reloaded::Replaced)
    }
}

impl Current {
    fn new(names: &TlsFiles, cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let config = config(names, cert, key)?;
        let leaf = certificate::parse_all(cert).ok().and_then(|chain| chain.into_iter().next());
        Ok(Self { digest: digest(cert, key), config, end: leaf.map(|leaf| leaf.not_after) })
    }
}

/// The names of the two parts within a Secret of type `kubernetes.io/tls`.
fn secret_keys() -> TlsFiles {
    TlsFiles { cert: "tls.crt".into(), key: "tls.key".into() }
}

fn digest(cert: &[u8], key: &[u8]) -> Digest {
    let parts = [Digest::of(cert), Digest::of(key)];
    Digest::of(&parts.map(|part| *part.as_bytes()).concat())
}

fn read_pair(files: &TlsFiles) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    use std::io::Read as _;
    let read = |path: &PathBuf| {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_PEM).read_to_end(&mut bytes))
            .map_err(|source| TlsError::Read { path: path.clone(), source })?;
        Ok(bytes)
    };
    Ok((read(&files.cert)?, read(&files.key)?))
}

fn config(files: &TlsFiles, cert: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Certificates { path: files.cert.clone(), source })?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|source| TlsError::Key { path: files.key.clone(), source })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
