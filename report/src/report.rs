//! The whole report: its sections, their bytes, and the digest over all of them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::canonical;
use crate::canonical::CanonicalError;
use crate::digest::Digest;
use crate::reading::Why;
use crate::section::Section;
use crate::section::SectionName;
use crate::section::boot::Boot;
use crate::section::certificates::Certificates;
use crate::section::files::Files;
use crate::section::host::Host;
use crate::section::kernel::Kernel;
use crate::section::kubelet::Kubelet;
use crate::section::reboot::Reboot;
use crate::section::sockets::Sockets;
use crate::section::sysctls::Sysctls;
use crate::section::updates::Updates;

/// Everything that a node says. A section that is not there was not sent (or not yet).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What the machine is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Section<Host>>,
    /// This machine and boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Section<Boot>>,
    /// Kernels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Section<Kernel>>,
    /// Pending reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Section<Reboot>>,
    /// Kernel parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sysctls: Option<Section<Sysctls>>,
    /// Listening sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Section<Sockets>>,
    /// Kubelet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<Section<Kubelet>>,
    /// Certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Section<Certificates>>,
    /// Modes and owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Section<Files>>,
    /// Packages and updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Section<Updates>>,
}

impl Report {
    /// The canonical bytes and digest of every section that is there.
    ///
    /// # Errors
    /// [`CanonicalError`] if a section has no JSON form; all of ours have.
    pub fn seal(&self) -> Result<Sealed, CanonicalError> {
        let Self {
            host,
            boot,
            kernel,
            reboot,
            sysctls,
            sockets,
            kubelet,
            certificates,
            files,
            updates,
        } = self;
        let mut sealed = Sealed::default();
        sealed.add(SectionName::Host, host.as_ref())?;
        sealed.add(SectionName::Boot, boot.as_ref())?;
        sealed.add(SectionName::Kernel, kernel.as_ref())?;
        sealed.add(SectionName::Reboot, reboot.as_ref())?;
        sealed.add(SectionName::Sysctls, sysctls.as_ref())?;
        sealed.add(SectionName::Sockets, sockets.as_ref())?;
        sealed.add(SectionName::Kubelet, kubelet.as_ref())?;
        sealed.add(SectionName::Certificates, certificates.as_ref())?;
        sealed.add(SectionName::Files, files.as_ref())?;
        sealed.add(SectionName::Updates, updates.as_ref())?;
        Ok(sealed)
    }

    /// Makes the section `name` unknown, without a look at what it was.
    pub fn mark_unknown(&mut self, name: SectionName, why: Why) {
        const fn unknown<T>(why: Why) -> Option<Section<T>> {
            Some(Section::Unknown { why })
        }
        match name {
            SectionName::Boot => self.boot = unknown(why),
            SectionName::Certificates => self.certificates = unknown(why),
            SectionName::Files => self.files = unknown(why),
            SectionName::Host => self.host = unknown(why),
            SectionName::Kernel => self.kernel = unknown(why),
            SectionName::Kubelet => self.kubelet = unknown(why),
            SectionName::Reboot => self.reboot = unknown(why),
            SectionName::Sockets => self.sockets = unknown(why),
            SectionName::Sysctls => self.sysctls = unknown(why),
            SectionName::Updates => self.updates = unknown(why),
        }
    }

    /// Sets the section `name` from its bytes.
    ///
    /// # Errors
    /// [`MalformedSection`] if the bytes are not this section's facts in this version.
    pub fn set(&mut self, name: SectionName, bytes: &[u8]) -> Result<(), MalformedSection> {
        fn parse<T: for<'de> Deserialize<'de>>(
            name: SectionName,
            bytes: &[u8],
        ) -> Result<Option<Section<T>>, MalformedSection> {
            serde_json::from_slice(bytes)
                .map(Some)
                .map_err(|source| MalformedSection { name, source })
        }
        match name {
            SectionName::Boot => self.boot = parse(name, bytes)?,
            SectionName::Certificates => self.certificates = parse(name, bytes)?,
            SectionName::Files => self.files = parse(name, bytes)?,
            SectionName::Host => self.host = parse(name, bytes)?,
            SectionName::Kernel => self.kernel = parse(name, bytes)?,
            SectionName::Kubelet => self.kubelet = parse(name, bytes)?,
            SectionName::Reboot => self.reboot = parse(name, bytes)?,
            SectionName::Sockets => self.sockets = parse(name, bytes)?,
            SectionName::Sysctls => self.sysctls = parse(name, bytes)?,
            SectionName::Updates => self.updates = parse(name, bytes)?,
        }
        Ok(())
    }
}

