//! Reboot: whether one is needed, by whose word, with which evidence.
//!
//! ```text
//! debian-flag  suse-flag  kernel  rpm-core     deleted-files (advises)
//!      └───────────┴────┬────┴───────┘               │
//!   any needed wins ────┴────────────────────────────┘
//!   else any of the first four unknown: unknown
//!   else one of the first four read without a reason: not needed
//!   else (none of them applies here): unknown, because nothing would tell
//! ```
//!
//! Replaced files alone never make the answer unknown: at most they ask for services to be
//! restarted, and reading them needs a right that a plain scan may lack. A flag from before this
//! boot is stale and no reason. That a flag is not there counts only where something is installed
//! that would write it and the inspected root is proven to be the host's.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::clean_text;
use palisade_report::canonical;
use palisade_report::section::boot::Boot;
use palisade_report::section::boot::NamespaceKind;
use palisade_report::section::boot::Proof;
use palisade_report::section::kernel::Kernel;
use palisade_report::section::reboot::Action;
use palisade_report::section::reboot::Need;
use palisade_report::section::reboot::Reason;
use palisade_report::section::reboot::Reboot;
use palisade_report::section::reboot::Signal;
use palisade_report::section::reboot::Source;

use crate::Host;
use crate::boot::distrust;
use crate::process::ProcessTable;

pub mod deleted_files;
pub mod flags;
mod package_manager;
mod rpm_core;
pub mod rpm_log;
mod running_kernel;

/// Reads the section.
#[must_use]
pub fn read(
    host: &dyn Host,
    processes: &ProcessTable,
    kernel: &Section<Kernel>,
    boot: &Section<Boot>,
) -> Section<Reboot> {
    let witness = Witness::of(boot);
    let said = [
        (Source::DebianFlag, flags::debian(host, &witness)),
        (Source::DeletedFiles, deleted_files::look(host, processes, &witness)),
        (Source::Kernel, running_kernel::compare(kernel, &witness)),
        (Source::RpmCore, rpm_core::compare(host, &witness)),
        (Source::SuseFlag, flags::suse(host, &witness)),
    ];
    let need = combine(&said);
    let action = said.iter().map(|(_, said)| said.action).max().unwrap_or_default();
    let mut reasons: BTreeSet<Reason> = BTreeSet::new();
    let mut signals = BTreeMap::new();
    for (source, said) in said {
        reasons.extend(said.reasons);
        signals.insert(source, said.signal);
    }
    let reason_digest = match digest(&reasons) {
        Ok(digest) => digest,
        Err(why) => return Section::Unknown { why },
    };
    Section::Known(Reboot {
        need,
        action,
        reasons,
        reason_digest,
        signals,
        package_manager: package_manager::read(host),
    })
}

/// The digest of the reasons; the same reasons give the same digest on every node and every day.
fn digest(reasons: &BTreeSet<Reason>) -> Result<Option<Digest>, Why> {
    if reasons.is_empty() {
        return Ok(None);
    }
    let bytes = canonical::bytes(reasons)
        .map_err(|_| Why::new(WhyKind::Crashed, "failed to write the reasons down"))?;
    Ok(Some(Digest::of(&bytes)))
}

/// What one source said, and what it asks for.
#[derive(Clone, Debug)]
struct Said {
    signal: Signal,
    reasons: BTreeSet<Reason>,
    action: Action,
}

impl Default for Said {
    fn default() -> Self {
        Self::unused("not asked")
    }
}

impl Said {
    fn quiet(signal: Signal) -> Self {
        Self { signal, reasons: BTreeSet::new(), action: Action::None }
    }

    fn unknown(why: Why) -> Self {
        Self::quiet(Signal::Unknown { why })
    }

    fn unused(evidence: impl AsRef<str>) -> Self {
        Self::quiet(Signal::Unused { evidence: clean_text(evidence.as_ref()) })
    }

    fn not_needed(evidence: impl AsRef<str>) -> Self {
        Self::quiet(Signal::NotNeeded { evidence: clean_text(evidence.as_ref()) })
    }
}

/// What the boot section says about the ground on which the sources stand.
#[derive(Clone, Debug)]
struct Witness {
    booted_at: Option<Moment>,
    /// Why nothing in this root speaks for the host.
    foreign_root: Option<Why>,
    /// Why nothing that is missing in this root is proven to be missing on the host.
    unproven_root: Option<Why>,
    /// Why the processes that are seen are not the host's.
    foreign_processes: Option<Why>,
}

impl Witness {
    fn of(boot: &Section<Boot>) -> Self {
        let known = boot.known();
        let root = known.and_then(|boot| boot.namespaces.get(&NamespaceKind::Mount));
        let foreign_root = match root {
            Some(Proof::Foreign { evidence }) => Some(Why::new(WhyKind::WrongNamespace, evidence)),
            Some(Proof::Captured | Proof::Host { .. } | Proof::Unproven { .. }) | None => None,
        };
        Self {
            booted_at: known.and_then(|boot| boot.booted_at.value().copied()),
            foreign_root,
            unproven_root: distrust(boot, NamespaceKind::Mount),
            foreign_processes: distrust(boot, NamespaceKind::Pid),
        }
    }
}

/// The answer of all sources together; the rule stands at the top of this file.
fn combine(said: &[(Source, Said)]) -> Need {
    if said.iter().any(|(_, said)| matches!(said.signal, Signal::Needed { .. })) {
        return Need::Needed;
    }
    let mut read = false;
    for (source, said) in said {
        if *source == Source::DeletedFiles {
            continue;
        }
        match &said.signal {
            Signal::Unknown { why } => return Need::Unknown { why: why.clone() },
            Signal::NotNeeded { .. } | Signal::Stale { .. } => read = true,
            Signal::Needed { .. } | Signal::Unused { .. } => {}
        }
    }
    if read {
        return Need::NotNeeded;
    }
    let detail = "no source of reboot signals applies here: the kernel comes from outside, and \
                  nothing is installed that would flag a reboot";
    Need::Unknown { why: Why::new(WhyKind::MissingSource, detail) }
}

/// The value of a reading, or why there is none.
fn value<T>(reading: &Reading<T>) -> Result<&T, Why> {
    match reading {
        Reading::Known { value, .. } => Ok(value),
        Reading::Absent { origin } => {
            Err(Why::new(WhyKind::MissingSource, format!("{origin} does not exist")))
        }
        Reading::Unknown { why, .. } => Err(why.clone()),
    }
}

#[cfg(test)]
mod tests;
