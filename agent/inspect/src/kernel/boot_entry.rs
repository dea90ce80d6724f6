//! The default boot entry: which release the boot loader would start now.
//!
//! ```text
//! grub.cfg + grubenv ─┬─ menu entries ──────────┐
//!                     └─ blscfg ─┐              ├─> image path or version ─> release
//! loader.conf, EFI variables ────┴─ entries/*.conf ┘
//! ```
//!
//! Unified kernel images are not looked into: where one may be the default, the answer is unknown.

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::clean_text;
use palisade_report::section::kernel::InstalledKernel;

use super::grub;
use super::grub::Choice;
use super::installed::IMAGES;
use super::loader;
use super::loader::LoaderEntry;
use crate::Host;
use crate::ReadError;
use crate::host::MAX_CONFIG;

/// Where GRUB keeps its configuration and environment.
const GRUB: [&str; 2] = ["/boot/grub", "/boot/grub2"];

/// Where the partition with `loader/` may be mounted.
const LOADERS: [&str; 3] = ["/boot", "/boot/efi", "/efi"];

/// Boot loader entries that are read; a machine keeps two or three kernels.
const MAX_ENTRIES: usize = 256;

/// Bytes of one entry, of the environment block (1,024) and of an EFI variable.
const MAX_SMALL: usize = 64 * 1024;

/// What systemd-boot was told by firmware variables, the one that wins first.
const VARIABLES: [&str; 2] = [
    "/sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
    "/sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
];

/// Reads the release that starts by default; absent if neither GRUB nor systemd-boot is set up.
pub fn read(host: &dyn Host, installed: &Reading<Vec<InstalledKernel>>) -> Reading<String> {
    for directory in GRUB {
        let path = format!("{directory}/grub.cfg");
        match host.read(&path, MAX_CONFIG) {
            Ok(contents) => {
                return match from_grub(host, directory, &contents.bytes, installed) {
                    Ok(release) => Reading::known(release, Origin::path(&path)),
                    Err(why) => Reading::unknown(why, Origin::path(&path)),
                };
            }
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return error.reading(),
        }
    }
    for root in LOADERS {
        let path = format!("{root}/loader");
        match host.metadata(&path) {
            Ok(_) => {
                return match from_loader(host, root, installed) {
                    Ok(release) => Reading::known(release, Origin::path(&path)),
                    Err(why) => Reading::unknown(why, Origin::path(&path)),
                };
            }
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return error.reading(),
        }
    }
    Reading::absent(Origin::words("/boot/grub, /boot/grub2, /boot/loader, /boot/efi/loader, /efi"))
}

fn from_grub(
    host: &dyn Host,
    directory: &str,
    config: &[u8],
    installed: &Reading<Vec<InstalledKernel>>,
) -> Result<String, Why> {
    let menu = grub::parse_config(config);
    let environment = match host.read(&format!("{directory}/grubenv"), MAX_SMALL) {
        Ok(contents) => grub::parse_environment(&contents.bytes),
        Err(ReadError::NotFound { .. }) => grub::parse_environment(b""),
        Err(error) => return Err(error.why()),
    };
    let choice = match grub::choose(&menu, &environment) {
        Choice::Entry(entry) => entry,
        Choice::Computed(value) => {
            let detail = format!("GRUB computes its default when it starts: {value}");
            return Err(Why::new(WhyKind::Unsupported, detail));
        }
    };
    if menu.entries == grub::Entries::Loader {
        let mut entries = read_entries(host, "/boot")?;
        entries.sort_by(loader::grub_order);
        let chosen = match choice.parse::<usize>() {
            Ok(index) => entries.get(index),
            Err(_) => {
                let named =
                    entries.iter().find(|entry| entry.id == choice || entry.title == choice);
                // GRUB starts the first entry if the default is nowhere.
                match grub::find(&menu.items, &choice) {
                    Some(_) => named,
                    None => named.or_else(|| entries.first()),
                }
            }
        };
        if let Some(entry) = chosen {
            return release_of_entry(entry, installed);
        }
    }
    let item = grub::find(&menu.items, &choice).or_else(|| grub::find(&menu.items, "0"));
    let Some(image) = item.and_then(|item| item.image.as_deref()) else {
        let detail = format!("the default entry of GRUB starts no Linux image: {choice}");
        return Err(Why::new(WhyKind::Unsupported, detail));
    };
    release_of_image(host, image, installed)
}

