//! Whether the package manager works right now, or was interrupted.
//!
//! Lock files are always there; whether somebody holds them is a question to the kernel. In a
//! captured tree it cannot be asked.

use std::collections::BTreeSet;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::section::reboot::PackageManager;

use crate::Host;
use crate::ReadError;
use crate::updates::dpkg;

/// Locks of apt, dpkg and rpm, outermost first.
const LOCKS: [&str; 4] = [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/cache/apt/archives/lock",
    "/var/lib/rpm/.rpm.lock",
];

/// Half-done packages that are named.
const MAX_NAMES: usize = 32;

/// Reads what the package manager is doing; absent without one that has such locks.
pub(super) fn read(host: &dyn Host) -> Reading<PackageManager> {
    let mut unanswered = None;
    let mut seen = None;
    for path in LOCKS {
        match host.write_locked(path) {
            Ok(true) => {
                let evidence = format!("{path} is locked");
                return Reading::known(PackageManager::Active { evidence }, Origin::words(path));
            }
            Ok(false) => seen = seen.or(Some(path)),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => unanswered = unanswered.or(Some((error, path))),
        }
    }
    let origin = Origin::words("/var/lib/dpkg/status, /var/lib/dpkg/updates");
    let half_done = match (dpkg::read_status(host), dpkg::read_journal(host)) {
        (Ok(status), Ok(journal)) => Some(status.half_done.into_iter().chain(journal).collect()),
        (Err(ReadError::NotFound { .. }), Ok(_)) => None,
        (Err(error), _) | (_, Err(error)) => return Reading::unknown(error.why(), origin),
    };
    let packages: BTreeSet<String> = half_done.clone().unwrap_or_default();
    if !packages.is_empty() {
        let packages = packages.into_iter().take(MAX_NAMES).collect();
        return Reading::known(PackageManager::HalfDone { packages }, origin);
    }
    match (unanswered, seen) {
        (Some((error, path)), _) => Reading::unknown(error.why(), Origin::words(path)),
        (None, Some(path)) => Reading::known(PackageManager::Idle, Origin::words(path)),
        (None, None) if half_done.is_some() => Reading::known(PackageManager::Idle, origin),
        (None, None) => Reading::absent(Origin::words("locks of apt, dpkg and rpm")),
    }
}
