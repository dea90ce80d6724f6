//! How the kernel protects itself: lockdown, security modules, signatures, Secure Boot, live
//! patches.

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::clean_text;
use palisade_report::section::Switch;
use palisade_report::section::kernel::Livepatch;

use crate::Host;
use crate::ReadError;
use crate::host::EntryKind;

const SECURITYFS: &str = "/sys/kernel/security";
const LIVEPATCH: &str = "/sys/kernel/livepatch";
const FIRMWARE: &str = "/sys/firmware";
const EFI: &str = "/sys/firmware/efi";
const EFIVARS: &str = "/sys/firmware/efi/efivars";
const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Entries of a small kernel directory; efivarfs holds a few hundred on servers.
const MAX_ENTRIES: usize = 4096;

/// Bytes of an EFI variable: four of attributes, then one of value.
const MAX_VARIABLE: usize = 64;

/// Reads the lockdown level; absent in kernels without the lockdown module.
pub fn read_lockdown(host: &dyn Host) -> Reading<String> {
    let text = super::text(host, "/sys/kernel/security/lockdown");
    in_securityfs(host, text).and_then(|text| parse_lockdown(&text))
}

/// The word in brackets: `[none] integrity confidentiality`.
///
/// # Errors
/// `malformed` without a word in brackets.
pub fn parse_lockdown(text: &str) -> Result<String, Why> {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(word, _)| word.to_owned())
        .ok_or_else(|| {
            Why::new(WhyKind::Malformed, format!("expected a word in brackets: {text:?}"))
        })
}

/// Reads the active security modules in order.
pub fn read_lsm(host: &dyn Host) -> Reading<Vec<String>> {
    let text = in_securityfs(host, super::text(host, "/sys/kernel/security/lsm"));
    text.map(|text| text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// An empty `/sys/kernel/security` is a file system that is not mounted here, and proves nothing.
fn in_securityfs<T>(host: &dyn Host, reading: Reading<T>) -> Reading<T> {
    let Reading::Absent { origin } = reading else { return reading };
    match host.list(SECURITYFS, MAX_ENTRIES) {
        Ok(entries) if entries.is_empty() => {
            let why = Why::new(WhyKind::MissingSource, "securityfs is not mounted here");
            Reading::unknown(why, origin)
        }
        Ok(_) => Reading::absent(origin),
        Err(error) => Reading::unknown(error.why(), origin),
    }
}

/// Reads whether AppArmor is enabled; absent in kernels without it.
pub fn read_apparmor(host: &dyn Host) -> Reading<Switch> {
    module_switch(host, "/sys/module/apparmor/parameters/enabled")
}

/// Reads whether only signed modules load; absent in kernels that cannot check signatures.
pub fn read_module_signatures(host: &dyn Host) -> Reading<Switch> {
    module_switch(host, "/sys/module/module/parameters/sig_enforce")
}

fn module_switch(host: &dyn Host, path: &str) -> Reading<Switch> {
    let reading = super::text(host, path).and_then(|text| super::switch(&text));
    super::seen_beside(host, reading, "/sys/module")
}

/// Reads whether SELinux enforces; absent if it is not active, because then the kernel does not
/// make its mount point.
pub fn read_selinux(host: &dyn Host) -> Reading<Switch> {
    let reading =
        super::text(host, "/sys/fs/selinux/enforce").and_then(|text| super::switch(&text));
    let Reading::Absent { origin } = reading else { return reading };
    match host.metadata("/sys/fs/selinux") {
        Ok(_) => {
            let why = Why::new(WhyKind::MissingSource, "selinuxfs is not mounted here");
            Reading::unknown(why, origin)
        }
        Err(ReadError::NotFound { .. }) => {
            super::seen_beside(host, Reading::absent(origin), "/sys/fs")
        }
        Err(error) => Reading::unknown(error.why(), origin),
    }
}

/// Reads the live patches; absent in kernels that cannot be patched.
pub fn read_livepatch(host: &dyn Host) -> Reading<Vec<Livepatch>> {
    let entries = match host.list(LIVEPATCH, MAX_ENTRIES) {
        Ok(entries) => entries,
        Err(error) => return super::seen_beside(host, error.reading(), "/sys/kernel"),
    };
    let mut patches = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let state = |file: &str| {
            let path = format!("{LIVEPATCH}/{}/{file}", entry.name);
            super::required(super::text(host, &path)).and_then(|text| super::switch(&text))
        };
        let (enabled, transition) = match (state("enabled"), state("transition")) {
            (Reading::Known { value: enabled, .. }, Reading::Known { value: transition, .. }) => {
                (enabled, transition)
            }
            (Reading::Unknown { why, origin }, _) | (_, Reading::Unknown { why, origin }) => {
                return Reading::unknown(why, origin);
            }
            (Reading::Absent { origin }, _) | (_, Reading::Absent { origin }) => {
                return Reading::absent(origin);
            }
        };
        patches.push(Livepatch { name: clean_text(&entry.name), enabled, transition });
    }
    patches.sort();
    Reading::known(patches, Origin::words(LIVEPATCH))
}

/// Reads UEFI Secure Boot.
///
/// Absent only if `/sys/firmware` shows something and no `efi`: containers mask the directory, so
/// an empty one says nothing. Firmware with variables but without this one cannot secure its boot.
pub fn read_secure_boot(host: &dyn Host) -> Reading<Switch> {
    let origin = Origin::words(SECURE_BOOT);
    match host.read(SECURE_BOOT, MAX_VARIABLE) {
        Ok(contents) => match parse_secure_boot(&contents.bytes) {
            Ok(value) => return Reading::known(value, origin),
            Err(why) => return Reading::unknown(why, origin),
        },
        Err(ReadError::NotFound { .. }) => {}
        Err(error) => return Reading::unknown(error.why(), origin),
    }
    match host.metadata(EFI) {
        Ok(_) => match host.list(EFIVARS, MAX_ENTRIES) {
            Ok(variables) if !variables.is_empty() => {
                Reading::known(Switch::Off, Origin::words(EFIVARS))
            }
            Ok(_) | Err(ReadError::NotFound { .. }) => {
                let why = Why::new(WhyKind::MissingSource, "efivarfs is not mounted here");
                Reading::unknown(why, origin)
            }
            Err(error) => Reading::unknown(error.why(), origin),
        },
        Err(ReadError::NotFound { .. }) => match host.list(FIRMWARE, MAX_ENTRIES) {
            Ok(entries) if !entries.is_empty() => Reading::absent(Origin::words(EFI)),
            Ok(_) => {
                let why = Why::new(WhyKind::MissingSource, "/sys/firmware is empty or masked");
                Reading::unknown(why, origin)
            }
            Err(error) => Reading::unknown(error.why(), origin),
        },
        Err(error) => Reading::unknown(error.why(), origin),
    }
}

/// The value of the variable: the byte after four bytes of attributes.
///
/// # Errors
/// `malformed` if it is shorter, or neither 0 nor 1.
pub fn parse_secure_boot(variable: &[u8]) -> Result<Switch, Why> {
    match variable.get(4) {
        Some(0) => Ok(Switch::Off),
        Some(1) => Ok(Switch::On),
        Some(_) | None => {
            Err(Why::new(WhyKind::Malformed, "expected 0 or 1 in the fifth byte of SecureBoot"))
        }
    }
}
