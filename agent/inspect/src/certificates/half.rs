//! The public half of a private key, as a digest: enough to tell whether a key belongs to a
//! certificate, and nothing that could be used in its place.
//!
//! Where the host is read by another process than the one that parses (see `screen`), this is all of
//! a private key that crosses over, as a PEM block of its own label.
//!
//! ```text
//! private key ─> Public ─> Half ─> "rsa:3f9c…" ─> block PALISADE KEY ─> Half ─> compare
//! ```

use std::fmt;
use std::fmt::Write;

use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::certificates::KeyMatch;
use sha2::Digest;
use sha2::Sha256;

use super::key::Public;
use super::pem::Block;

/// The label of the block that stands for a private key. No tool writes it.
pub const LABEL: &[u8] = b"PALISADE KEY";

/// Bytes of the text of one half: an OID of 32 arcs, and 64 digits.
const MAX_TEXT: usize = 1024;

/// SHA-256 of what is compared.
type Hash = [u8; 32];

/// What of a public key is compared, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Half {
    /// The point of an elliptic curve.
    Point {
        /// Its first byte, which tells the form in which it was found.
        form: u8,
        /// Over the whole point.
        hash: Hash,
    },
    /// A key of an algorithm with one parameter-free form.
    Raw {
        /// The algorithm.
        oid: String,
        /// Over the key; nothing if the private key does not carry it.
        hash: Option<Hash>,
    },
    /// An RSA key.
    Rsa {
        /// Over modulus and exponent, each with its length before it.
        hash: Hash,
    },
}

impl Half {
    /// Of a public key.
    #[must_use]
    pub fn of(public: &Public) -> Self {
        match public {
            Public::Point(bytes) => Self::Point {
                form: bytes.first().copied().unwrap_or_default(),
                hash: hash(&[bytes]),
            },
            Public::Raw { oid, bytes } => {
                let hash = (!bytes.is_empty()).then(|| hash(&[bytes]));
                Self::Raw { oid: oid.clone(), hash }
            }
            Public::Rsa { modulus, exponent } => Self::Rsa { hash: hash(&[modulus, exponent]) },
        }
    }
}

/// Whether a private key belongs to a certificate.
///
/// # Errors
/// `unsupported` if their forms cannot be compared without arithmetic on the curve, or the private
/// key carries no public half.
pub fn compare(certificate: &Public, private: &Half) -> Result<KeyMatch, Why> {
    match (Half::of(certificate), private) {
        (Half::Raw { oid: one, .. }, Half::Raw { oid: other, hash: None }) if one == *other => {
            Err(no_public_half())
        }
        (Half::Point { form: one, .. }, Half::Point { form: other, .. }) if one != *other => {
            let detail = "the points of certificate and private key are in different forms";
            Err(Why::new(WhyKind::Unsupported, detail))
        }
        (one, other) if one == *other => Ok(KeyMatch::Matches),
        (_, _) => Ok(KeyMatch::Mismatch),
    }
}

/// Why a private key that carries no public half cannot be compared.
#[must_use]
pub fn no_public_half() -> Why {
    let detail = "the private key does not carry its public half, and deriving it is not built in";
    Why::new(WhyKind::Unsupported, detail)
}

/// Why an encrypted key cannot be compared.
#[must_use]
pub fn encrypted() -> Why {
    Why::new(WhyKind::Unsupported, "the private key is encrypted")
}

/// Why what is no key cannot be compared.
#[must_use]
pub fn malformed() -> Why {
    Why::new(WhyKind::Malformed, "the private key is malformed")
}

/// What is known of a private key, in words: one line without white space.
#[must_use]
pub fn write(half: &Result<Half, Why>) -> String {
    match half {
        Ok(half) => half.to_string(),
        Err(why) if *why == encrypted() => "encrypted".to_owned(),
        Err(why) if *why == no_public_half() => "bare".to_owned(),
        Err(_) => "malformed".to_owned(),
    }
}

