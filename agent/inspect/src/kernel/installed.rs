//! Installed kernels: modules directories, images and initial RAM disks, by release.
//!
//! A directory without `modules.dep` is what a removed kernel leaves behind and counts for nothing;
//! neither does an initial RAM disk alone.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::bound::clean_text;
use palisade_report::section::kernel::InstalledKernel;
use palisade_report::section::kernel::KernelPart;

use crate::Host;
use crate::ReadError;
use crate::host::EntryKind;
use crate::version;

/// Where modules directories are. The first is a link to the second on merged-usr systems.
pub const MODULE_ROOTS: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];

/// Entries of a directory of kernels; a host with more than this is not a node.
const MAX_ENTRIES: usize = 1000;

/// What the names of images in `/boot` start with (Debian, RHEL; ppc64; arm64 SUSE; s390x SUSE).
pub(super) const IMAGES: [&str; 5] = ["vmlinuz-", "vmlinux-", "Image-", "zImage-", "image-"];

/// What the names of initial RAM disks start with, and their end after the release.
const INITRDS: [(&str, &str); 3] = [("initrd.img-", ""), ("initramfs-", ".img"), ("initrd-", "")];

/// Reads every installed kernel, oldest first.
pub fn read(host: &dyn Host) -> Reading<Vec<InstalledKernel>> {
    let mut kernels = BTreeMap::new();
    for root in MODULE_ROOTS {
        if let Err(error) = read_modules(host, root, &mut kernels) {
            return Reading::unknown(error.why(), Origin::path(root));
        }
    }
    if let Err(error) = read_boot(host, &mut kernels) {
        return Reading::unknown(error.why(), Origin::words("/boot"));
    }
    let mut installed: Vec<InstalledKernel> = kernels
        .into_iter()
        .filter(|(_, parts)| {
            parts.contains(&KernelPart::Image) || parts.contains(&KernelPart::Modules)
        })
        .map(|(release, parts)| InstalledKernel { release, parts })
        .collect();
    installed.sort_by(|a, b| version::release(&a.release, &b.release));
    Reading::known(installed, Origin::words("/lib/modules, /usr/lib/modules, /boot"))
}

type Kernels = BTreeMap<String, BTreeSet<KernelPart>>;

fn read_modules(host: &dyn Host, root: &str, kernels: &mut Kernels) -> Result<(), ReadError> {
    let entries = match host.list(root, MAX_ENTRIES) {
        Ok(entries) => entries,
        Err(ReadError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        if !matches!(entry.kind, EntryKind::Directory | EntryKind::Link) {
            continue;
        }
        for (file, part) in [
            ("modules.dep", KernelPart::Modules),
            ("vmlinuz", KernelPart::Image),
            ("initrd", KernelPart::Initrd),
            ("initramfs.img", KernelPart::Initrd),
        ] {
            match host.metadata(&format!("{root}/{}/{file}", entry.name)) {
                Ok(_) => {
                    kernels.entry(clean_text(&entry.name)).or_default().insert(part);
                }
                Err(ReadError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn read_boot(host: &dyn Host, kernels: &mut Kernels) -> Result<(), ReadError> {
    let entries = match host.list("/boot", MAX_ENTRIES) {
        Ok(entries) => entries,
        Err(ReadError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        if !matches!(entry.kind, EntryKind::Regular | EntryKind::Link) {
            continue;
        }
        if let Some((release, part)) = parse_name(&entry.name) {
            kernels.entry(clean_text(release)).or_default().insert(part);
        }
    }
    Ok(())
}

/// The release and the part that the name of a file in `/boot` stands for.
///
/// Not for links without a release (`vmlinuz`), rescue images, which hold the machine id in their
/// name, crash kernels' disks and backups.
#[must_use]
pub fn parse_name(name: &str) -> Option<(&str, KernelPart)> {
    let image = IMAGES.iter().find_map(|prefix| name.strip_prefix(prefix));
    let (release, part) = match image {
        Some(release) => (release, KernelPart::Image),
        None => {
            let release = INITRDS
                .iter()
                .find_map(|(start, end)| name.strip_prefix(start)?.strip_suffix(end))?;
            (release, KernelPart::Initrd)
        }
    };
    let is_release = release.starts_with(|first: char| first.is_ascii_digit())
        && !release.starts_with("0-rescue")
        && ![
            ".bak",
            ".old",
            ".signed",
            ".dpkg-bak",
            ".dpkg-new",
            ".rpmsave",
            "kdump",
            ".hmac",
            "~",
        ]
        .iter()
        .any(|end| release.ends_with(end));
    is_release.then_some((release, part))
}

/// The newest installed release of the running flavour.
///
/// If any kernel has an image that can be seen, only kernels with one count: a modules directory
/// may outlive its kernel.
pub fn newest(
    installed: &Reading<Vec<InstalledKernel>>,
    running: &Reading<String>,
) -> Reading<String> {
    let (kernels, origin) = match installed {
        Reading::Known { value, origin } => (value, origin.clone()),
        Reading::Absent { origin } => return Reading::absent(origin.clone()),
        Reading::Unknown { why, origin } => return Reading::unknown(why.clone(), origin.clone()),
    };
    let flavour = match running {
        Reading::Known { value, .. } => version::flavour(value),
        Reading::Absent { origin } => return Reading::absent(origin.clone()),
        Reading::Unknown { why, origin } => return Reading::unknown(why.clone(), origin.clone()),
    };
    let images = kernels.iter().any(|kernel| kernel.parts.contains(&KernelPart::Image));
    let newest = kernels.iter().rev().find(|kernel| {
        version::flavour(&kernel.release) == flavour
            && (!images || kernel.parts.contains(&KernelPart::Image))
    });
    match newest {
        Some(kernel) => Reading::known(kernel.release.clone(), origin),
        None => Reading::absent(origin),
    }
}
