//! Whether a request comes from whom we share a key with: HMAC-SHA-256 over the moment, a dot and the
//! body, so that neither can be changed and no request can be told again later.

use std::time::Duration;
use std::time::SystemTime;

use ring::hmac;

use super::Request;

/// The header with the moment, in seconds since 1970.
pub const TIMESTAMP: &str = "x-palisade-timestamp";

/// The header with the signature: `sha256=` and 64 hexadecimal digits.
pub const SIGNATURE: &str = "x-palisade-signature";

/// How far the two clocks may be apart, the way included.
const MAX_APART: Duration = Duration::from_secs(300);

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbelieved {
    /// A header is missing, or is no number, or no signature.
    Malformed,
    /// It is signed by another key, or not for this body and moment.
    Forged,
    /// It was signed too long ago, or will be.
    Old,
}

/// Whether `request` was signed by `key`, not long before it came.
///
/// # Errors
/// Why it is not believed.
pub fn verify(request: &Request, key: &[u8]) -> Result<(), Unbelieved> {
    let timestamp = request.header(TIMESTAMP).ok_or(Unbelieved::Malformed)?;
    let signature = request.header(SIGNATURE).ok_or(Unbelieved::Malformed)?;
    let tag = signature.strip_prefix("sha256=").and_then(bytes).ok_or(Unbelieved::Malformed)?;
    let signed_at: u64 = timestamp.parse().map_err(|_| Unbelieved::Malformed)?;
    let signed = [timestamp.as_bytes(), b".", &request.body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::verify(&key, &signed, &tag).map_err(|_| Unbelieved::Forged)?;
    let signed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(signed_at);
    let apart = request.at.duration_since(signed_at).unwrap_or_else(|before| before.duration());
    if apart > MAX_APART { Err(Unbelieved::Old) } else { Ok(()) }
}

/// The bytes of a text of hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|it| it.to_digit(16)).collect();
    let byte = |pair: &[u32]| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    };
    digits?.chunks(2).map(byte).collect()
}
