//! Keys and certificates, made by rcgen: ECDSA over P-256, as the kubelet's own.
//!
//! An authority is found again by its key alone: its name is derived from the key, so that nothing
//! but the key is needed to issue.

use std::time::Duration;

use palisade_report::Digest;
use palisade_report::Moment;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PublicKeyData as _;

use super::decide::BACKDATE_SECS;

/// A private key in PEM (PKCS #8).
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(a secret)")
    }
}

impl Key {
    /// The key of this text; it is not looked at yet.
    #[must_use]
    pub fn from_pem(pem: String) -> Self {
        Self(pem)
    }

    /// The text.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.0
    }

    /// Its public half, as subjectPublicKeyInfo has it; `None` if this is no private key that can
    /// be used here.
    #[must_use]
    pub fn public(&self) -> Option<Vec<u8>> {
        KeyPair::from_pem(&self.0).ok().map(|pair| pair.der_bytes().to_vec())
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate in PEM.
    pub certificate: String,
    /// The key.
    pub key: Key,
}

/// Nothing could be made. At fault: the machine's source of randomness, or a name in the settings.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The key of the authority cannot be used.
    #[error("failed to use the key of the authority")]
    Key(#[source] rcgen::Error),
    /// No key could be made.
    #[error("failed to make a key")]
    Generate(#[source] rcgen::Error),
    /// One of the names is none.
    #[error("failed to put the names of the service into a certificate")]
    Names(#[source] rcgen::Error),
    /// The certificate could not be signed.
    #[error("failed to sign a certificate")]
    Sign(#[source] rcgen::Error),
}

/// An authority that lives for `life_secs` from `now`.
///
/// # Errors
/// [`MakeError`].
pub fn authority(life_secs: i64, now: Moment) -> Result<Pair, MakeError> {
    let key = KeyPair::generate().map_err(MakeError::Generate)?;
    let mut params = authority_params(&key);
    set_life(&mut params, now.plus(-BACKDATE_SECS), now.plus(life_secs));
    let made = params.self_signed(&key).map_err(MakeError::Sign)?;
    Ok(Pair { certificate: made.pem(), key: Key(key.serialize_pem()) })
}

/// A serving certificate for `names` (DNS names and addresses) that ends at `until`.
///
/// # Errors
/// [`MakeError`].
pub fn leaf(
    names: &[String],
    authority: &Key,
    until: Moment,
    now: Moment,
) -> Result<Pair, MakeError> {
    let signing = KeyPair::from_pem(authority.pem()).map_err(MakeError::Key)?;
    let issuer = Issuer::new(authority_params(&signing), signing);
    let key = KeyPair::generate().map_err(MakeError::Generate)?;
    let mut params = CertificateParams::new(names).map_err(MakeError::Names)?;
    params.distinguished_name = name("palisade collector");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_life(&mut params, now.plus(-BACKDATE_SECS), until);
    let made = params.signed_by(&key, &issuer).map_err(MakeError::Sign)?;
    Ok(Pair { certificate: made.pem(), key: Key(key.serialize_pem()) })
}

/// A certificate that nobody trusts, for the time before there is a real one: probes, which verify
/// nothing, are answered, and agents turn away as if nobody were there.
///
/// # Errors
/// [`MakeError`].
pub fn placeholder(now: Moment) -> Result<Pair, MakeError> {
    const LIFE_SECS: i64 = 86_400;
    let key = KeyPair::generate().map_err(MakeError::Generate)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("palisade collector without a certificate yet");
    set_life(&mut params, now.plus(-BACKDATE_SECS), now.plus(LIFE_SECS));
    let made = params.self_signed(&key).map_err(MakeError::Sign)?;
    Ok(Pair { certificate: made.pem(), key: Key(key.serialize_pem()) })
}

fn authority_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name =
        name(&format!("palisade authority {}", Digest::of(key.der_bytes()).short()));
    // It signs leaves and no further authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn set_life(params: &mut CertificateParams, from: Moment, until: Moment) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Beyond the year 9999 there is no date to write; years of thousands of days do not get there.
    let last = Moment::from_unix(253_402_300_799);
    let at = |moment: Moment| {
        epoch + Duration::from_secs(u64::try_from(moment.min(last).unix()).unwrap_or_default())
    };
    (params.not_before, params.not_after) = (at(from), at(until));
}
