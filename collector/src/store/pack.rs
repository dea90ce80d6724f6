//! Packed values: zstd over bytes or JSON, bounded on the way back.

use std::cell::RefCell;

use palisade_report::wire::MAX_SECTION;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zstd::bulk::Compressor;

/// Level 3: 20 us and a twentieth of the size for 12 KB of facts; higher levels gain little.
const LEVEL: i32 = 3;

/// Bytes that an unpacked value may have. Ours are far smaller; a damaged length must not ask for
/// gigabytes.
const MAX_UNPACKED: usize = 16 * MAX_SECTION;

/// A value cannot be packed or unpacked. At fault: the disk, or us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("failed to write the value as JSON")]
    Write(#[source] serde_json::Error),
    #[error("failed to compress the value")]
    Compress(#[source] std::io::Error),
    #[error("failed to decompress the value")]
    Decompress(#[source] std::io::Error),
    #[error("failed to read the value as JSON")]
    Read(#[source] serde_json::Error),
}

thread_local! {
    /// A compressor's tables are large and cost more to make than a small value costs to pack.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

pub(super) fn pack_bytes(bytes: &[u8]) -> Result<Vec<u8>, PackError> {
    COMPRESSOR
        .with_borrow_mut(|kept| {
            let compressor = match kept {
                Some(compressor) => compressor,
                None => kept.insert(Compressor::new(LEVEL)?),
            };
            compressor.compress(bytes)
        })
        .map_err(PackError::Compress)
}

pub(super) fn unpack_bytes(packed: &[u8]) -> Result<Vec<u8>, PackError> {
    let size = zstd::bulk::Decompressor::upper_bound(packed).unwrap_or(MAX_UNPACKED);
    zstd::bulk::decompress(packed, size.min(MAX_UNPACKED)).map_err(PackError::Decompress)
}

pub(super) fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, PackError> {
    pack_bytes(&serde_json::to_vec(value).map_err(PackError::Write)?)
}

pub(super) fn unpack<T: DeserializeOwned>(packed: &[u8]) -> Result<T, PackError> {
    serde_json::from_slice(&unpack_bytes(packed)?).map_err(PackError::Read)
}
