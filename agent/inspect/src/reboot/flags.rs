//! Flags that package scripts leave behind: `/run/reboot-required` (Debian policy 9.12) and
//! `/run/reboot-needed` (SUSE's boot plugin).

use std::collections::BTreeSet;

use palisade_report::bound::clean_text;
use palisade_report::section::reboot::Action;
use palisade_report::section::reboot::Reason;
use palisade_report::section::reboot::Signal;
use palisade_report::section::reboot::Source;

use super::Said;
use super::Witness;
use crate::Host;
use crate::Metadata;
use crate::ReadError;
use crate::host::MAX_CONFIG;
use crate::updates::dpkg;

const DEBIAN: &str = "/run/reboot-required";
const DEBIAN_PACKAGES: &str = "/run/reboot-required.pkgs";

/// What writes [`DEBIAN`]: unattended-upgrades after a new kernel, update-notifier-common for any
/// package that asks. Without one of them a missing flag says nothing.
const DEBIAN_WRITERS: [&str; 3] = [
    "/etc/kernel/postinst.d/unattended-upgrades",
    "/etc/kernel/postinst.d/update-notifier",
    "/usr/share/update-notifier/notify-reboot-required",
];

/// The flag, now and in older releases; `/var/run` normally leads to `/run`.
const SUSE: [&str; 2] = ["/run/reboot-needed", "/var/run/reboot-needed"];

/// What writes [`SUSE`].
const SUSE_WRITERS: [&str; 3] = [
    "/usr/etc/zypp/zypp-boot-plugin.conf",
    "/etc/zypp/zypp-boot-plugin.conf",
    "/usr/lib/zypp/plugins/commit/boot-plugin",
];

/// Packages of one flag that become reasons; an upgrade of a whole release names about 20.
const MAX_PACKAGES: usize = 256;

/// A flag older than the boot by more than this is left over. Clocks are set early in the boot, and
/// the moment of the boot is known to the second.
const STALE_AFTER_SECS: i64 = 60;

/// What Debian's flag says.
pub(super) fn debian(host: &dyn Host, witness: &Witness) -> Said {
    match host.metadata(DEBIAN) {
        Ok(flag) => {
            let reasons = || match host.read(DEBIAN_PACKAGES, MAX_CONFIG) {
                Ok(contents) => parse_packages(&contents.bytes),
                // The list is optional; the flag alone is a reason.
                Err(_) => BTreeSet::new(),
            };
            found(witness, Source::DebianFlag, DEBIAN, &flag, reasons, Action::Reboot)
        }
        Err(ReadError::NotFound { .. }) => match host.metadata(dpkg::STATUS) {
            Ok(_) => missing(host, witness, DEBIAN, &DEBIAN_WRITERS),
            Err(ReadError::NotFound { .. }) => Said::unused("no dpkg database on this host"),
            Err(error) => Said::unknown(error.why()),
        },
        Err(error) => Said::unknown(error.why()),
    }
}

/// What SUSE's flag says.
pub(super) fn suse(host: &dyn Host, witness: &Witness) -> Said {
    for path in SUSE {
        match host.read(path, MAX_CONFIG) {
            Ok(contents) => {
                let action = parse_level(&contents.bytes);
                let flag = &contents.metadata;
                return found(witness, Source::SuseFlag, path, flag, BTreeSet::new, action);
            }
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Said::unknown(error.why()),
        }
    }
    for zypp in ["/etc/zypp", "/usr/etc/zypp"] {
        match host.metadata(zypp) {
            Ok(_) => return missing(host, witness, "/run/reboot-needed", &SUSE_WRITERS),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Said::unknown(error.why()),
        }
    }
    Said::unused("no zypp on this host")
}

fn found(
    witness: &Witness,
    source: Source,
    path: &str,
    flag: &Metadata,
    packages: impl FnOnce() -> BTreeSet<String>,
    action: Action,
) -> Said {
    if let Some(why) = &witness.foreign_root {
        return Said::unknown(why.clone());
    }
    if let Some(booted_at) = witness.booted_at
        && booted_at.since(flag.modified_at) > STALE_AFTER_SECS
    {
        let evidence = format!("{path} was written before this boot");
        return Said { signal: Signal::Stale { evidence }, ..Said::default() };
    }
    let mut subjects = packages();
    if subjects.is_empty() {
        subjects.insert(path.to_owned());
    }
    let reason = |subject| Reason { source, subject, target: String::new() };
    Said {
        signal: Signal::Needed { evidence: format!("{path} exists") },
        reasons: subjects.into_iter().map(reason).collect(),
        action,
    }
}

/// A flag that is not there: proof only if its writer is installed and the root is the host's.
fn missing(host: &dyn Host, witness: &Witness, path: &str, writers: &[&str]) -> Said {
    for writer in writers {
        match host.metadata(writer) {
            Ok(_) => {
                return match &witness.unproven_root {
                    Some(why) => Said::unknown(why.clone()),
                    None => Said::not_needed(format!("{path} does not exist; {writer} writes it")),
                };
            }
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Said::unknown(error.why()),
        }
    }
    Said::unused(format!("{path} does not exist, and nothing is installed that writes it"))
}

/// The packages that ask for a reboot, one on each line, repeated at will.
#[must_use]
pub fn parse_packages(list: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(list);
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    names.map(clean_text).take(MAX_PACKAGES).collect()
}

/// The level in SUSE's flag. A word that is none of its levels asks for a reboot.
#[must_use]
pub fn parse_level(flag: &[u8]) -> Action {
    match flag.trim_ascii() {
        b"kexec" => Action::Kexec,
        b"soft-reboot" => Action::SoftReboot,
        _ => Action::Reboot,
    }
}
