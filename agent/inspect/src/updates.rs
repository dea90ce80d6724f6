//! Updates: the package manager, and who else may change or reboot this machine.
//!
//! dpkg's and apk's databases are text and are read; RPM's is not, so there the versions are
//! unknown. Whether updates are *available* is a question to the repositories, which this does not
//! ask.

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::clean_text;
use palisade_report::section::updates::Manager;
use palisade_report::section::updates::Updates;

use crate::Host;
use crate::ReadError;

pub mod apt;
mod automatic;
pub mod dpkg;
pub mod ini;
pub mod repositories;

/// apk's database.
const APK: &str = "/lib/apk/db/installed";

/// Bytes of apk's database; a node has about 1 MiB.
const MAX_APK: usize = 16 * 1024 * 1024;

/// What shows each package database, the one that counts first: Debian may have `rpm` installed,
/// but not the other way round.
const DATABASES: [(&str, Manager); 8] = [
    (dpkg::STATUS, Manager::Dpkg),
    (APK, Manager::Apk),
    ("/usr/lib/sysimage/rpm/rpmdb.sqlite", Manager::Rpm),
    ("/usr/lib/sysimage/rpm/Packages.db", Manager::Rpm),
    ("/var/lib/rpm/rpmdb.sqlite", Manager::Rpm),
    ("/var/lib/rpm/Packages.db", Manager::Rpm),
    ("/var/lib/rpm/Packages", Manager::Rpm),
    ("/usr/share/rpm/rpmdb.sqlite", Manager::Rpm),
];

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host) -> Section<Updates> {
    let manager = read_manager(host);
    let automatic = automatic::read(host, &manager);
    Section::Known(Updates {
        packages: read_packages(host, &manager),
        automatic: automatic.installs,
        automatic_reboot: automatic.reboots,
        unsigned_repositories: repositories::read(host),
        manager,
    })
}

fn read_manager(host: &dyn Host) -> Reading<Manager> {
    for (path, manager) in DATABASES {
        match host.metadata(path) {
            Ok(_) => return Reading::known(manager, Origin::words(path)),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Reading::unknown(error.why(), Origin::words(path)),
        }
    }
    Reading::absent(Origin::words("databases of dpkg, apk and rpm"))
}

fn read_packages(host: &dyn Host, manager: &Reading<Manager>) -> Reading<BTreeMap<String, String>> {
    let (manager, origin) = match manager {
        Reading::Known { value, origin } => (value, origin.clone()),
        Reading::Absent { origin } => return Reading::absent(origin.clone()),
        Reading::Unknown { why, origin } => return Reading::unknown(why.clone(), origin.clone()),
    };
    let versions = match manager {
        Manager::Dpkg => dpkg::read_status(host).map(|status| status.versions),
        Manager::Apk => host.read(APK, MAX_APK).map(|contents| parse_apk(&contents.bytes)),
        Manager::Rpm | Manager::Other => {
            let detail = "this package database is not read by this version";
            return Reading::unknown(Why::new(WhyKind::Unsupported, detail), origin);
        }
    };
    match versions {
        Ok(versions) => Reading::known(versions, origin),
        Err(error) => error.reading(),
    }
}

/// Versions of the packages that matter in apk's database: lines `P:name` and `V:version`.
#[must_use]
pub fn parse_apk(database: &[u8]) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    let mut package = String::new();
    for line in database.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            package.clear();
        } else if let Some(name) = line.strip_prefix(b"P:") {
            package = String::from_utf8_lossy(name).into_owned();
        } else if let Some(version) = line.strip_prefix(b"V:") {
            // apk writes the name before the version.
            if dpkg::matters(&package) {
                versions
                    .insert(clean_text(&package), clean_text(&String::from_utf8_lossy(version)));
            }
        }
    }
    versions
}

#[cfg(test)]
mod tests;
