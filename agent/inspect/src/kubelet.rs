//! Kubelet: its process, and its configuration as it computes it.
//!
//! Later layers win, and every value keeps the place that set it:
//!
//! ```text
//! process ─> arguments ─> --config file ─> --config-dir drop-ins ─> flags ─> effective values
//!                         (else legacy defaults)
//! ```
//!
//! Reads what is on disk now; the running kubelet read it at its start. A file that cannot be read
//! or merged makes unknown whatever no flag sets, because it may set anything.

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::process::ProcessTable;

pub mod arguments;

#[expect(dead_code, reason = "waits for the merge of layers")]
mod fields;
#[expect(dead_code, reason = "waits for the merge of layers")]
mod find;
#[cfg_attr(not(test), expect(dead_code, reason = "waits for the merge of layers"))]
mod flags;

/// Reads the section.
#[must_use]
pub fn read(host: &dyn Host, processes: &ProcessTable) -> Section<Kubelet> {
    let _ = (host, processes);
    Section::Unknown { why: Why::new(WhyKind::Unsupported, "not built yet") }
}

/// What identifies this node on the kubelet's command line, by flag name without dashes
/// (`hostname-override`, `node-ip`, `pod-cidr`, `provider-id`): for facts of one node only.
///
/// Absent when no kubelet runs here. Source: kubelet(1) flags.
#[must_use]
pub fn identity(host: &dyn Host, processes: &ProcessTable) -> Reading<BTreeMap<String, String>> {
    let origin = Origin::words("the kubelet's arguments");
    let found = match find::find(host, processes) {
        Ok(Some(found)) => found,
        Ok(None) => return Reading::absent(Origin::words("no kubelet among the processes")),
        Err(why) => return Reading::unknown(why, origin),
    };
    let arguments = match found.form {
        find::Form::Own(arguments) => arguments,
        find::Form::Embedded(program) => {
            let detail = format!("{} makes up its kubelet's arguments itself", program.as_str());
            return Reading::unknown(Why::new(WhyKind::Unsupported, detail), origin);
        }
    };
    let line = arguments::parse(arguments);
    let mut identity = BTreeMap::new();
    for name in arguments::IDENTITY {
        if let Some(value) = line.last(name) {
            identity.insert(name.to_owned(), palisade_report::bound::clean_text(value));
        }
    }
    Reading::known(identity, origin)
}
