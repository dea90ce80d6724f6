//! Kernel: what runs, what is installed, what would boot.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::kernel::Kernel;

use crate::Host;
use crate::Interest;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, interest: &Interest) -> Section<Kernel> {
    let _ = (host, interest);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
