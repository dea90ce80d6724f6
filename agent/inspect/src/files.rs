//! Files: mode and owner of what rules name.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::files::Files;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::Interest;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, interest: &Interest, kubelet: &Section<Kubelet>) -> Section<Files> {
    let _ = (host, interest, kubelet);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
