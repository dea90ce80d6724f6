//! Kubelet: its process, and its configuration as it computes it.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::process::ProcessTable;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, processes: &ProcessTable) -> Section<Kubelet> {
    let _ = (host, processes);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
