//! Bytes that may hold a private key: overwritten when dropped, never shown.

use std::fmt;
use std::hint::black_box;

use crate::host::Host;
use crate::host::Metadata;
use crate::host::ReadError;

/// Bytes that may hold a private key.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes over bytes; the caller keeps no copy.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes of a file, see [`Host::read`]. Read into a buffer that does not grow, so that no
    /// copy stays behind.
    ///
    /// # Errors
    /// As [`Host::read`].
    pub fn read(host: &dyn Host, path: &str, limit: usize) -> Result<(Self, Metadata), ReadError> {
        let size = usize::try_from(host.metadata(path)?.size).unwrap_or(limit);
        let mut bytes = Self(Vec::with_capacity(size.min(limit)));
        let metadata =
            host.read_with(path, limit, &mut |piece| bytes.0.extend_from_slice(piece))?;
        Ok((bytes, metadata))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // So that the overwriting is not optimised away.
        black_box(&self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}
