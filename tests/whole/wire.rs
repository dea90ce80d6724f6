//! Recorded messages of every version of the wire that was ever released.
//!
//! A recorded file is never changed. What an old agent sends must still parse, and what this
//! version writes must still be what an old peer expects.

use std::path::Path;

use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::Problem;
use palisade_report::wire::Upload;
use palisade_report::wire::UploadReply;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire-v1").join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Parses the recording as `T` and writes it again: nothing may be lost and nothing may change.
fn survives<T: Serialize + for<'de> Deserialize<'de>>(name: &str) {
    let text = recorded(name);
    let message: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let again = serde_json::to_value(&message).expect("JSON");
    assert_eq!(again, serde_json::from_str::<Value>(&text).expect("JSON"), "{name}");
}

#[test]
fn recorded_messages_of_version_1_survive() {
    survives::<Heartbeat>("heartbeat.json");
    survives::<Heartbeat>("heartbeat-with-manifest.json");
    survives::<HeartbeatReply>("heartbeat-reply-nothing.json");
    survives::<HeartbeatReply>("heartbeat-reply-manifest.json");
    survives::<HeartbeatReply>("heartbeat-reply-sections.json");
    survives::<UploadReply>("upload-reply.json");
    survives::<Problem>("problem.json");
    let text = recorded("upload.json");
    let upload: Upload<'_> = serde_json::from_str(&text).expect("an upload");
    assert_eq!(
        serde_json::to_value(&upload).expect("JSON"),
        serde_json::from_str::<Value>(&text).expect("JSON")
    );
}

#[test]
fn a_newer_peer_may_add_fields_to_every_message() {
    for name in
        ["heartbeat.json", "heartbeat-reply-sections.json", "upload-reply.json", "problem.json"]
    {
        let mut value: Value = serde_json::from_str(&recorded(name)).expect("JSON");
        value["added_later"] = Value::from(1);
        let text = value.to_string();
        let parsed = match name {
            "heartbeat.json" => serde_json::from_str::<Heartbeat>(&text).is_ok(),
            "heartbeat-reply-sections.json" => {
                serde_json::from_str::<HeartbeatReply>(&text).is_ok()
            }
            "upload-reply.json" => serde_json::from_str::<UploadReply>(&text).is_ok(),
            _ => serde_json::from_str::<Problem>(&text).is_ok(),
        };
        assert!(parsed, "{name}");
    }
}
