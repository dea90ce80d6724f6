//! Which authorities an agent would trust at its next connection, in 16 digits.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::digest::Digest;

/// The start of the SHA-256 of a trust bundle's bytes, as it lies in the agent's file.
///
/// It tells two bundles apart, so that a collector knows which agents follow a new one; nothing is
/// proven by it, an agent speaks for itself only. Shape on the wire: 16 lowercase hexadecimal
/// digits, not all of them `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustId(NonZeroU64);

impl TrustId {
    /// The id of a bundle.
    #[must_use]
    pub fn of(bundle: &[u8]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *Digest::of(bundle).as_bytes();
        let start = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        // Zero is kept free for "not said".
        Self(NonZeroU64::new(start).unwrap_or(NonZeroU64::MIN))
    }

    /// As a number that is never 0.
    #[must_use]
    pub const fn number(self) -> NonZeroU64 {
        self.0
    }

    /// The id with this number.
    #[must_use]
    pub const fn from_number(number: NonZeroU64) -> Self {
        Self(number)
    }
}

impl fmt::Display for TrustId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not the id of a trust bundle. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed trust id: expected 16 lowercase hexadecimal digits, not all 0")]
pub struct MalformedTrustId;

impl FromStr for TrustId {
    type Err = MalformedTrustId;

    fn from_str(text: &str) -> Result<Self, MalformedTrustId> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 16 || !digits {
            return Err(MalformedTrustId);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| MalformedTrustId)?;
        NonZeroU64::new(number).map(Self).ok_or(MalformedTrustId)
    }
}

impl Serialize for TrustId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::id::parse_text(deserializer, "16 lowercase hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_start_of_the_digest_and_survives_its_text() {
        let id = TrustId::of(b"abc");
        assert_eq!(id.to_string(), "ba7816bf8f01cfea");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TrustId::from_number(id.number()), id);
    }

    #[test]
    fn only_16_lowercase_digits_are_an_id() {
        for bad in
            ["", "ba7816bf8f01cfe", "BA7816BF8F01CFEA", "+a7816bf8f01cfea", "0000000000000000"]
        {
            assert_eq!(bad.parse::<TrustId>(), Err(MalformedTrustId), "{bad}");
        }
    }
}