/// Reads the block that stands for a private key, see [`LABEL`].
///
/// # Errors
/// Why that key could not be compared; `malformed` also for a block of another shape.
pub fn read(block: &Block<'_>) -> Result<Half, Why> {
    let bytes = block.decode().filter(|bytes| bytes.len() <= MAX_TEXT).ok_or_else(malformed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    match text {
        "encrypted" => Err(encrypted()),
        "bare" => Err(no_public_half()),
        text => parse(text).ok_or_else(malformed),
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = match self {
            Self::Point { form, hash } => {
                write!(f, "point:{form:02x}:")?;
                Some(hash)
            }
            Self::Raw { oid, hash } => {
                write!(f, "raw:{oid}:")?;
                hash.as_ref()
            }
            Self::Rsa { hash } => {
                f.write_str("rsa:")?;
                Some(hash)
            }
        };
        hash.into_iter().flatten().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn parse(text: &str) -> Option<Half> {
    let mut parts = text.split(':');
    let half = match (parts.next()?, parts.next()?, parts.next()) {
        ("rsa", hash, None) => Half::Rsa { hash: parse_hash(hash)? },
        ("point", form, Some(hash)) => {
            Half::Point { form: u8::from_str_radix(form, 16).ok()?, hash: parse_hash(hash)? }
        }
        ("raw", oid, Some("")) => Half::Raw { oid: oid.to_owned(), hash: None },
        ("raw", oid, Some(hash)) => {
            Half::Raw { oid: oid.to_owned(), hash: Some(parse_hash(hash)?) }
        }
        (_, _, _) => return None,
    };
    parts.next().is_none().then_some(half)
}

fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Text of a block with this label around base64, at most 64 digits in a line.
#[must_use]
pub fn armour(base64: &str) -> String {
    let label = String::from_utf8_lossy(LABEL);
    let mut out = format!("-----BEGIN {label}-----\n");
    for (at, digit) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            out.push('\n');
        }
        out.push(digit);
    }
    // A String takes every write.
    write!(out, "\n-----END {label}-----").unwrap_or_default();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::base64;
    use crate::certificates::pem;

    fn publics() -> Vec<Public> {
        let raw = |bytes: &[u8]| Public::Raw { oid: "1.3.101.112".to_owned(), bytes: bytes.into() };
        vec![
            Public::Point(vec![4, 1, 2]),
            Public::Point(vec![2, 1]),
            raw(b"key"),
            raw(b""),
            Public::Rsa { modulus: vec![9, 9], exponent: vec![1, 0, 1] },
            Public::Rsa { modulus: vec![9], exponent: vec![9, 1, 0, 1] },
        ]
    }

    #[test]
    fn a_half_survives_its_block() {
        let halves = publics().iter().map(|public| Ok(Half::of(public))).collect::<Vec<_>>();
        let whys = [encrypted(), malformed(), no_public_half()].map(Err);
        for half in halves.into_iter().chain(whys) {
            let text = armour(&base64::encode(write(&half).as_bytes()));
            let block = pem::parse(text.as_bytes()).next().unwrap();
            assert_eq!(block.label, LABEL);
            assert_eq!(read(&block), half, "{text}");
        }
    }

    #[test]
    fn only_the_same_key_matches() {
        for (at, one) in publics().iter().enumerate() {
            for (other_at, other) in publics().iter().enumerate() {
                let verdict = compare(one, &Half::of(other));
                match (at, other_at) {
                    (0, 1) | (1, 0) | (2 | 3, 3) => assert!(verdict.is_err(), "{at} {other_at}"),
                    (one, other) if one == other => assert_eq!(verdict, Ok(KeyMatch::Matches)),
                    (_, _) => assert_eq!(verdict, Ok(KeyMatch::Mismatch), "{at} {other_at}"),
                }
            }
        }
    }

    #[test]
    fn nonsense_in_a_block_is_malformed() {
        for text in ["", "rsa", "rsa:00", "point:04", "raw:1:zz", "rsa:é", "raw:1:2:3"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
