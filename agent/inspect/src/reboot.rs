//! Reboot: whether one is needed, by whose word, with which evidence.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::boot::Boot;
use palisade_report::section::kernel::Kernel;
use palisade_report::section::reboot::Reboot;

use crate::Host;
use crate::process::ProcessTable;

/// Reads the section.
#[must_use]
pub fn read(
    host: &dyn Host,
    processes: &ProcessTable,
    kernel: &Section<Kernel>,
    boot: &Section<Boot>,
) -> Section<Reboot> {
    let _ = (host, processes, kernel, boot);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
