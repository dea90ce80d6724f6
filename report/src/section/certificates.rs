//! Certificates: what is on disk, and why each file is watched.
//!
//! Moments only, never days left: the clock belongs to whoever judges.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;
use crate::reading::Reading;
use crate::reading::Why;
use crate::time::Moment;

/// Certificates by the path of the file that holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// Every watched file, those that are missing included.
    pub files: BTreeMap<String, CertificateFile>,
    /// Watched files that did not fit the bounds of one inspection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Why>,
}

/// A watched file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFile {
    /// Why it is watched, in words: `kubelet --kubeconfig`, `kubeadm inventory`, `setting`.
    pub watched: BTreeSet<String>,
    /// Whether it must be there.
    pub expected: Expectation,
    /// Where its links lead; absent when it is no link. Of a link that leads to nothing, its text.
    pub resolved: Reading<String>,
    /// What it holds. Absent: the file is not there. Unknown: it could not be read or holds no
    /// certificate.
    pub certificates: Reading<Vec<Certificate>>,
    /// Blocks that could not be read, beside those that could.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub malformed: Vec<Why>,
}

/// Whether a watched file must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// It may be missing.
    Optional,
    /// A component on this host names it; missing is a defect.
    Required,
}

/// One certificate, read leniently: what is still served must still be reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 of its DER.
    pub fingerprint: Digest,
    /// Its place among the certificates of the file, from 0.
    pub index: u32,
    /// Entry of a kubeconfig that embeds it: `user admin`, `cluster prod`; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entry: String,
    /// Subject in RFC 4514 order, at most 256 bytes.
    pub subject: String,
    /// Issuer, likewise.
    pub issuer: String,
    /// Serial number in decimal, as x509-certificate-exporter labels it.
    pub serial: String,
    /// Subject alternative names, `DNS:`, `IP:`, `URI:` or `email:` before each, at most 64.
    pub names: Vec<String>,
    /// Kind and size of the public key.
    pub key: Key,
    /// Signature algorithm: `sha256WithRSAEncryption`, or its OID.
    pub signature: String,
    /// Start of validity; unknown when the date is impossible.
    pub not_before: Reading<Moment>,
    /// End of validity. 9999-12-31T23:59:59Z means that it does not expire (RFC 5280 4.1.2.5).
    pub not_after: Reading<Moment>,
    /// Authority or end entity.
    pub class: Class,
    /// Extended key usages by name: `serverAuth`, `clientAuth`.
    pub usages: Vec<String>,
    /// Whether the private key that belongs to the file matches. Absent: no key is expected here.
    pub key_match: Reading<KeyMatch>,
    /// Whether it verifies to the authority that its consumer names. Absent: none is named.
    pub chain: Reading<Chain>,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `rsa`, `ec`, `ed25519`, `dsa`, or the OID.
    pub kind: String,
    /// Size in bits; 0 when it could not be told.
    pub bits: u32,
}

/// Authority or end entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// basicConstraints say CA, or a version 1 certificate that signed itself.
    Authority,
    /// Anything else.
    Leaf,
}

/// Whether a private key belongs to a certificate. Only this answer leaves the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyMatch {
    /// The public halves are equal.
    Matches,
    /// They differ: the component will fail to start or to serve.
    Mismatch,
}

/// Whether a certificate verifies to the authority that its consumer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    /// Name and key identifier are those of the named authority. The signature was not checked.
    KeyIdMatches,
    /// Its own issuer; or its chain ends in its own file instead of at the named authority, as that
    /// of a pair which the kubelet makes for itself.
    SelfSigned,
    /// The issuer's name matches and its key does not: a re-created authority.
    WrongKey,
    /// No certificate of that name in the bundle.
    UnknownIssuer,
    /// Signature checked against the named authority.
    Verified,
}
