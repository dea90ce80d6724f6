//! The certificates of a control plane, made anew for each: the cluster's authority, the one of the
//! aggregation layer, and the key that signs service account tokens.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;
use std::time::SystemTime;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::SanType;

/// For clocks of machines that are a little behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// How long certificates are valid unless a test says otherwise: what kubeadm gives.
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pair")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// A key for signing tokens: the "certificate" is the public key alone, PEM.
    ///
    /// # Panics
    /// If the system gives no randomness.
    #[must_use]
    pub fn signing_key() -> Self {
        let key = KeyPair::generate().expect("a key");
        Self { certificate: key.public_key_pem(), key: key.serialize_pem() }
    }
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    parameters: CertificateParams,
    key: KeyPair,
    certificate: String,
}

impl Authority {
    /// A new one with this common name, valid for ten years.
    ///
    /// # Panics
    /// If the system gives no randomness.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut parameters = parameters(name, 10 * YEAR);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("sign an authority").pem();
        Self { parameters, key, certificate }
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its certificate and key.
    #[must_use]
    pub fn pair(&self) -> Pair {
        Pair { certificate: self.certificate.clone(), key: self.key.serialize_pem() }
    }

    /// A serving certificate for these DNS names and addresses.
    ///
    /// # Panics
    /// If a name is neither.
    #[must_use]
    pub fn server(&self, name: &str, served: &[String]) -> Pair {
        let now = SystemTime::now();
        self.server_within(now - BACKDATED..now + YEAR, name, served)
    }

    /// The same, valid at these times only.
    ///
    /// # Panics
    /// If a name is neither.
    #[must_use]
    pub fn server_within(&self, valid: Range<SystemTime>, name: &str, served: &[String]) -> Pair {
        let mut parameters = parameters(name, YEAR);
        parameters.not_before = valid.start.into();
        parameters.not_after = valid.end.into();
        for name in served {
            parameters.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().expect("a DNS name")),
            });
        }
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(parameters)
    }

    /// A client certificate: Kubernetes takes the common name as the user, organisations as groups.
    ///
    /// # Panics
    /// With more than two groups, which the certificate library cannot write.
    #[must_use]
    pub fn client(&self, user: &str, groups: &[&str], valid_for: Duration) -> Pair {
        // The library keeps one value per attribute type; the second spelling of the same type makes
        // room for a second value.
        const ORGANISATION: &[u64] = &[2, 5, 4, 10];
        let kinds = [DnType::OrganizationName, DnType::CustomDnType(ORGANISATION.to_vec())];
        assert!(groups.len() <= kinds.len(), "at most {} groups: {groups:?}", kinds.len());
        let mut parameters = parameters(user, valid_for);
        for (kind, group) in kinds.into_iter().zip(groups) {
            parameters.distinguished_name.push(kind, *group);
        }
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(parameters)
    }

    fn sign(&self, mut parameters: CertificateParams) -> Pair {
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.parameters, &self.key);
        let certificate = parameters.signed_by(&key, &issuer).expect("sign a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn parameters(name: &str, valid_for: Duration) -> CertificateParams {
    let now = SystemTime::now();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = (now - BACKDATED).into();
    parameters.not_after = (now + valid_for).into();
    parameters
}
