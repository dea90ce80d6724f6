//! Machine: the operating system, the Kubernetes distribution, the role, memory and mounts.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::host::Host as HostFacts;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::Interest;
use crate::process::ProcessTable;

/// Reads the section.
#[must_use]
pub fn read(
    host: &dyn Host,
    interest: &Interest,
    processes: &ProcessTable,
    kubelet: &Section<Kubelet>,
) -> Section<HostFacts> {
    let _ = (host, interest, processes, kubelet);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
