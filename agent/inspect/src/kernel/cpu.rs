//! The CPU's weaknesses in the kernel's words, shared cores, and the taint mask.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::clean_text;
use palisade_report::section::Switch;

use crate::Host;

const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";

/// Weaknesses that are listed; Linux 6.18 knows 20.
const MAX_VULNERABILITIES: usize = 128;

/// Reads the kernel's words on each weakness; absent before Linux 4.15.
pub fn read_vulnerabilities(host: &dyn Host) -> Reading<BTreeMap<String, String>> {
    let entries = match host.list(VULNERABILITIES, MAX_VULNERABILITIES) {
        Ok(entries) => entries,
        Err(error) => {
            return super::seen_beside(host, error.reading(), "/sys/devices/system/cpu");
        }
    };
    let mut words = BTreeMap::new();
    for entry in entries {
        match super::text(host, &format!("{VULNERABILITIES}/{}", entry.name)) {
            Reading::Known { value, .. } => words.insert(clean_text(&entry.name), value),
            Reading::Absent { .. } => None,
            Reading::Unknown { why, origin } => return Reading::unknown(why, origin),
        };
    }
    Reading::known(words, Origin::words(VULNERABILITIES))
}

/// Reads whether threads share cores; absent where the kernel has no such control.
pub fn read_smt(host: &dyn Host) -> Reading<Switch> {
    let text = super::text(host, "/sys/devices/system/cpu/smt/active");
    let smt = text.and_then(|text| super::switch(&text));
    super::seen_beside(host, smt, "/sys/devices/system/cpu")
}

/// Reads the numbers of the set bits of the taint mask.
pub fn read_taint(host: &dyn Host) -> Reading<BTreeSet<u8>> {
    let text = super::required(super::text(host, "/proc/sys/kernel/tainted"));
    text.and_then(|text| parse_taint(&text))
}

/// The numbers of the set bits of a decimal mask, see `Documentation/admin-guide/tainted-kernels`.
///
/// # Errors
/// `malformed` if it is not a decimal below 2^64.
pub fn parse_taint(text: &str) -> Result<BTreeSet<u8>, Why> {
    let mask: u64 = text.trim().parse().map_err(|_| {
        Why::new(WhyKind::Malformed, format!("expected a decimal taint mask: {text:?}"))
    })?;
    Ok((0..64).filter(|bit| mask >> bit & 1 == 1).collect())
}