fn from_loader(
    host: &dyn Host,
    root: &str,
    installed: &Reading<Vec<InstalledKernel>>,
) -> Result<String, Why> {
    let mut entries = read_entries(host, root)?;
    if root != "/boot" {
        entries.extend(read_entries(host, "/boot")?);
    }
    entries.sort_by(loader::systemd_order);
    let mut wanted = None;
    for path in VARIABLES {
        match host.read(path, MAX_SMALL) {
            Ok(contents) => wanted = wanted.or_else(|| loader::parse_variable(&contents.bytes)),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Err(error.why()),
        }
    }
    if wanted.is_none() {
        wanted = match host.read(&format!("{root}/loader/loader.conf"), MAX_SMALL) {
            Ok(contents) => loader::parse_default(&contents.bytes),
            Err(ReadError::NotFound { .. }) => None,
            Err(error) => return Err(error.why()),
        };
    }
    let named = wanted.as_deref().and_then(|pattern| {
        let pattern = pattern.strip_suffix(".conf").unwrap_or(pattern);
        entries.iter().find(|entry| loader::matches(pattern, &entry.id))
    });
    if let Some(entry) = named {
        return release_of_entry(entry, installed);
    }
    let unified = host.list(&format!("{root}/EFI/Linux"), MAX_ENTRIES);
    if unified.is_ok_and(|images| !images.is_empty()) {
        let detail = "unified kernel images are not looked into, and one may be the default";
        return Err(Why::new(WhyKind::Unsupported, detail));
    }
    if wanted.as_deref().is_some_and(|wanted| wanted.starts_with('@')) {
        let detail = "the boot loader starts what it started last, which is not read";
        return Err(Why::new(WhyKind::Unsupported, detail));
    }
    match entries.first() {
        Some(entry) => release_of_entry(entry, installed),
        None => Err(Why::new(WhyKind::MissingSource, "the boot loader has no entries")),
    }
}

fn read_entries(host: &dyn Host, root: &str) -> Result<Vec<LoaderEntry>, Why> {
    let directory = format!("{root}/loader/entries");
    let files = match host.list(&directory, MAX_ENTRIES) {
        Ok(files) => files,
        Err(ReadError::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.why()),
    };
    let mut entries = Vec::new();
    for file in files.into_iter().filter(|file| file.name.ends_with(".conf")) {
        let contents =
            host.read(&format!("{directory}/{}", file.name), MAX_SMALL).map_err(ReadError::why)?;
        entries.push(loader::parse_entry(&file.name, &contents.bytes));
    }
    Ok(entries)
}

fn release_of_entry(
    entry: &LoaderEntry,
    installed: &Reading<Vec<InstalledKernel>>,
) -> Result<String, Why> {
    let by_image = parse_release(&entry.image, installed);
    let by_version = (!entry.version.is_empty()).then(|| entry.version.clone());
    by_image.or(by_version).map(|release| clean_text(&release)).ok_or_else(|| {
        let detail = format!("the default entry {} names no release", entry.id);
        Why::new(WhyKind::Malformed, detail)
    })
}

/// The release of an image that GRUB names; a link in `/boot` without a release is followed.
fn release_of_image(
    host: &dyn Host,
    image: &str,
    installed: &Reading<Vec<InstalledKernel>>,
) -> Result<String, Why> {
    if let Some(release) = parse_release(image, installed) {
        return Ok(clean_text(&release));
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    let target = host.read_link(&format!("/boot/{name}")).map_err(ReadError::why)?;
    parse_release(&target, installed)
        .map(|release| clean_text(&release))
        .ok_or_else(|| Why::new(WhyKind::Malformed, format!("the image {image} names no release")))
}

/// The release in the path of an image: `/boot/vmlinuz-6.1.0-50-amd64`, or a component that is an
/// installed release.
fn parse_release(path: &str, installed: &Reading<Vec<InstalledKernel>>) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let named = IMAGES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .filter(|release| release.starts_with(|first: char| first.is_ascii_digit()));
    if let Some(release) = named {
        return Some(release.to_owned());
    }
    let installed = installed.value()?;
    let known = |part: &str| installed.iter().any(|kernel| kernel.release == part);
    path.split('/').find(|part| known(part)).map(str::to_owned)
}