/// The bytes are not the facts of this section. At fault: the peer.
#[derive(Debug, thiserror::Error)]
#[error("failed to parse the facts of section {name}")]
pub struct MalformedSection {
    /// Which section.
    pub name: SectionName,
    /// What serde found.
    pub source: serde_json::Error,
}

/// A report in bytes, ready to be announced and sent.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    sections: BTreeMap<SectionName, Box<RawValue>>,
    manifest: Manifest,
}

impl Sealed {
    fn add<T: Serialize>(
        &mut self,
        name: SectionName,
        section: Option<&Section<T>>,
    ) -> Result<(), CanonicalError> {
        let Some(section) = section else { return Ok(()) };
        let bytes = canonical::bytes(section)?;
        let digest = Digest::of(&bytes);
        let size = bytes.len().try_into().unwrap_or(u32::MAX);
        let raw = serde_json::from_slice(&bytes).map_err(CanonicalError::Serialize)?;
        self.sections.insert(name, raw);
        self.manifest.0.insert(
            name.as_str().to_owned(),
            ManifestEntry { schema: name.schema(), digest, size },
        );
        Ok(())
    }

    /// What the report consists of.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The canonical text of one section.
    #[must_use]
    pub fn section(&self, name: SectionName) -> Option<&RawValue> {
        self.sections.get(&name).map(AsRef::as_ref)
    }

    /// All sections with their canonical text.
    #[must_use]
    pub const fn sections(&self) -> &BTreeMap<SectionName, Box<RawValue>> {
        &self.sections
    }
}

/// What a report consists of: name, schema version, digest and size of every section.
///
/// Names are text, so that a manifest of a newer agent with more sections still has its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub BTreeMap<String, ManifestEntry>);

/// One section of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Version of the section's facts.
    pub schema: u16,
    /// SHA-256 of its canonical bytes.
    pub digest: Digest,
    /// Length of its canonical bytes.
    pub size: u32,
}

impl Manifest {
    /// The report's digest: over name, schema version and digest of each section in order of names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut text = String::with_capacity(self.0.len().saturating_mul(90));
        for (name, entry) in &self.0 {
            let ManifestEntry { schema, digest, size: _ } = entry;
            text.push_str(&format!("{name} {schema} {digest}\n"));
        }
        Digest::of(text.as_bytes())
    }

    /// The entry of a section that this version knows.
    #[must_use]
    pub fn get(&self, name: SectionName) -> Option<&ManifestEntry> {
        self.0.get(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Origin;
    use crate::reading::Reading;
    use crate::reading::WhyKind;

    fn report() -> Report {
        let why = Why::new(WhyKind::Crashed, "x");
        Report {
            sysctls: Some(Section::Known(Sysctls {
                keys: BTreeMap::from([(
                    "kernel.kptr_restrict".to_owned(),
                    crate::section::sysctls::Sysctl {
                        running: Reading::known("1".to_owned(), Origin::path("/proc/sys")),
                        next_boot: Reading::absent(Origin::words("no file sets it")),
                    },
                )]),
            })),
            files: Some(Section::Unknown { why }),
            ..Report::default()
        }
    }

    #[test]
    fn a_report_survives_its_bytes_section_by_section() {
        let report = report();
        let sealed = report.seal().unwrap();
        let mut again = Report::default();
        for (name, raw) in sealed.sections() {
            assert!(canonical::parse(raw.get().as_bytes()).is_ok());
            again.set(*name, raw.get().as_bytes()).unwrap();
        }
        assert_eq!(again, report);
        assert_eq!(again.seal().unwrap().manifest().digest(), sealed.manifest().digest());
    }

    #[test]
    fn the_digest_covers_every_name_schema_and_digest() {
        let manifest = report().seal().unwrap().manifest().clone();
        let mut other = manifest.clone();
        other.0.values_mut().for_each(|entry| entry.size = 0);
        assert_eq!(other.digest(), manifest.digest(), "the size is only a hint");
        other.0.values_mut().for_each(|entry| entry.schema = 2);
        assert_ne!(other.digest(), manifest.digest());
    }
}
