//! What the collector needs to know of its own certificates, read from DER (RFC 5280).
//!
//! The certificates of nodes are read elsewhere, by agents; here is no judgement either.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_report::Digest;
use palisade_report::Moment;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Certificates that one bundle or chain may have.
const MAX_CERTIFICATES: usize = 64;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its bytes.
    pub der: CertificateDer<'static>,
    /// SHA-256 of its bytes.
    pub id: Digest,
    /// Its start.
    pub not_before: Moment,
    /// Its end.
    pub not_after: Moment,
    /// DNS names and addresses of its subjectAltName.
    pub names: BTreeSet<String>,
    /// Its public key, as subjectPublicKeyInfo has it.
    pub public_key: Vec<u8>,
    /// Whether it is an authority's, by its basicConstraints.
    pub kind: Kind,
}

impl Certificate {
    /// Its text: RFC 7468, 64 characters a line.
    #[must_use]
    pub fn pem(&self) -> String {
        let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
        // 48 bytes become one line of 64 characters.
        for line in self.der.chunks(48) {
            line.chunks(3).for_each(|group| base64(group, &mut text));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
        text
    }
}

/// Up to three bytes in base64 (RFC 4648).
fn base64(group: &[u8], text: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    for digit in 0..4_usize {
        let at = usize::try_from(bits >> (18 - 6 * digit) & 0x3f).unwrap_or_default();
        let character = DIGITS.get(at).filter(|_| digit <= group.len());
        text.push(character.map_or('=', |byte| char::from(*byte)));
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It signs others.
    Authority,
    /// It signs nothing.
    Leaf,
}

/// Text or bytes that hold no certificate. At fault: whoever wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No PEM, or no certificate in it.
    #[error("no certificate in PEM")]
    Pem,
    /// The PEM holds something else than certificates as of RFC 5280.
    #[error("malformed certificate")]
    Der,
    /// More than anybody needs.
    #[error("more than {MAX_CERTIFICATES} certificates")]
    TooMany,
}

/// The certificates of a PEM text, at least one.
///
/// # Errors
/// [`Malformed`], if there is none, or one that cannot be read.
pub fn parse_all(pem: &[u8]) -> Result<Vec<Certificate>, Malformed> {
    let mut all = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        if all.len() == MAX_CERTIFICATES {
            return Err(Malformed::TooMany);
        }
        all.push(parse(der.map_err(|_| Malformed::Pem)?)?);
    }
    if all.is_empty() { Err(Malformed::Pem) } else { Ok(all) }
}

/// One certificate.
///
/// # Errors
/// [`Malformed::Der`].
pub fn parse(der: CertificateDer<'static>) -> Result<Certificate, Malformed> {
    let (rest, read) = X509Certificate::from_der(&der).map_err(|_| Malformed::Der)?;
    if !rest.is_empty() {
        return Err(Malformed::Der);
    }
    let moment = |time: x509_parser::time::ASN1Time| Moment::from_unix(time.timestamp());
    let alternatives = read.subject_alternative_name().map_err(|_| Malformed::Der)?;
    let mut names = BTreeSet::new();
    for name in alternatives.iter().flat_map(|it| &it.value.general_names) {
        match name {
            GeneralName::DNSName(name) => {
                names.insert((*name).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                names.insert(address(bytes).ok_or(Malformed::Der)?.to_string());
            }
            // Nothing that agents ask for.
            GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::Invalid(..)
            | GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::URI(_)
            | GeneralName::X400Address(_) => {}
        }
    }
    let kind = if read.is_ca() { Kind::Authority } else { Kind::Leaf };
    let (not_before, not_after) =
        (moment(read.validity().not_before), moment(read.validity().not_after));
    let public_key = read.public_key().subject_public_key.data.to_vec();
    let id = Digest::of(&der);
    drop(read);
    Ok(Certificate { id, not_before, not_after, names, public_key, kind, der })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
