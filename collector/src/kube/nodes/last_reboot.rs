//! What a node object keeps of the last reboot of ours, for a collector that leads next and has another
//! store. Written in the patch that uncordons.
//!
//! A kubelet may edit it. So it only ever shuts gates: what a store knows stands beside it, and one
//! that cannot be read is no sign that there was no reboot.

use jiff::Timestamp;
use palisade_plan::fleet::Known;
use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::bound::clean;
use palisade_report::grant::GrantId;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// Annotation with the last reboot, as JSON.
pub const LAST_REBOOT: &str = "palisade.dev/last-reboot";

/// Bytes of it that are read; what is written has some 500.
const MAX_TEXT: usize = 1024;

/// Bytes of a complaint about it.
const MAX_WHY: usize = 200;

/// The last reboot of a node. Fields are only added; those of later versions are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastReboot {
    /// When its boot was seen, or when the node said that it goes down.
    #[serde(with = "rfc_3339")]
    pub at: Moment,
    /// The reasons that it was to end.
    pub digest: Digest,
    /// Since when they had been there; not after `at`.
    #[serde(with = "rfc_3339")]
    pub occurrence: Moment,
    /// What came of it.
    pub outcome: Outcome,
    /// When the node came to wait for a person last, as long as nobody has forgiven its pool that.
    #[serde(default, with = "rfc_3339_if_any", skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Moment>,
    /// The boot that it brought; none, if that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
    /// The grant for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// `metadata.uid` of its request.
    pub request: String,
}

/// What came of a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything was proved, or its reasons were seen to be gone later.
    Done,
    /// Something was not, and a person let the node go. Its reasons may be there still.
    Released,
}

impl LastReboot {
    /// What the annotation says; `None` without one.
    pub(super) fn read(text: Option<&str>) -> Known<Option<Self>> {
        let Some(text) = text else { return Known::Known(None) };
        if text.len() > MAX_TEXT {
            return Known::Unknown(format!("it is longer than {MAX_TEXT} bytes"));
        }
        match serde_json::from_str::<Self>(text) {
            Ok(last) if last.occurrence > last.at => {
                Known::Unknown("its reasons are younger than itself".to_owned())
            }
            Ok(last) => Known::Known(Some(last)),
            Err(error) => Known::Unknown(clean(error.to_string().as_bytes(), MAX_WHY)),
        }
    }
}

mod rfc_3339 {
    use super::*;

    pub(super) fn serialize<S: Serializer>(at: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Moment, D::Error> {
        let text = String::deserialize(from)?;
        let time: Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Moment::from_unix(time.as_second()))
    }
}

mod rfc_3339_if_any {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        at: &Option<Moment>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => rfc_3339::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D>(from: D) -> Result<Option<Moment>, D::Error>
    where
        D: Deserializer<'de>,
    {
        rfc_3339::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn last() -> LastReboot {
        LastReboot {
            at: NOW,
            digest: Digest::of(b"reasons"),
            occurrence: NOW.plus(-60),
            outcome: Outcome::Released,
            failed_at: Some(NOW.plus(30)),
            boot: Some("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap()),
            grant: Some(GrantId::from_bytes([1; 16])),
            request: "8c7a4a0e-4a6e-4f0e-9d1f-3f7f3a7b1c2d".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_for_people() {
        let mut last = last();
        let text = serde_json::to_string(&last).unwrap();
        assert!(text.contains(r#""at":"2027-01-15T08:00:00Z""#), "{text}");
        assert!(text.len() <= MAX_TEXT / 2, "{} bytes", text.len());
        assert_eq!(LastReboot::read(Some(&text)), Known::Known(Some(last.clone())));
        (last.failed_at, last.boot, last.grant) = (None, None, None);
        let text = serde_json::to_string(&last).unwrap();
        assert_eq!(LastReboot::read(Some(&text)), Known::Known(Some(last)));
        assert_eq!(LastReboot::read(None), Known::Known(None));
    }

    #[test]
    fn what_cannot_be_read_is_not_absent() {
        let mut young = last();
        young.occurrence = NOW.plus(1);
        let good = serde_json::to_string(&last()).unwrap();
        let bad = [
            String::new(),
            "{}".to_owned(),
            "[".repeat(MAX_TEXT),
            good.replace("2027-01-15T08:00:00Z", "yesterday"),
            good.replace("released", "perhaps"),
            format!("{good}{}", " ".repeat(MAX_TEXT)),
            serde_json::to_string(&young).unwrap(),
            good.replace("\"request\"", "\"\u{202e}\""),
        ];
        for text in bad {
            let read = LastReboot::read(Some(&text));
            let Known::Unknown(why) = read else { panic!("{text} was read as {read:?}") };
            assert!(!why.is_empty() && why.len() <= MAX_WHY, "{why}");
            assert!(!why.contains('\u{202e}'), "{why}");
        }
        let later = good.replacen('{', r#"{"kexec":true,"#, 1);
        assert_eq!(
            LastReboot::read(Some(&later)),
            Known::Known(Some(last())),
            "of a later version"
        );
    }
}
