//! Fuzz targets: every parser of foreign bytes, each a function that must not panic, hang or grow
//! without bound whatever the bytes are.
//!
//! `make fuzz` runs them under libFuzzer; `make test` runs them over the committed corpus and over
//! its mutations, so that what was found once stays found.

use std::hint::black_box;

use palisade_report::Report;
use palisade_report::SectionName;
use palisade_report::canonical;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::Upload;

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its directory below `tests/corpus`.
    pub name: &'static str,
    /// Feeds it bytes.
    pub run: fn(&[u8]),
}

/// Every target, in order of names.
pub const TARGETS: &[Target] = &[
    Target { name: "wire-heartbeat", run: heartbeat },
    Target { name: "wire-section", run: section },
    Target { name: "wire-upload", run: upload },
];

fn heartbeat(bytes: &[u8]) {
    if let Ok(heartbeat) = serde_json::from_slice::<Heartbeat>(bytes) {
        let again = serde_json::to_vec(&heartbeat).expect("a heartbeat has a JSON form");
        assert_eq!(serde_json::from_slice::<Heartbeat>(&again).expect("its own form"), heartbeat);
    }
}

fn upload(bytes: &[u8]) {
    if let Ok(upload) = serde_json::from_slice::<Upload<'_>>(bytes) {
        for section in upload.sections.values() {
            black_box(canonical::parse(section.get().as_bytes()).is_ok());
        }
    }
}

/// What the canonical parser accepts is its own canonical form, and typed facts that come from it
/// can be sealed again.
fn section(bytes: &[u8]) {
    let Ok(value) = canonical::parse(bytes) else { return };
    assert_eq!(canonical::bytes(&value).expect("JSON has a canonical form"), bytes);
    for name in SectionName::ALL {
        let mut report = Report::default();
        if report.set(name, bytes).is_ok() {
            report.seal().expect("facts have a canonical form");
        }
    }
}
