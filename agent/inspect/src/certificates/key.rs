//! Public keys, and the public half of private ones.
//!
//! Nothing here computes: RSA private keys carry their modulus, EC private keys usually carry their
//! public point, and so may Ed25519 keys. Where they do not, whether a key belongs to a certificate
//! is unknown. Private numbers are stepped over and never copied out.

use palisade_report::Why;
use palisade_report::section::certificates::Key;

use super::der;
use super::der::Element;
use super::der::Reader;
use super::half;

/// `rsaEncryption` and `id-RSASSA-PSS` (RFC 8017).
const RSA: [&str; 2] = ["1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"];
/// `id-ecPublicKey` (RFC 5480).
const EC: &str = "1.2.840.10045.2.1";
/// `id-dsa` (RFC 3279).
const DSA: &str = "1.2.840.10040.4.1";

/// Named curves with their size in bits (RFC 5480, SEC 2, RFC 5639).
const CURVES: &[(&str, u32)] = &[
    ("1.2.840.10045.3.1.1", 192),
    ("1.2.840.10045.3.1.7", 256),
    ("1.3.132.0.10", 256),
    ("1.3.132.0.33", 224),
    ("1.3.132.0.34", 384),
    ("1.3.132.0.35", 521),
    ("1.3.36.3.3.2.8.1.1.7", 256),
    ("1.3.36.3.3.2.8.1.1.11", 384),
    ("1.3.36.3.3.2.8.1.1.13", 512),
];

/// Keys of which the OID says everything (RFC 8410): name and size in bits.
const EDWARDS: &[(&str, &str, u32)] =
    &[("1.3.101.112", "ed25519", 256), ("1.3.101.113", "ed448", 456)];

/// What of a public key is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Public {
    /// The point of an elliptic curve, in the form in which it was found.
    Point(Vec<u8>),
    /// A key of an algorithm that has only one parameter-free form, with that algorithm's OID.
    Raw {
        /// The algorithm.
        oid: String,
        /// The key.
        bytes: Vec<u8>,
    },
    /// Modulus and exponent, without leading zeros.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
}

/// Kind and size of the key in a SubjectPublicKeyInfo, and the key for comparing, where it could be
/// read.
#[must_use]
pub fn parse_public(info: &Element<'_>) -> (Key, Option<Public>) {
    let mut inside = info.inside();
    let Some(algorithm) = inside.take_tag(der::SEQUENCE) else {
        return (Key { kind: String::new(), bits: 0 }, None);
    };
    let (oid, parameters) = identifier(&algorithm);
    let key = inside.take_tag(der::BIT_STRING);
    let bytes = key.as_ref().and_then(der::bits);
    if RSA.contains(&oid.as_str()) {
        let public = bytes.and_then(|bytes| {
            let mut numbers = Reader::new(bytes).take_tag(der::SEQUENCE)?.inside();
            Some((numbers.take_tag(der::INTEGER)?, numbers.take_tag(der::INTEGER)?))
        });
        let size = public.map_or(0, |(modulus, _)| bit_length(modulus.content));
        let public = public.map(|(modulus, exponent)| rsa(&modulus, &exponent));
        return (Key { kind: "rsa".to_owned(), bits: size }, public);
    }
    if oid == EC {
        let curve = parameters.filter(|element| element.tag == der::OID);
        let curve = curve.map(|element| der::dotted(element.content));
        let known = CURVES.iter().find(|(oid, _)| Some(*oid) == curve.as_deref());
        let size = known.map_or(0, |(_, bits)| *bits);
        return (
            Key { kind: "ec".to_owned(), bits: size },
            bytes.map(|b| Public::Point(b.to_vec())),
        );
    }
    if oid == DSA {
        let prime = parameters.and_then(|element| element.inside().take_tag(der::INTEGER));
        let size = prime.map_or(0, |prime| bit_length(prime.content));
        return (Key { kind: "dsa".to_owned(), bits: size }, None);
    }
    let known = EDWARDS.iter().find(|(known, _, _)| *known == oid);
    let (kind, size) = known.map_or((oid.as_str(), 0), |(_, name, bits)| (name, *bits));
    let key = Key { kind: kind.to_owned(), bits: size };
    let public = bytes.map(|bytes| Public::Raw { oid, bytes: bytes.to_vec() });
    (key, public)
}

