//! Sockets: who listens on the host.

use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::boot::Boot;
use palisade_report::section::sockets::Sockets;

use crate::Host;
use crate::process::ProcessTable;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, processes: &ProcessTable, boot: &Section<Boot>) -> Section<Sockets> {
    let _ = (host, processes, boot);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}
