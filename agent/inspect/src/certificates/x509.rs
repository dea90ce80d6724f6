//! One X.509 certificate (RFC 5280), read twice.
//!
//! The facts come from a walk by position that asks only for what it needs: certificates that strict
//! libraries refuse are still served, and their end of validity is what people need to know. A
//! strict library reads the same bytes for a second opinion; what it refuses becomes a doubt beside
//! the facts, never instead of them.
//!
//! ```text
//! DER ─┬─> walk by position ──> facts, identity (names, key identifiers), public key
//!      └─> x509-parser ───────> doubt
//! ```
//!
//! Signatures are not checked here: this crate holds no public-key cryptography.

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::certificates::Certificate;
use palisade_report::section::certificates::Class;

use super::der;
use super::der::Element;
use super::der::Reader;
use super::key;
use super::key::Public;
use super::name;
use super::validity;

/// Bytes of a serial number that are turned into decimal; RFC 5280 4.1.2.2 allows 20.
const MAX_SERIAL: usize = 128;

/// Extended key usages that are kept of one certificate; a dozen are registered.
const MAX_USAGES: usize = 32;

/// Signature algorithms by OID (RFC 8017, RFC 5758, RFC 8410, RFC 3279), as OpenSSL names them.
const SIGNATURES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.2", "md2WithRSAEncryption"),
    ("1.2.840.113549.1.1.4", "md5WithRSAEncryption"),
    ("1.2.840.113549.1.1.5", "sha1WithRSAEncryption"),
    ("1.2.840.113549.1.1.10", "rsassaPss"),
    ("1.2.840.113549.1.1.11", "sha256WithRSAEncryption"),
    ("1.2.840.113549.1.1.12", "sha384WithRSAEncryption"),
    ("1.2.840.113549.1.1.13", "sha512WithRSAEncryption"),
    ("1.2.840.113549.1.1.14", "sha224WithRSAEncryption"),
    ("1.2.840.10040.4.3", "dsa-with-SHA1"),
    ("2.16.840.1.101.3.4.3.2", "dsa_with_SHA256"),
    ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
    ("1.2.840.10045.4.3.1", "ecdsa-with-SHA224"),
    ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256"),
    ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384"),
    ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512"),
    ("1.3.101.112", "ED25519"),
    ("1.3.101.113", "ED448"),
];

/// Extended key usages by OID (RFC 5280 4.2.1.12).
const USAGES: &[(&str, &str)] = &[
    ("1.3.6.1.5.5.7.3.1", "serverAuth"),
    ("1.3.6.1.5.5.7.3.2", "clientAuth"),
    ("1.3.6.1.5.5.7.3.3", "codeSigning"),
    ("1.3.6.1.5.5.7.3.4", "emailProtection"),
    ("1.3.6.1.5.5.7.3.8", "timeStamping"),
    ("1.3.6.1.5.5.7.3.9", "OCSPSigning"),
    ("2.5.29.37.0", "anyExtendedKeyUsage"),
];

/// A certificate that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its facts; index, entry, key match and chain are not set yet.
    pub facts: Certificate,
    /// Who it is and who issued it.
    pub identity: Identity,
    /// Its public key, where its form is known.
    pub public: Option<Public>,
    /// What a strict reader refuses it for.
    pub doubt: Option<String>,
}

/// What links a certificate to its issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The whole subject, see [`name::text`].
    pub subject: String,
    /// The whole issuer.
    pub issuer: String,
    /// subjectKeyIdentifier.
    pub key_id: Option<Vec<u8>>,
    /// keyIdentifier of authorityKeyIdentifier.
    pub issuer_key_id: Option<Vec<u8>>,
}

/// The bytes are no certificate. At fault: the node's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed certificate: no {missing} where one was expected")]
pub struct Malformed {
    missing: &'static str,
}

