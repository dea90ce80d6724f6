//! The public keys that grants are verified with, as a file has them.
//!
//! One key a line, 64 lowercase hexadecimal digits (the 32 bytes of RFC 8032); empty lines and those
//! that begin with `#` are skipped. Two keys at most: the old one and the new one while they change.

use palisade_report::Digest;
use palisade_report::grant::Envelope;
use palisade_report::grant::KeyId;
use ring::signature::ED25519;
use ring::signature::UnparsedPublicKey;

/// As many as a change of keys needs.
pub(super) const MAX_KEYS: usize = 2;

/// Bytes that a file of keys may have: two keys and some words about them.
pub(super) const MAX_FILE: u64 = 4096;

/// Public keys, at most two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<[u8; 32]>);

/// The text is no list of keys. At fault: whoever delivers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedKeys {
    /// A line is no key. Lines are counted from 1.
    #[error("line {0} is no key: expected 64 lowercase hexadecimal digits")]
    Line(usize),
    /// More than can be in use at once.
    #[error("more than {MAX_KEYS} keys")]
    Many,
}

impl Keys {
    /// The keys in a file's text; there may be none.
    ///
    /// # Errors
    /// [`MalformedKeys`] with what is wrong first.
    pub fn parse(text: &str) -> Result<Self, MalformedKeys> {
        let mut keys = Vec::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // A key has the shape of a digest, though it is none.
            let key: Digest = line.parse().map_err(|_| MalformedKeys::Line(number))?;
            if keys.len() == MAX_KEYS {
                return Err(MalformedKeys::Many);
            }
            keys.push(*key.as_bytes());
        }
        Ok(Self(keys))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids of the keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(KeyId::of)
    }

    /// Whether the key that an envelope names signed it; `None` if that key is not here.
    #[must_use]
    pub fn verify(&self, envelope: &Envelope<'_>) -> Option<bool> {
        let key = self.0.iter().find(|key| KeyId::of(key) == envelope.key())?;
        let key = UnparsedPublicKey::new(&ED25519, key);
        Some(key.verify(&envelope.signed_bytes(), envelope.signature()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_up_to_two_keys_and_words() {
        let key = |digit: &str| digit.repeat(64);
        let text = format!("# new\n{}\n\n # old\n {} \n", key("a"), key("0"));
        assert_eq!(Keys::parse(&text), Ok(Keys(vec![[0xaa; 32], [0; 32]])));
        assert!(Keys::parse("# none yet\n").unwrap().is_empty());
        let three = [key("a"), key("b"), key("c")].join("\n");
        assert_eq!(Keys::parse(&three), Err(MalformedKeys::Many));
        for bad in [key("A"), key("a") + "0", "x".to_owned()] {
            assert_eq!(Keys::parse(&format!("\n{bad}")), Err(MalformedKeys::Line(2)), "{bad}");
        }
    }
}
