//! What lies in the Secret and in the ConfigMap: read into types, written from them. No I/O.
//!
//! | key of the Secret | holds |
//! |---|---|
//! | `ca.crt`, `ca.key` | the authority that signs |
//! | `tls.crt`, `tls.key` | the serving certificate |
//! | `next-ca.crt`, `next-ca.key` | the authority that will sign next, during a rotation |
//! | `old-ca.crt`, `old-since` | authorities that signed before, and since when (Unix seconds) |
//!
//! The annotation `palisade.dev/rotate` on the Secret, with any value, asks for a new authority.
//! The ConfigMap has the bundle in `ca.crt` and the moment of its publishing in the annotation
//! `palisade.dev/published-at`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Moment;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::server::ParsedCertificate;
use rustls_pki_types::UnixTime;

use super::decide::Authority;
use super::decide::AuthorityId;
use super::decide::Held;
use super::decide::Leaf;
use super::decide::MAX_OLD;
use super::decide::Names;
use super::decide::Published;
use super::decide::Rotation;
use super::decide::Unusable;
use super::make::Key;
use super::make::Pair;
use crate::tls::certificate;
use crate::tls::certificate::Certificate;
use crate::tls::certificate::Kind;

/// Keys of the Secret.
pub const CA_CERT: &str = "ca.crt";
/// See [`CA_CERT`].
pub const CA_KEY: &str = "ca.key";
/// The serving chain, as in every Secret of type `kubernetes.io/tls`.
pub const TLS_CERT: &str = "tls.crt";
/// The serving key.
pub const TLS_KEY: &str = "tls.key";
const NEXT_CERT: &str = "next-ca.crt";
const NEXT_KEY: &str = "next-ca.key";
const OLD_CERTS: &str = "old-ca.crt";
const OLD_SINCE: &str = "old-since";

/// All keys of the Secret that are ours; others are left alone.
pub const KEYS: [&str; 8] =
    [CA_CERT, CA_KEY, TLS_CERT, TLS_KEY, NEXT_CERT, NEXT_KEY, OLD_CERTS, OLD_SINCE];

/// The key of the ConfigMap that has the bundle.
pub const BUNDLE: &str = "ca.crt";

/// The annotation of the Secret by which a person asks for a new authority.
pub const ROTATE: &str = "palisade.dev/rotate";

/// The annotation of the ConfigMap that says when the bundle was published, in Unix seconds.
pub const PUBLISHED_AT: &str = "palisade.dev/published-at";

/// The values of a Secret by key.
pub type Values = BTreeMap<String, Vec<u8>>;

/// An authority with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Its certificate.
    pub certificate: Certificate,
    /// Certificate and key as text.
    pub pair: Pair,
}

/// What the Secret holds, bytes included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Material {
    /// The authority that signs.
    pub signing: Option<Signer>,
    /// The one that will sign next.
    pub next: Option<Signer>,
    /// Those that signed before, latest first.
    pub old: Vec<Certificate>,
    /// Since when the last one is retired.
    pub old_since: Option<Moment>,
    /// The serving certificate. One that cannot be used counts as none: it is made anew.
    pub leaf: Option<(Certificate, Pair)>,
}

impl Material {
    /// Reads the values of a Secret.
    ///
    /// # Errors
    /// [`Unusable`], naming the key.
    pub fn read(values: &Values) -> Result<Self, Unusable> {
        let old = match present(values, OLD_CERTS) {
            None => Vec::new(),
            Some(pem) => authorities(pem, OLD_CERTS)?,
        };
        let old_since =
            match present(values, OLD_SINCE) {
                None if old.is_empty() => None,
                None => return Err(Unusable::Corrupt { key: OLD_SINCE, what: "missing" }),
                Some(text) => Some(moment(text).ok_or(Unusable::Corrupt {
                    key: OLD_SINCE,
                    what: "no moment in Unix seconds",
                })?),
            };
        Ok(Self {
            signing: signer(values, CA_CERT, CA_KEY)?,
            next: signer(values, NEXT_CERT, NEXT_KEY)?,
            old,
            old_since,
            leaf: leaf(values),
        })
    }