/// The public half that a private key carries: PKCS#8 (`PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`)
/// or SEC 1 (`EC PRIVATE KEY`), told apart by structure.
///
/// # Errors
/// `malformed` if it is none of them, `unsupported` if it carries no public half.
pub fn parse_private(bytes: &[u8]) -> Result<Public, Why> {
    let malformed = half::malformed;
    let Some(outer) = Reader::new(bytes).take_tag(der::SEQUENCE) else { return Err(malformed()) };
    let mut inside = outer.inside();
    if inside.take_tag(der::INTEGER).is_none() {
        return Err(malformed());
    }
    let second = inside.take().ok_or_else(malformed)?;
    match second.tag {
        der::INTEGER => {
            let exponent = inside.take_tag(der::INTEGER).ok_or_else(malformed)?;
            Ok(rsa(&second, &exponent))
        }
        der::OCTET_STRING => point(inside).ok_or_else(half::no_public_half),
        der::SEQUENCE => {
            let (oid, _) = identifier(&second);
            let key = inside.take_tag(der::OCTET_STRING).ok_or_else(malformed)?;
            if RSA.contains(&oid.as_str()) {
                let mut numbers =
                    key.inside().take_tag(der::SEQUENCE).ok_or_else(malformed)?.inside();
                let mut next = || numbers.take_tag(der::INTEGER).ok_or_else(malformed);
                let (_version, modulus, exponent) = (next()?, next()?, next()?);
                return Ok(rsa(&modulus, &exponent));
            }
            if oid == EC {
                let mut parts =
                    key.inside().take_tag(der::SEQUENCE).ok_or_else(malformed)?.inside();
                let version = parts.take_tag(der::INTEGER);
                let number = parts.take_tag(der::OCTET_STRING);
                if version.is_none() || number.is_none() {
                    return Err(malformed());
                }
                return point(parts).ok_or_else(half::no_public_half);
            }
            // RFC 5958: [1] IMPLICIT BIT STRING after the optional attributes [0].
            while let Some(element) = inside.take() {
                if element.tag == 0x81 {
                    let bytes = der::bits(&element).ok_or_else(malformed)?.to_vec();
                    return Ok(Public::Raw { oid, bytes });
                }
            }
            // The kind is worth telling: a key of another algorithm cannot belong.
            Ok(Public::Raw { oid, bytes: Vec::new() })
        }
        _ => Err(malformed()),
    }
}

/// The point in what follows the number of a SEC 1 private key: `[0]` parameters, `[1]` point.
fn point(mut rest: Reader<'_>) -> Option<Public> {
    while let Some(element) = rest.take() {
        if element.tag == 0xa1 {
            let bits = element.inside().take_tag(der::BIT_STRING)?;
            return der::bits(&bits).map(|bytes| Public::Point(bytes.to_vec()));
        }
    }
    None
}

fn rsa(modulus: &Element<'_>, exponent: &Element<'_>) -> Public {
    let number = |element: &Element<'_>| der::magnitude(element.content).to_vec();
    Public::Rsa { modulus: number(modulus), exponent: number(exponent) }
}

/// The OID of an AlgorithmIdentifier, dotted, and its parameters.
pub(super) fn identifier<'a>(algorithm: &Element<'a>) -> (String, Option<Element<'a>>) {
    let mut inside = algorithm.inside();
    let oid = inside.take_tag(der::OID).map(|oid| der::dotted(oid.content)).unwrap_or_default();
    (oid, inside.take())
}

fn bit_length(number: &[u8]) -> u32 {
    let number = der::magnitude(number);
    let bits = number.len() * 8;
    let zeros = number.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(bits).unwrap_or(u32::MAX).saturating_sub(zeros)
}
