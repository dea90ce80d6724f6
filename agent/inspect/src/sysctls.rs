//! Sysctls: values now, and the values that the next boot will set.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::boot::Boot;
use palisade_report::section::sysctls::Sysctls;

use crate::Host;
use crate::Interest;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, interest: &Interest, boot: &Section<Boot>) -> Section<Sysctls> {
    let _ = (host, interest, boot);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
