//! Certificates: what components of this host use, and what is in those files.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::certificates::Certificates;
use palisade_report::section::host::Host as HostFacts;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::Interest;

/// Reads the section.
#[must_use]
pub fn read(
    host: &dyn Host,
    interest: &Interest,
    machine: &Section<HostFacts>,
    kubelet: &Section<Kubelet>,
) -> Section<Certificates> {
    let _ = (host, interest, machine, kubelet);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