/// Reads the certificate at the start of `bytes`; what follows it (trust settings of OpenSSL, for
/// one) is ignored.
///
/// # Errors
/// [`Malformed`] if serial number, names, validity and key are not at their places.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let missing = |missing| move || Malformed { missing };
    let outer = Reader::new(bytes).take_tag(der::SEQUENCE).ok_or_else(missing("certificate"))?;
    let mut outside = outer.inside();
    let body = outside.take_tag(der::SEQUENCE).ok_or_else(missing("body"))?;
    let mut inside = body.inside();
    let version = inside.take_tag(0xa0);
    let serial = inside.take_tag(der::INTEGER).ok_or_else(missing("serial number"))?;
    let signature = inside.take_tag(der::SEQUENCE).ok_or_else(missing("signature algorithm"))?;
    let issuer = inside.take_tag(der::SEQUENCE).ok_or_else(missing("issuer"))?;
    let validity = inside.take_tag(der::SEQUENCE).ok_or_else(missing("validity"))?;
    let subject = inside.take_tag(der::SEQUENCE).ok_or_else(missing("subject"))?;
    let info = inside.take_tag(der::SEQUENCE).ok_or_else(missing("public key"))?;

    let (key, public) = key::parse_public(&info);
    let (subject, issuer) = (name::text(&subject), name::text(&issuer));
    let extensions = Extensions::parse(inside);
    let class = if extensions.authority || (version.is_none() && subject == issuer) {
        Class::Authority
    } else {
        Class::Leaf
    };
    let mut times = validity.inside();
    let facts = Certificate {
        fingerprint: Digest::of(outer.whole),
        index: 0,
        entry: String::new(),
        subject: name::shown(&subject),
        issuer: name::shown(&issuer),
        serial: decimal(serial.content),
        names: extensions.names,
        key,
        signature: named(SIGNATURES, &key::identifier(&signature).0),
        not_before: moment(times.take(), "start of validity"),
        not_after: moment(times.take(), "end of validity"),
        class,
        usages: extensions.usages,
        key_match: Reading::absent(Origin::words("no key is expected")),
        chain: Reading::absent(Origin::words("no authority is named")),
    };
    let identity = Identity {
        subject,
        issuer,
        key_id: extensions.key_id,
        issuer_key_id: extensions.issuer_key_id,
    };
    let doubt = match x509_parser::parse_x509_certificate(outer.whole) {
        Ok(_) => None,
        Err(error) => Some(format!("a strict reader refuses it: {error}")),
    };
    Ok(Parsed { facts, identity, public, doubt })
}

fn moment(time: Option<Element<'_>>, what: &'static str) -> Reading<Moment> {
    match time.as_ref().and_then(validity::parse) {
        Some(moment) => Reading::known(moment, Origin::words("certificate")),
        None => {
            let text = time.map(|time| String::from_utf8_lossy(time.content).into_owned());
            let detail = format!("{what} is no date: {:?}", text.unwrap_or_default());
            Reading::unknown(Why::new(WhyKind::Malformed, detail), Origin::words("certificate"))
        }
    }
}

/// The name of an OID, or the OID.
fn named(table: &[(&str, &str)], oid: &str) -> String {
    table.iter().find(|(known, _)| *known == oid).map_or(oid, |(_, name)| name).to_owned()
}

