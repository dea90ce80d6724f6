//! Core packages newer than the boot, on hosts with an RPM database (RHEL family, Amazon Linux).
//!
//! When a package was installed stands in the database, which this version does not read. But
//! dnf's log names what was installed since the boot, and a database that nobody wrote since the
//! boot holds no newer package: that proves there is no reason. One that was written since, without
//! a word in the log, is unknown.

use std::collections::BTreeMap;

use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::reboot::Action;
use palisade_report::section::reboot::Reason;
use palisade_report::section::reboot::Signal;
use palisade_report::section::reboot::Source;

use super::Said;
use super::Witness;
use super::rpm_log;
use crate::Host;
use crate::ReadError;
use crate::lines;

/// Where the database is: its main file and its write-ahead log, by age of the distribution.
const DATABASES: [&str; 8] = [
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "/usr/lib/sysimage/rpm/Packages.db",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages.db",
    "/var/lib/rpm/Packages",
    "/usr/share/rpm/rpmdb.sqlite",
];

/// There on hosts that boot an image instead of changing packages (rpm-ostree, bootc).
const IMAGE_BASED: &str = "/run/ostree-booted";

/// What the database's age says.
pub(super) fn compare(host: &dyn Host, witness: &Witness) -> Said {
    let mut newest = None;
    for path in DATABASES {
        match host.metadata(path) {
            Ok(metadata) => newest = newest.max(Some((metadata.modified_at, path))),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Said::unknown(error.why()),
        }
    }
    let Some((written_at, path)) = newest else {
        return Said::unused("no RPM database on this host");
    };
    if host.metadata("/etc/zypp").is_ok() || host.metadata("/usr/etc/zypp").is_ok() {
        return Said::unused("zypp keeps its own flag, see suse-flag");
    }
    if let Some(why) = witness.foreign_root.as_ref().or(witness.unproven_root.as_ref()) {
        return Said::unknown(why.clone());
    }
    if host.metadata(IMAGE_BASED).is_ok() {
        let detail = "this host boots images, and staged deployments are not read";
        return Said::unknown(Why::new(WhyKind::Unsupported, detail));
    }
    match witness.booted_at {
        Some(booted_at) if written_at < booted_at => {
            Said::not_needed(format!("{path} was not written since this boot"))
        }
        Some(booted_at) => {
            let mut found = BTreeMap::new();
            let mut each = |line: &[u8]| rpm_log::parse_line(line, booted_at, &mut found);
            // The log only adds evidence; without it the answer is unknown either way.
            let log = lines::read(host, rpm_log::LOG, &mut each);
            if let Some((name, version)) = found.first_key_value() {
                let evidence =
                    format!("{}: {name} {version} was installed since this boot", rpm_log::LOG);
                return needed(evidence, found);
            }
            if let Err(ReadError::Failed { why, .. }) = log {
                return Said::unknown(why);
            }
            let detail = format!(
                "packages changed since this boot, and which ones stands in {path}, which this \
                 version does not read; `needs-restarting -r` tells"
            );
            Said::unknown(Why::new(WhyKind::Unsupported, detail))
        }
        None => {
            let detail = "the moment of this boot is not known";
            Said::unknown(Why::new(WhyKind::MissingSource, detail))
        }
    }
}

fn needed(evidence: String, packages: BTreeMap<String, String>) -> Said {
    let reason = |(subject, target)| Reason { source: Source::RpmCore, subject, target };
    Said {
        signal: Signal::Needed { evidence },
        reasons: packages.into_iter().map(reason).collect(),
        action: Action::Reboot,
    }
}