    /// The values of the Secret.
    #[must_use]
    pub fn write(&self) -> Values {
        let Self { signing, next, old, old_since, leaf } = self;
        let mut values = Values::new();
        let mut put = |key: &str, text: &str| {
            values.insert(key.to_owned(), text.as_bytes().to_vec());
        };
        for (signer, cert, key) in [(signing, CA_CERT, CA_KEY), (next, NEXT_CERT, NEXT_KEY)] {
            if let Some(Signer { certificate: _, pair }) = signer {
                put(cert, &pair.certificate);
                put(key, pair.key.pem());
            }
        }
        if !old.is_empty() {
            put(OLD_CERTS, &old.iter().map(Certificate::pem).collect::<String>());
        }
        if let Some(since) = old_since.filter(|_| !old.is_empty()) {
            put(OLD_SINCE, &since.unix().to_string());
        }
        if let Some((_, pair)) = leaf {
            put(TLS_CERT, &pair.certificate);
            put(TLS_KEY, pair.key.pem());
        }
        values
    }

    /// What a decision needs to know of it.
    #[must_use]
    pub fn held(&self, wanted: &BTreeSet<String>, rotation: Rotation) -> Held {
        let Self { signing, next, old, old_since, leaf } = self;
        let signer = |it: &Signer| authority(&it.certificate);
        let held = signing.iter().chain(next).map(|it| &it.certificate).chain(old);
        let leaf = leaf.as_ref().map(|(leaf, _)| Leaf {
            issuer: held.clone().find(|it| has_signed(it, leaf)).map(|it| it.id),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            names: if leaf.names == *wanted { Names::AsWanted } else { Names::Other },
        });
        Held {
            signing: signing.as_ref().map(signer),
            next: next.as_ref().map(signer),
            old: old.iter().map(authority).collect(),
            old_since: *old_since,
            leaf,
            rotation,
        }
    }

    /// The bundle of these authorities, in the order of their ids: the order says nothing, and the
    /// same authorities always give the same bytes.
    #[must_use]
    pub fn bundle(&self, ids: &BTreeSet<AuthorityId>) -> String {
        let Self { signing, next, old, old_since: _, leaf: _ } = self;
        let held = signing.iter().chain(next).map(|it| &it.certificate).chain(old);
        let chosen: BTreeMap<_, _> =
            held.filter(|it| ids.contains(&it.id)).map(|it| (it.id, it.pem())).collect();
        chosen.into_values().collect()
    }

    /// The same without some retired authorities.
    #[must_use]
    pub fn forgetting(mut self, gone: &BTreeSet<AuthorityId>) -> Self {
        self.old.retain(|it| !gone.contains(&it.id));
        self
    }

    /// The same with an authority that will sign next, and with adopted ones as retired ones.
    #[must_use]
    pub fn with_next(mut self, next: Signer, adopted: Vec<Certificate>, now: Moment) -> Self {
        self.next = Some(next);
        if !adopted.is_empty() {
            self.old.extend(adopted);
            self.old.truncate(MAX_OLD);
            self.old_since = Some(now);
        }
        self
    }

    /// The same with the next authority signing; it has signed this certificate.
    #[must_use]
    pub fn switched(mut self, leaf: (Certificate, Pair), now: Moment) -> Self {
        if let Some(next) = self.next.take()
            && let Some(retired) = self.signing.replace(next)
        {
            self.old.insert(0, retired.certificate);
            self.old.truncate(MAX_OLD);
            self.old_since = Some(now);
        }
        self.leaf = Some(leaf);
        self
    }
}