/// An INTEGER in decimal. Over-long ones as `0x` and the first hexadecimal digits.
fn decimal(content: &[u8]) -> String {
    if content.len() > MAX_SERIAL {
        let digits: String =
            content.iter().take(MAX_SERIAL / 2).map(|byte| format!("{byte:02x}")).collect();
        return name::shown(&format!("0x{digits}…"));
    }
    let negative = content.first().is_some_and(|byte| byte & 0x80 != 0);
    // Decimal digits, lowest first: multiply by 256 and add, byte by byte.
    let mut digits: Vec<u8> = vec![0];
    let mut carry = u32::from(negative);
    let magnitude: Vec<u8> = if negative {
        // Two's complement: invert and add one, from the lowest byte.
        let inverted = content.iter().rev().map(|byte| {
            let sum = u32::from(!byte) + carry;
            carry = sum >> 8;
            sum.to_be_bytes()[3]
        });
        let mut bytes: Vec<u8> = inverted.collect();
        bytes.reverse();
        if carry > 0 {
            bytes.insert(0, 1);
        }
        bytes
    } else {
        content.to_vec()
    };
    for byte in magnitude {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            let sum = u32::from(*digit) * 256 + carry;
            *digit = (sum % 10).to_be_bytes()[3];
            carry = sum / 10;
        }
        while carry > 0 {
            digits.push((carry % 10).to_be_bytes()[3]);
            carry /= 10;
        }
    }
    let sign = if negative { "-" } else { "" };
    let text: String = digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
    format!("{sign}{text}")
}

/// What the facts need of the extensions. A malformed one counts as missing.
#[derive(Default)]
struct Extensions {
    authority: bool,
    names: Vec<String>,
    usages: Vec<String>,
    key_id: Option<Vec<u8>>,
    issuer_key_id: Option<Vec<u8>>,
}

impl Extensions {
    /// From what follows the public key: unique identifiers `[1]`, `[2]`, then extensions `[3]`.
    fn parse(mut rest: Reader<'_>) -> Self {
        let mut extensions = Self::default();
        let mut list = None;
        while let Some(element) = rest.take() {
            if element.tag == 0xa3 {
                list = element.inside().take_tag(der::SEQUENCE);
            }
        }
        let Some(list) = list else { return extensions };
        let mut entries = list.inside();
        while let Some(entry) = entries.take_tag(der::SEQUENCE) {
            let mut parts = entry.inside();
            let Some(oid) = parts.take_tag(der::OID) else { continue };
            // Whether it is critical matters to those who verify, not here.
            parts.take_tag(0x01);
            if let Some(value) = parts.take_tag(der::OCTET_STRING) {
                extensions.note(&der::dotted(oid.content), value.content);
            }
        }
        extensions
    }

    fn note(&mut self, oid: &str, value: &[u8]) {
        let mut reader = Reader::new(value);
        match oid {
            // subjectKeyIdentifier
            "2.5.29.14" => {
                let id = reader.take_tag(der::OCTET_STRING);
                self.key_id = id.map(|id| id.content.to_vec());
            }
            // subjectAltName
            "2.5.29.17" => self.names = name::alternatives(value),
            // basicConstraints
            "2.5.29.19" => {
                let list = reader.take_tag(der::SEQUENCE);
                let flag = list.and_then(|list| list.inside().take_tag(0x01));
                self.authority =
                    flag.is_some_and(|flag| flag.content.iter().any(|byte| *byte != 0));
            }
            // authorityKeyIdentifier
            "2.5.29.35" => {
                let list = reader.take_tag(der::SEQUENCE);
                let id = list.and_then(|list| list.inside().take_tag(0x80));
                self.issuer_key_id = id.map(|id| id.content.to_vec());
            }
            // extKeyUsage
            "2.5.29.37" => {
                let Some(list) = reader.take_tag(der::SEQUENCE) else { return };
                let mut usages = list.inside();
                while let Some(usage) = usages.take_tag(der::OID) {
                    if self.usages.len() == MAX_USAGES {
                        return;
                    }
                    self.usages.push(named(USAGES, &der::dotted(usage.content)));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_decimal_whatever_their_length_and_sign() {
        for (bytes, text) in [
            (&[][..], "0"),
            (&[0], "0"),
            (&[0, 0xff], "255"),
            (&[0xff], "-1"),
            (&[0x80], "-128"),
            (&[0xff, 0], "-256"),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0], "18446744073709551616"),
        ] {
            assert_eq!(decimal(bytes), text, "{bytes:?}");
        }
        assert!(decimal(&[1; 5000]).starts_with("0x0101"));
        assert!(decimal(&[1; MAX_SERIAL]).len() <= 310);
    }
}
