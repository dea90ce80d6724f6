//! The key that signs grants, Ed25519 (RFC 8032), and the file that keeps it without a cluster.
//!
//! Whoever has it can reboot every node once a day. It is made by the collector, never leaves it but
//! for the Secret or file where it is kept, and is in no log.

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use palisade_report::Digest;
use palisade_report::grant::KeyId;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair as _;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::replace::replace;

/// Name of the key's file below the state directory, mode 0600.
pub const KEY_FILE: &str = "grant.key";

/// Name of the public half's file beside it: what each node's rebooter is given with `--keys`.
pub const PUBLIC_FILE: &str = "grant-keys";

/// A key that signs grants.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
    pem: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

/// There is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// None could be made. At fault: the machine's source of randomness.
    #[error("failed to make a key that signs grants")]
    Generate(#[source] rcgen::Error),
    /// The text is no key. At fault: whoever changed it.
    #[error(
        "failed to understand the key that signs grants: expected an Ed25519 key in PEM (PKCS #8)"
    )]
    Malformed,
    /// The file cannot be read or written. At fault: its directory.
    #[error("failed to keep the key that signs grants in {}", path.display())]
    Keep {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate() -> Result<Self, KeyError> {
        let pair =
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(KeyError::Generate)?;
        Self::from_pem(&pair.serialize_pem())
    }

    /// The key in this text.
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::Malformed)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| KeyError::Malformed)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Malformed)?;
        Ok(Self { pair, public, pem: pem.to_owned() })
    }

    /// Its text, a secret.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The name by which a node finds the public half.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.public)
    }

    /// Its signature; always there, an Ed25519 signature has 64 bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Option<[u8; 64]> {
        self.pair.sign(bytes).as_ref().try_into().ok()
    }

    /// The key that is kept below `directory`, made if there is none; its public half is written
    /// beside it.
    ///
    /// # Errors
    /// [`KeyError`]. A file that is no key is left as it is.
    pub fn keep(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(KEY_FILE);
        let failed = |path: &Path, source| KeyError::Keep { path: path.to_owned(), source };
        let key = match std::fs::read_to_string(&path) {
            Ok(pem) => Self::from_pem(&pem)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate()?;
                let new = directory.join("grant.key.new");
                replace(&new, &path, key.pem(), 0o600).map_err(|source| failed(&path, source))?;
                key
            }
            Err(source) => return Err(failed(&path, source)),
        };
        let public = directory.join(PUBLIC_FILE);
        let text = public_text([key.public()]);
        replace(&directory.join("grant-keys.new"), &public, &text, 0o644)
            .map_err(|source| failed(&public, source))?;
        Ok(key)
    }
}

/// Public keys as the nodes read them: a line of 64 hexadecimal digits each.
#[must_use]
pub fn public_text<'k>(keys: impl IntoIterator<Item = &'k [u8; 32]>) -> String {
    // A key has the shape of a digest, though it is none.
    keys.into_iter().map(|key| format!("{}\n", Digest::from_bytes(*key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_key_is_made_once_kept_secret_and_never_shown() {
        use std::os::unix::fs::PermissionsExt as _;

        let scratch = Scratch::new();
        let first = SigningKey::keep(&scratch.0).unwrap();
        let second = SigningKey::keep(&scratch.0).unwrap();
        assert_eq!(first.public(), second.public());
        let mode = scratch.0.join(KEY_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = std::fs::read_to_string(scratch.0.join(PUBLIC_FILE)).unwrap();
        assert_eq!(public, format!("{}\n", Digest::from_bytes(*first.public())));
        assert_eq!(format!("{first:?}"), format!("SigningKey({})", first.id()));
        scratch.write(KEY_FILE, "damaged");
        assert!(matches!(SigningKey::keep(&scratch.0), Err(KeyError::Malformed)));
        assert_eq!(std::fs::read_to_string(scratch.0.join(KEY_FILE)).unwrap(), "damaged");
    }
}
