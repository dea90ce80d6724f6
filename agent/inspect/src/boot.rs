//! Boot: this machine, this boot, and in whose namespaces the agent reads.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::boot::Boot;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::process::ProcessTable;

/// Reads the section.
#[must_use]
pub fn read(
    host: &dyn Host,
    processes: &ProcessTable,
    kubelet: &Section<Kubelet>,
) -> Section<Boot> {
    let _ = (host, processes, kubelet);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
