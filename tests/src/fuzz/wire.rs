//! Messages between agent and collector.

use std::hint::black_box;

use palisade_report::Grant;
use palisade_report::Report;
use palisade_report::SectionName;
use palisade_report::canonical;
use palisade_report::grant::Envelope;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::Problem;
use palisade_report::wire::Upload;
use palisade_report::wire::UploadReply;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What parses survives being written and parsed again.
fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::to_vec(&message).expect("a message has a JSON form");
        assert_eq!(serde_json::from_slice::<T>(&again).expect("its own form"), message);
    }
}

pub(super) fn heartbeat(bytes: &[u8]) {
    survives::<Heartbeat>(bytes);
}

/// What the agent takes from the network.
pub(super) fn reply(bytes: &[u8]) {
    survives::<HeartbeatReply>(bytes);
    survives::<UploadReply>(bytes);
    survives::<Problem>(bytes);
}

pub(super) fn upload(bytes: &[u8]) {
    if let Ok(upload) = serde_json::from_slice::<Upload<'_>>(bytes) {
        for section in upload.sections.values() {
            black_box(canonical::parse(section.get().as_bytes()).is_ok());
        }
    }
}

/// What the canonical parser accepts is its own canonical form, and typed facts that come from it
/// can be sealed again.
pub(super) fn section(bytes: &[u8]) {
    let Ok(value) = canonical::parse(bytes) else { return };
    assert_eq!(canonical::bytes(&value).expect("JSON has a canonical form"), bytes);
    for name in SectionName::ALL {
        let mut report = Report::default();
        if report.set(name, bytes).is_ok() {
            report.seal().expect("facts have a canonical form");
        }
    }
}

/// Bytes that are a grant are its only form.
pub(super) fn grant(bytes: &[u8]) {
    let Ok(grant) = Grant::decode(bytes) else { return };
    let envelope = Envelope::open(bytes).expect("a grant has an envelope");
    assert_eq!(envelope.key(), grant.key);
    assert_eq!(envelope.signed_bytes(), grant.signed_bytes());
    assert_eq!(grant.encode(envelope.signature()), bytes);
}