/// Reads what the ConfigMap has published. A bundle that cannot be read is not ours and counts as
/// none: it is written anew.
#[must_use]
pub fn published(bundle: Option<&str>, at: Option<&str>) -> (Published, Vec<Certificate>) {
    let certificates = bundle.and_then(|pem| certificate::parse_all(pem.as_bytes()).ok());
    let certificates = certificates.unwrap_or_default();
    let authorities = certificates.iter().map(authority).collect();
    (Published { authorities, at: at.and_then(|text| moment(text.as_bytes())) }, certificates)
}

fn present<'a>(values: &'a Values, key: &str) -> Option<&'a [u8]> {
    values.get(key).map(Vec::as_slice).filter(|value| !value.is_empty())
}

fn moment(text: &[u8]) -> Option<Moment> {
    std::str::from_utf8(text).ok()?.trim().parse().ok().map(Moment::from_unix)
}

fn signer(
    values: &Values,
    cert: &'static str,
    key: &'static str,
) -> Result<Option<Signer>, Unusable> {
    let (pem, secret) = match (present(values, cert), present(values, key)) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(Unusable::Corrupt { key: cert, what: "missing" }),
        (Some(_), None) => return Err(Unusable::Corrupt { key, what: "missing" }),
        (Some(pem), Some(secret)) => (pem, secret),
    };
    let mut all = authorities(pem, cert)?.into_iter();
    let (Some(certificate), None) = (all.next(), all.next()) else {
        return Err(Unusable::Corrupt { key: cert, what: "more than one certificate" });
    };
    let no_key = Unusable::Corrupt { key, what: "no private key in PEM (PKCS #8)" };
    let secret = String::from_utf8(secret.to_vec()).map_err(|_| no_key.clone())?;
    let secret = Key::from_pem(secret);
    match secret.public() {
        None => Err(no_key),
        Some(public) if public != certificate.public_key => {
            Err(Unusable::Corrupt { key, what: "the key of another certificate" })
        }
        Some(_) => {
            let pair = Pair { certificate: certificate.pem(), key: secret };
            Ok(Some(Signer { certificate, pair }))
        }
    }
}

fn authorities(pem: &[u8], key: &'static str) -> Result<Vec<Certificate>, Unusable> {
    let all = certificate::parse_all(pem)
        .map_err(|_| Unusable::Corrupt { key, what: "no certificate in PEM" })?;
    if all.iter().any(|it| it.kind != Kind::Authority) {
        return Err(Unusable::Corrupt { key, what: "no certificate of an authority" });
    }
    Ok(all)
}

fn leaf(values: &Values) -> Option<(Certificate, Pair)> {
    let text = |key| String::from_utf8(present(values, key)?.to_vec()).ok();
    let pair = Pair { certificate: text(TLS_CERT)?, key: Key::from_pem(text(TLS_KEY)?) };
    let leaf = certificate::parse_all(pair.certificate.as_bytes()).ok()?.into_iter().next()?;
    (pair.key.public()? == leaf.public_key).then_some((leaf, pair))
}

fn authority(certificate: &Certificate) -> Authority {
    let Certificate { der: _, id, not_before, not_after, names: _, public_key: _, kind: _ } =
        certificate;
    Authority { id: *id, not_before: *not_before, not_after: *not_after }
}

/// Whether an agent that trusts `authority` alone would accept `leaf` for its signature, at a time
/// when it is valid.
fn has_signed(authority: &Certificate, leaf: &Certificate) -> bool {
    let mut roots = RootCertStore::empty();
    let Ok(parsed) = ParsedCertificate::try_from(&leaf.der) else { return false };
    let Ok(within) = u64::try_from(leaf.not_before.plus(1).unix()) else { return false };
    let within = UnixTime::since_unix_epoch(std::time::Duration::from_secs(within));
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    roots.add(authority.der.clone()).is_ok()
        && verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], within, algorithms)
            .is_ok()
}

#[cfg(test)]
mod tests;
