//! Reads watched files and turns them into facts.

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::certificates::Certificate;
use palisade_report::section::certificates::CertificateFile;
use palisade_report::section::certificates::Expectation;
use palisade_report::section::certificates::KeyMatch;

use super::chain;
use super::chain::Authority;
use super::contents;
use super::contents::Found;
use super::half;
use super::half::Half;
use super::key::Public;
use super::kubeconfig;
use super::kubeconfig::Kubeconfig;
use super::kubeconfig::Source;
use super::name;
use super::secret::Secret;
use super::watch::Kind;
use super::watch::Wanted;
use super::watch::Watch;
use super::watch::Watches;
use super::watch::beside;
use super::watch::clean_path;
use super::x509::Identity;
use super::x509::Parsed;
use crate::Host;
use crate::ReadError;

/// Bytes of a file with certificates.
const MAX_FILE: usize = 1024 * 1024;

/// Bytes of a bundle of authorities: public ones have about 250 KiB.
const MAX_BUNDLE: usize = 4 * 1024 * 1024;

/// Bytes of a file with a private key: RSA of 16,384 bits takes 13 KiB.
const MAX_KEY: usize = 64 * 1024;

/// Certificates of one inspection: they are kept in memory and sent.
const MAX_TOTAL: usize = 4096;

/// The public halves of the keys of one file, or why the file could not be read.
type Halves = Result<Vec<Result<Half, Why>>, Why>;

/// What became of one file.
#[derive(Debug)]
pub(super) struct Examined {
    resolved: Reading<String>,
    certificates: Reading<Vec<Certificate>>,
    malformed: Vec<Why>,
}

impl Examined {
    /// With why it is watched.
    pub(super) fn into_facts(self, watch: Watch) -> CertificateFile {
        let Self { resolved, certificates, malformed } = self;
        CertificateFile {
            watched: watch.reasons,
            expected: watch.expected,
            resolved,
            certificates,
            malformed,
        }
    }

    /// Of a file that could not be read. A link that leads to nothing still tells where it leads.
    fn failed(host: &dyn Host, path: &str, error: ReadError) -> Self {
        let resolved = match (&error, host.read_link(path)) {
            (ReadError::NotFound { .. }, Ok(target)) => {
                Reading::known(name::shown(&target), Origin::path(path))
            }
            (ReadError::NotFound { .. } | ReadError::Failed { .. }, _) => error.clone().reading(),
        };
        Self { resolved, certificates: error.reading(), malformed: Vec::new() }
    }
}

/// Reads files of one host; bundles of authorities are read once.
pub(super) struct Examiner<'a> {
    host: &'a dyn Host,
    bundles: BTreeMap<String, Result<Vec<Identity>, Why>>,
    total: usize,
}

impl<'a> Examiner<'a> {
    pub(super) const fn new(host: &'a dyn Host) -> Self {
        Self { host, bundles: BTreeMap::new(), total: 0 }
    }

    /// Reads a kubeconfig and watches what it names.
    pub(super) fn kubeconfig(
        &mut self,
        path: &str,
        watch: &Watch,
        watches: &mut Watches,
    ) -> Examined {
        let (bytes, resolved) = match self.load(path, MAX_FILE) {
            Ok(loaded) => loaded,
            Err(error) => return Examined::failed(self.host, path, error),
        };
        match kubeconfig::parse(bytes.bytes()) {
            Ok(config) => self.entries(path, watch, config, resolved, watches),
            Err(error) => {
                let why = Why::new(WhyKind::Malformed, error.to_string());
                let certificates = Reading::unknown(why, Origin::path(path));
                Examined { resolved, certificates, malformed: Vec::new() }
            }
        }
    }

