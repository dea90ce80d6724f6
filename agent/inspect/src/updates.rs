//! Updates: the package manager and automatic updates.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::updates::Updates;

use crate::Host;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host) -> Section<Updates> {
    let _ = (host,);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}

pub mod dpkg;
