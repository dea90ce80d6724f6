//! The messages of wire version 1, and the names that both ends must agree on.
//!
//! Fields are only ever added. Unknown fields are ignored; unknown words of an enum pass through.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::id::BootId;
use crate::id::Sequence;
use crate::report::Manifest;
use crate::section::SectionName;
use crate::time::Moment;
use crate::trust::TrustId;

mod grant;
mod rebooter;

pub use grant::GrantReport;
pub use grant::GrantText;
pub use grant::GrantWord;
pub use grant::MAX_CODE;
pub use grant::MAX_WORDS;
pub use grant::MalformedGrantText;
pub use rebooter::CanReboot;
pub use rebooter::HoldFile;
pub use rebooter::MalformedRebooterState;
pub use rebooter::RebooterState;

/// The version of the wire that this crate speaks.
pub const WIRE_VERSION: u16 = 1;

/// Prefix of metrics, labels, annotations and headers that are ours.
pub const PREFIX: &str = "palisade";

/// Bytes that a heartbeat without a manifest may have; a test holds the agent to it.
pub const MAX_HEARTBEAT: usize = 300;

/// Bytes that a request body may have as sent.
pub const MAX_BODY: usize = 256 * 1024;

/// Bytes that a request body may have once decompressed.
pub const MAX_DECODED_BODY: usize = 4 * 1024 * 1024;

/// Bytes that one section may have.
pub const MAX_SECTION: usize = 1024 * 1024;

/// Sections that one report may have.
pub const MAX_SECTIONS: usize = 32;

/// Bytes that a section's name may have.
pub const MAX_SECTION_NAME: usize = 32;

/// Seconds between two heartbeats unless the collector says otherwise.
pub const DEFAULT_INTERVAL_SECS: u64 = 60;

/// What an agent says in every slot: `POST /v1/nodes/{node}/heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Version of the wire, [`WIRE_VERSION`].
    pub wire: u16,
    /// Version of the agent: `0.1.0`, at most 32 bytes.
    pub agent: String,
    /// Digest of the current report.
    pub report: Digest,
    /// The boot during which it was made.
    pub boot_id: BootId,
    /// Its place among the heartbeats of this boot.
    pub sequence: Sequence,
    /// The agent's own clock; shown as skew, never trusted.
    pub sent_at: Moment,
    /// The authorities that the agent would trust at its next connection; absent without TLS, and
    /// while its bundle cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustId>,
    /// The node's `CLOCK_BOOTTIME` when this was made, in ms. What a grant's end is counted from;
    /// without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boottime_ms: Option<u64>,
    /// Whether the process on the node that could reboot it would; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebooter: Option<RebooterState>,
    /// What the report consists of; only when the collector asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
}

/// The collector's answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// Milliseconds until this agent's next slot.
    pub next_in_ms: u64,
    /// What the collector lacks.
    #[serde(default, skip_serializing_if = "Want::is_nothing")]
    pub want: Want,
    /// Digest of the profile by which this node is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Digest>,
    /// A permission to reboot, good for a minute after this heartbeat was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantText>,
}

/// What the collector lacks of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// The digest is new: send the heartbeat again, with the manifest.
    Manifest,
    /// Nothing.
    #[default]
    Nothing,
    /// These sections, by `PUT /v1/nodes/{node}/sections`.
    Sections(Vec<SectionName>),
}

impl Want {
    /// Whether nothing is wanted.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// Sections on their way up: `PUT /v1/nodes/{node}/sections`.
///
/// The text of each section is kept as it is: its digest is taken over exactly these bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Upload<'a> {
    /// The report that they belong to.
    pub report: Digest,
    /// The boot during which it was made.
    pub boot_id: BootId,
    /// Canonical text by the section's name, at most [`MAX_SECTIONS`], none twice; names of newer
    /// agents pass through.
    #[serde(borrow, deserialize_with = "sections_once")]
    pub sections: BTreeMap<String, &'a RawValue>,
}

/// A map keeps the last of two equal keys; here that would store something other than what another
/// reader of the same bytes sees.
fn sections_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, &'de RawValue>, D::Error> {
    struct Once;
    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<String, &'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("sections by name")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut sections = BTreeMap::new();
            while let Some((name, text)) = map.next_entry::<String, &'de RawValue>()? {
                if name.len() > MAX_SECTION_NAME {
                    return Err(A::Error::custom("the name of a section is too long"));
                }
                if sections.insert(name, text).is_some() {
                    return Err(A::Error::custom("a section is given twice"));
                }
                if sections.len() > MAX_SECTIONS {
                    return Err(A::Error::custom("too many sections"));
                }
            }
            Ok(sections)
        }
    }
    deserializer.deserialize_map(Once)
}

/// The collector's answer to an upload, sent after everything in `stored` is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadReply {
    /// Stored now or before, by name.
    pub stored: BTreeMap<String, Digest>,
    /// Not stored, and why; sending the same bytes again will not help.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Problem>,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable word for programs: `body-too-large`.
    pub kind: String,
    /// A sentence for people: what was wrong and what to do.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_fits_its_bound_with_the_longest_values() {
        let heartbeat = Heartbeat {
            wire: u16::MAX,
            agent: "100.100.100-rc.100".to_owned(),
            report: Digest::of(b""),
            boot_id: "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap(),
            // Both are ms of a boot: 12 digits are 31 years.
            sequence: Sequence(999_999_999_999),
            sent_at: Moment::from_unix(253_402_300_799),
            trust: Some(TrustId::of(b"")),
            boottime_ms: Some(999_999_999_999),
            rebooter: Some(RebooterState { can: CanReboot::NoRecord, hold: HoldFile::Unknown }),
            manifest: None,
        };
        let bytes = serde_json::to_vec(&heartbeat).unwrap();
        assert!(bytes.len() <= MAX_HEARTBEAT, "{} bytes", bytes.len());
        assert_eq!(serde_json::from_slice::<Heartbeat>(&bytes).unwrap(), heartbeat);
    }

    #[test]
    fn newer_peers_may_add_fields() {
        let reply = r#"{"next_in_ms":5,"want":"manifest","moon":"full"}"#;
        let reply: HeartbeatReply = serde_json::from_str(reply).unwrap();
        let want = Want::Manifest;
        let expected = HeartbeatReply { next_in_ms: 5, want, profile: None, grant: None };
        assert_eq!(reply, expected);
    }

    #[test]
    fn an_upload_keeps_the_bytes_of_each_section() {
        let digest = Digest::of(b"");
        let text = format!(
            r#"{{"report":"{digest}","boot_id":"0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11","sections":{{"kernel":{{"b" : 1}}}}}}"#
        );
        let upload: Upload<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(upload.sections["kernel"].get(), r#"{"b" : 1}"#);
    }

    #[test]
    fn a_section_given_twice_and_one_too_many_are_refused() {
        let head = format!(
            r#"{{"report":"{}","boot_id":"0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11","sections":"#,
            Digest::of(b"")
        );
        let many: Vec<_> = (0..=MAX_SECTIONS).map(|at| format!("\"s{at}\":1")).collect();
        for sections in [r#"{"a":1,"a":2}"#.to_owned(), format!("{{{}}}", many.join(","))] {
            let text = format!("{head}{sections}}}");
            assert!(serde_json::from_str::<Upload<'_>>(&text).is_err(), "{sections}");
        }
    }
}