    /// Reads a file with certificates.
    pub(super) fn file(&mut self, path: &str, watch: &Watch, watches: &mut Watches) -> Examined {
        let limit = match watch.kind {
            Kind::Any | Kind::Bundle => MAX_BUNDLE,
            Kind::Certificates | Kind::Kubeconfig => MAX_FILE,
        };
        let (bytes, resolved) = match self.load(path, limit) {
            Ok(loaded) => loaded,
            Err(error) => return Examined::failed(self.host, path, error),
        };
        let found = match contents::parse(bytes.bytes()) {
            Ok(found) => found,
            Err(why) => {
                let config = (watch.kind == Kind::Any && bytes.bytes().len() <= MAX_FILE)
                    .then(|| kubeconfig::parse(bytes.bytes()).ok())
                    .flatten()
                    .filter(|config| !config.entries.is_empty());
                if let Some(config) = config {
                    return self.entries(path, watch, config, resolved, watches);
                }
                let certificates = Reading::unknown(why, Origin::path(path));
                return Examined { resolved, certificates, malformed: Vec::new() };
            }
        };
        let key = match &watch.key {
            Some(key) => Some((key.as_str(), self.keys(key))),
            None if found.keys.is_empty() => None,
            None => Some((path, Ok(found.keys.clone()))),
        };
        self.judged(path, watch, found, key, "", resolved)
    }

    fn entries(
        &mut self,
        path: &str,
        watch: &Watch,
        config: Kubeconfig,
        resolved: Reading<String>,
        watches: &mut Watches,
    ) -> Examined {
        let mut malformed = Vec::new();
        let mut certificates = Vec::new();
        for entry in config.entries {
            let cluster = entry.name.starts_with("cluster ");
            let entry_name = name::shown(&entry.name);
            match entry.certificates {
                Source::Nowhere => {}
                Source::File(file) => {
                    let key = match entry.key {
                        Source::File(key) => Some(beside(path, &key)),
                        Source::Embedded(_) | Source::Nowhere => None,
                    };
                    watches.add(Wanted {
                        path: beside(path, &file),
                        reason: format!("kubeconfig {path} ({entry_name})"),
                        expected: Expectation::Required,
                        kind: if cluster { Kind::Bundle } else { Kind::Certificates },
                        key,
                        authority: if cluster { None } else { watch.authority.clone() },
                    });
                }
                Source::Embedded(data) => {
                    let found = data.ok_or_else(|| Why::new(WhyKind::Malformed, "no base64"));
                    let found = found.and_then(|data| contents::parse(data.bytes()));
                    let found = match found {
                        Ok(found) => found,
                        Err(why) => {
                            let detail = format!("{entry_name}: {why}");
                            malformed.push(Why::new(why.kind, detail));
                            continue;
                        }
                    };
                    let key = match &entry.key {
                        Source::Embedded(Some(key)) => {
                            Some((path.to_owned(), Ok(contents::parse_keys(key.bytes()))))
                        }
                        Source::Embedded(None) => {
                            let why = Why::new(WhyKind::Malformed, "the private key is no base64");
                            Some((path.to_owned(), Err(why)))
                        }
                        Source::File(key) => {
                            let key = clean_path(&beside(path, key)).unwrap_or_default();
                            let keys = self.keys(&key);
                            Some((key, keys))
                        }
                        Source::Nowhere => None,
                    };
                    let key = key.as_ref().map(|(path, keys)| (path.as_str(), keys.clone()));
                    let authority = if cluster { None } else { watch.authority.clone() };
                    let watch = Watch { authority, ..watch.clone() };
                    let examined = self.judged(
                        path,
                        &watch,
                        found,
                        key,
                        &entry_name,
                        Reading::absent(Origin::path(path)),
                    );
                    malformed.extend(examined.malformed);
                    match examined.certificates {
                        Reading::Known { value, .. } => certificates.extend(value),
                        Reading::Absent { .. } => {}
                        Reading::Unknown { why, .. } => malformed.push(why),
                    }
                }
            }
        }
        for (index, certificate) in certificates.iter_mut().enumerate() {
            certificate.index = u32::try_from(index).unwrap_or(u32::MAX);
        }
        let certificates = if certificates.is_empty() && !malformed.is_empty() {
            let why = Why::new(WhyKind::Malformed, "no embedded certificate could be read");
            Reading::unknown(why, Origin::path(path))
        } else {
            Reading::known(certificates, Origin::path(path))
        };
        Examined { resolved, certificates, malformed }
    }

