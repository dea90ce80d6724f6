//! Whom a receiver must be known to: the authorities of the system, if there are some, else those that
//! are built in, because the image of the collector has none; and those of the receiver's own file.
//!
//! Files are looked at before each connection, and read when they are other ones. A receiver's own file
//! that became useless costs nothing but a word: who was trusted before still is.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::secrets::Trouble;
use super::secrets::Unusable;
use super::secrets::read_regular;
use crate::tls::client::NoAuthorities;
use crate::tls::client::add_authorities;
use crate::tls::client::client;

/// Where systems keep their authorities, in one file: Debian and Alpine, Fedora, SUSE, others. The first
/// that holds some is used.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Bytes of such a file; usual ones have 250 KB.
const MAX_BUNDLE: u64 = 4 * 1024 * 1024;

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The process is ending.
    #[error("failed to read authorities: the process is ending")]
    Ending,
    /// The receiver's own file has never been usable. At fault: the file, or the settings.
    #[error("failed to read the receiver's authorities")]
    Read(#[source] Trouble),
    /// The library has no version of TLS. At fault: us.
    #[error("failed to set up TLS")]
    Versions(#[source] rustls::Error),
}

/// Whom to trust. Cheap to clone; clones share what they read.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bundles: Vec<PathBuf>,
    ca_file: Option<PathBuf>,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    /// Of the bundles and of the receiver's own file.
    stamps: Vec<Option<Stamp>>,
    config: Arc<ClientConfig>,
    trouble: Option<Trouble>,
}

/// What differs between a file and the one that replaces it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let it = std::fs::metadata(file).ok()?;
        let changed = (it.ctime(), it.ctime_nsec());
        Some(Self { device: it.dev(), inode: it.ino(), changed, bytes: it.len() })
    }
}

impl Trust {
    /// Trusts the usual authorities, and those in the file `ca_file` (PEM).
    #[must_use]
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self::with_bundles(BUNDLES.map(PathBuf::from).to_vec(), ca_file)
    }

    pub(super) fn with_bundles(bundles: Vec<PathBuf>, ca_file: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner { bundles, ca_file, current: Mutex::new(None) }))
    }

    /// The present configuration of a client.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || inner.look()).await {
            Ok(config) => config,
            Err(_) => Err(TrustError::Ending),
        }
    }

    /// Why the receiver's own file is not used as it is now.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref()?.trouble.clone()
    }
}

impl Inner {
    fn look(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let Self { bundles, ca_file, current } = self;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: Vec<_> = bundles.iter().chain(ca_file).map(|it| Stamp::of(it)).collect();
        if let Some(current) = &*current
            && current.stamps == stamps
        {
            return Ok(Arc::clone(&current.config));
        }
        let mut roots = public(bundles);
        let own = ca_file.as_ref().map_or(Ok(()), |file| add_file(&mut roots, file));
        if let (Err(trouble), Some(current)) = (&own, &mut *current) {
            // Read again before the next connection: it may be half written.
            current.trouble = Some(trouble.clone());
            return Ok(Arc::clone(&current.config));
        }
        own.map_err(TrustError::Read)?;
        let config = client(roots).map_err(TrustError::Versions)?;
        *current = Some(Current { stamps, config: Arc::clone(&config), trouble: None });
        Ok(config)
    }
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), Trouble> {
    let trouble = |why| Trouble { file: file.to_owned(), why };
    let pem = read_regular(file, MAX_BUNDLE).map_err(trouble)?;
    add_authorities(roots, &pem).map_err(|NoAuthorities| trouble(Unusable::NoCertificates))
}

/// The authorities of the system. Single ones that the library does not understand are left out:
/// systems carry some oddities.
fn public(bundles: &[PathBuf]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for bundle in bundles {
        if let Ok(pem) = read_regular(bundle, MAX_BUNDLE) {
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        }
        if !roots.is_empty() {
            return roots;
        }
    }
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn authority() -> String {
        rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn the_first_bundle_counts_and_without_one_the_built_in() {
        let scratch = Scratch::new();
        let odd = format!(
            "{}-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
            authority()
        );
        let first = scratch.write("first.pem", &odd);
        let second = scratch.write("second.pem", &format!("{}{}", authority(), authority()));
        let none = scratch.write("none.pem", "nothing\n");
        let missing = scratch.0.join("missing.pem");
        assert_eq!(public(&[missing.clone(), none.clone(), first, second.clone()]).len(), 1);
        assert_eq!(public(&[second]).len(), 2);
        assert!(public(&[missing, none]).len() > 100);
    }

    #[tokio::test]
    async fn a_file_is_read_when_it_is_another_one() {
        let scratch = Scratch::new();
        let file = scratch.write("ca.pem", &authority());
        let trust = Trust::with_bundles(vec![], Some(file.clone()));
        let first = trust.config().await.unwrap();
        assert!(Arc::ptr_eq(&first, &trust.config().await.unwrap()));
        std::fs::rename(scratch.write("next.pem", &authority()), &file).unwrap();
        let second = trust.config().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        // Useless: who was trusted still is, and it is said.
        scratch.write("ca.pem", "-----BEGIN CERTIFICATE-----\nMA");
        assert!(Arc::ptr_eq(&second, &trust.config().await.unwrap()));
        assert_eq!(trust.trouble().unwrap().why, Unusable::NoCertificates);
        std::fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&second, &trust.config().await.unwrap()));
        assert_eq!(trust.trouble().unwrap().why, Unusable::Missing);
        std::fs::rename(scratch.write("next.pem", &authority()), &file).unwrap();
        assert!(!Arc::ptr_eq(&second, &trust.config().await.unwrap()));
        assert_eq!(trust.trouble(), None);
    }

    #[tokio::test]
    async fn a_file_that_never_was_usable_is_an_error_that_names_it() {
        let scratch = Scratch::new();
        let trust = Trust::with_bundles(vec![], Some(scratch.write("ca.pem", "nothing")));
        let error = trust.config().await.unwrap_err();
        let said = crate::chain::Chain(&error).to_string();
        assert!(said.contains("ca.pem: it holds no certificates"), "{said}");
    }
}
