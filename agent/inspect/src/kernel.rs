//! Kernel: what runs, what is installed, what would boot.
//!
//! Reads the running kernel's own words (`/proc`, `/sys`) and the installed kernels (`/boot`,
//! `/lib/modules`, the boot loader's configuration). It does not decide whether a reboot is needed
//! ([`reboot`](crate::reboot)) and does not look into images.
//!
//! A file of `/proc` or `/sys` that is not there proves something only if the directory that would
//! hold it is visible; in a container without `/sys` nothing is absent, everything is unknown.

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::Switch;
use palisade_report::section::kernel::Kernel;

use crate::Host;
use crate::Interest;
use crate::host::MAX_PROC;

pub mod boot_entry;
pub mod cpu;
pub mod grub;
pub mod installed;
pub mod loader;
pub mod modules;
pub mod parameters;
pub mod protection;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, interest: &Interest) -> Section<Kernel> {
    let release = required(text(host, "/proc/sys/kernel/osrelease"));
    let installed = installed::read(host);
    let newest = installed::newest(&installed, &release);
    let parameters = parameters::read(host);
    Section::Known(Kernel {
        build: required(text(host, "/proc/sys/kernel/version")),
        newest,
        boot_default: boot_entry::read(host, &installed),
        modules: modules::read(host, &release, &parameters, &interest.modules),
        taint: cpu::read_taint(host),
        vulnerabilities: cpu::read_vulnerabilities(host),
        smt: cpu::read_smt(host),
        lockdown: protection::read_lockdown(host),
        lsm: protection::read_lsm(host),
        apparmor: protection::read_apparmor(host),
        selinux_enforcing: protection::read_selinux(host),
        livepatch: protection::read_livepatch(host),
        module_signatures: protection::read_module_signatures(host),
        secure_boot: protection::read_secure_boot(host),
        parameters,
        installed,
        release,
    })
}

/// The text of a small file without the white space around it.
fn text(host: &dyn Host, path: &str) -> Reading<String> {
    match host.read(path, MAX_PROC) {
        Ok(contents) => {
            Reading::known(clean(contents.bytes.trim_ascii(), MAX_TEXT), Origin::path(path))
        }
        Err(error) => error.reading(),
    }
}

/// A reading that every Linux has: absence only says that `/proc` is not the host's.
fn required<T>(reading: Reading<T>) -> Reading<T> {
    match reading {
        Reading::Absent { origin } => {
            let why = Why::new(WhyKind::MissingSource, format!("{origin} does not exist"));
            Reading::unknown(why, origin)
        }
        Reading::Known { .. } | Reading::Unknown { .. } => reading,
    }
}

/// The reading, absent only if `witness` is there: the directory in which it would be seen.
fn seen_beside<T>(host: &dyn Host, reading: Reading<T>, witness: &str) -> Reading<T> {
    match reading {
        Reading::Absent { origin } => match host.metadata(witness) {
            Ok(_) => Reading::absent(origin),
            Err(error) => Reading::unknown(error.why(), origin),
        },
        Reading::Known { .. } | Reading::Unknown { .. } => reading,
    }
}

/// `1` or `Y` is on, `0` or `N` is off.
fn switch(text: &str) -> Result<Switch, Why> {
    match text {
        "1" | "Y" | "y" => Ok(Switch::On),
        "0" | "N" | "n" => Ok(Switch::Off),
        other => Err(Why::new(WhyKind::Malformed, format!("expected 0, 1, N or Y: {other:?}"))),
    }
}

#[cfg(test)]
mod tests;