    /// Facts of certificates that were found together, with key match and chain.
    fn judged(
        &mut self,
        path: &str,
        watch: &Watch,
        found: Found,
        key: Option<(&str, Halves)>,
        entry: &str,
        resolved: Reading<String>,
    ) -> Examined {
        let Found { certificates, malformed, keys: _ } = found;
        let origin = Origin::path(path);
        if certificates.is_empty() {
            let why = Why::new(WhyKind::Malformed, "no certificate in it could be read");
            let certificates = Reading::unknown(why, origin);
            return Examined { resolved, certificates, malformed };
        }
        self.total = self.total.saturating_add(certificates.len());
        if self.total > MAX_TOTAL {
            let detail = format!("more than {MAX_TOTAL} certificates on this host");
            let certificates = Reading::unknown(Why::new(WhyKind::TooLarge, detail), origin);
            return Examined { resolved, certificates, malformed };
        }
        if let Some(path) = &watch.authority {
            self.bundle(path);
        }
        let own: Vec<Identity> =
            certificates.iter().map(|certificate| certificate.identity.clone()).collect();
        let mut facts = Vec::with_capacity(certificates.len());
        for (at, Parsed { facts: mut certificate, identity, public, doubt: _ }) in
            certificates.into_iter().enumerate()
        {
            certificate.entry = entry.to_owned();
            // Only the first is the file's own; the others are there to lead on from it.
            if at == 0
                && let Some((key_path, keys)) = &key
            {
                certificate.key_match = matched(public.as_ref(), keys, Origin::path(key_path));
            }
            let authority = watch.authority.as_ref().filter(|_| at == 0).and_then(|path| {
                let bundle = self.bundles.get(path)?;
                Some(Authority { path, bundle: bundle.as_deref() })
            });
            certificate.chain = chain::judge(&identity, &own, authority);
            facts.push(certificate);
        }
        Examined { resolved, certificates: Reading::known(facts, origin), malformed }
    }

    /// Makes sure that the bundle at `path` is known, or why it is not.
    fn bundle(&mut self, path: &str) {
        if self.bundles.contains_key(path) {
            return;
        }
        let identities = |found: Found| -> Vec<Identity> {
            found.certificates.into_iter().map(|parsed| parsed.identity).collect()
        };
        let bundle = match self.load(path, MAX_BUNDLE) {
            Ok((bytes, _)) => contents::parse(bytes.bytes()).map(identities),
            Err(error) => Err(error.why()),
        };
        self.bundles.insert(path.to_owned(), bundle);
    }

    /// The public halves of the private keys in a file.
    fn keys(&self, path: &str) -> Halves {
        match Secret::read(self.host, path, MAX_KEY) {
            Ok((bytes, _)) => Ok(contents::parse_keys(bytes.bytes())),
            Err(error) => Err(error.why()),
        }
    }

    fn load(&self, path: &str, limit: usize) -> Result<(Secret, Reading<String>), ReadError> {
        let (bytes, metadata) = Secret::read(self.host, path, limit)?;
        let origin = Origin::path(path);
        let resolved = if metadata.resolved == path {
            Reading::absent(origin)
        } else {
            Reading::known(metadata.resolved, origin)
        };
        Ok((bytes, resolved))
    }
}

/// Whether one of the keys belongs to the certificate.
fn matched(certificate: Option<&Public>, keys: &Halves, origin: Origin) -> Reading<KeyMatch> {
    let keys = match keys {
        Ok(keys) => keys,
        Err(why) => return Reading::unknown(why.clone(), origin),
    };
    let Some(certificate) = certificate else {
        let detail = "public keys of this kind are not compared";
        return Reading::unknown(Why::new(WhyKind::Unsupported, detail), origin);
    };
    let mut answer = None;
    for key in keys {
        match key.clone().and_then(|key| half::compare(certificate, &key)) {
            Ok(KeyMatch::Matches) => return Reading::known(KeyMatch::Matches, origin),
            // What could not be told outweighs what differs.
            Ok(KeyMatch::Mismatch) => answer = answer.or(Some(Ok(KeyMatch::Mismatch))),
            Err(why) => answer = Some(Err(why)),
        }
    }
    match answer {
        Some(Ok(verdict)) => Reading::known(verdict, origin),
        Some(Err(why)) => Reading::unknown(why, origin),
        None => {
            let why = Why::new(WhyKind::Malformed, "the file holds no private key");
            Reading::unknown(why, origin)
        }
    }
}
