//! The other side of TLS: whom a client of ours trusts. Whoever calls says who that is; nothing is
//! trusted by itself.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// There is something else than certificates in it, or nothing. At fault: the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to find certificates of authorities")]
pub(crate) struct NoAuthorities;

/// Trusts the certificates of `pem` beside those of `roots`: all of them, or it is an error.
pub(crate) fn add_authorities(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), NoAuthorities> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| NoAuthorities)?;
        roots.add(certificate).map_err(|_| NoAuthorities)?;
    }
    if roots.len() == before { Err(NoAuthorities) } else { Ok(()) }
}

/// A client that trusts `roots`, shows no certificate of its own, and speaks HTTP/1.1 if asked.
///
/// # Errors
/// None with the versions of TLS that are built in.
pub(crate) fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
