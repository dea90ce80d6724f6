//! The running kernel against the installed ones.
//!
//! Expected is what the boot loader starts by default, if that can be read, else the newest
//! installed release of the running flavour. Three more cases are told apart:
//!
//! * No kernel is installed at all (a container's root, a microVM): the kernel comes from outside,
//!   and so would a newer one. This source does not apply.
//! * The running release has no modules directory, but others of its flavour do: its package was
//!   removed, no further module can be loaded, and only a reboot mends that.
//! * Kernels are installed, none of the running flavour: unknown. Either the kernel comes from
//!   outside, or its whole flavour was removed; nothing here tells which.

use std::collections::BTreeSet;

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::kernel::InstalledKernel;
use palisade_report::section::kernel::Kernel;
use palisade_report::section::kernel::KernelPart;
use palisade_report::section::reboot::Action;
use palisade_report::section::reboot::Reason;
use palisade_report::section::reboot::Signal;
use palisade_report::section::reboot::Source;

use super::Said;
use super::Witness;
use super::value;
use crate::version;

/// What the kernels say.
pub(super) fn compare(kernel: &Section<Kernel>, witness: &Witness) -> Said {
    let kernel = match kernel {
        Section::Known(kernel) => kernel,
        Section::Unknown { why } => return Said::unknown(why.clone()),
    };
    let (running, installed) = match (value(&kernel.release), value(&kernel.installed)) {
        (Ok(running), Ok(installed)) => (running.as_str(), installed.as_slice()),
        (Err(why), _) | (_, Err(why)) => return Said::unknown(why),
    };
    if let Some(why) = &witness.foreign_root {
        return Said::unknown(why.clone());
    }
    if installed.is_empty() {
        let evidence = "no kernel is installed in /boot or /lib/modules: it comes from outside";
        return witness.unproven_root.clone().map_or_else(|| Said::unused(evidence), Said::unknown);
    }
    let newest = kernel.newest.value().map(String::as_str);
    let expected = kernel.boot_default.value().map(String::as_str).or(newest);
    if let Some(expected) = expected
        && version::flavour(expected) == version::flavour(running)
        && version::release(expected, running).is_gt()
    {
        let how = match kernel.boot_default.value() {
            Some(_) => "boots by default",
            None => "is the newest that is installed",
        };
        return needed(running, expected, format!("{running} runs, {expected} {how}"));
    }
    let has_modules = |kernel: &&InstalledKernel| kernel.parts.contains(&KernelPart::Modules);
    let mut others = installed
        .iter()
        .filter(has_modules)
        .filter(|kernel| version::flavour(&kernel.release) == version::flavour(running))
        .map(|kernel| kernel.release.as_str());
    let own = installed.iter().find(|kernel| kernel.release == running);
    if own.filter(has_modules).is_none()
        && let Some(other) = others.next_back()
    {
        return needed(
            &format!("modules of {running}"),
            other,
            format!("{running} runs without a modules directory; {other} has one"),
        );
    }
    if own.is_none() {
        let detail = format!(
            "the running kernel {running} is not installed, and no other of its flavour is: it may \
             come from outside"
        );
        return Said::unknown(Why::new(WhyKind::MissingSource, detail));
    }
    if let Some(why) = &witness.unproven_root {
        return Said::unknown(why.clone());
    }
    Said::not_needed(match expected {
        Some(expected) if expected != running => {
            format!("{running} runs; {expected} boots by default, and is not newer")
        }
        Some(_) | None => match newest {
            Some(newest) if version::release(newest, running).is_gt() => {
                format!("{running} runs and boots by default, although {newest} is installed")
            }
            Some(_) | None => format!("{running} runs, and is the kernel that would boot"),
        },
    })
}

fn needed(subject: &str, target: &str, evidence: String) -> Said {
    let reason =
        Reason { source: Source::Kernel, subject: subject.to_owned(), target: target.to_owned() };
    Said {
        signal: Signal::Needed { evidence },
        reasons: BTreeSet::from([reason]),
        action: Action::Reboot,
    }
}
