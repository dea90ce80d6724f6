//! Grants on the wire: as text in a reply to a heartbeat, and what became of one.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::grant::LENGTH;

/// Bytes of [`GrantReport::code`]; the longest that is sent has 12.
pub const MAX_CODE: usize = 32;

/// Bytes of [`GrantReport::words`].
pub const MAX_WORDS: usize = 512;

/// A grant as the text of a JSON string: its 234 bytes in lowercase hexadecimal. Nobody on its way
/// looks into it; see [`crate::grant`].
#[derive(Clone, PartialEq, Eq)]
pub struct GrantText(Box<[u8; LENGTH]>);

/// The text is no grant. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed grant: expected {} lowercase hexadecimal digits", 2 * LENGTH)]
pub struct MalformedGrantText;

impl GrantText {
    /// The text of these bytes.
    ///
    /// # Errors
    /// [`MalformedGrantText`] if they are not as long as a grant.
    pub fn of(grant: &[u8]) -> Result<Self, MalformedGrantText> {
        let bytes: [u8; LENGTH] = grant.try_into().map_err(|_| MalformedGrantText)?;
        Ok(Self(Box::new(bytes)))
    }

    /// The grant's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Display for GrantText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A grant is worth something for a minute: it is in no log.
impl fmt::Debug for GrantText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantText")
    }
}

impl FromStr for GrantText {
    type Err = MalformedGrantText;

    fn from_str(text: &str) -> Result<Self, MalformedGrantText> {
        if text.len() != 2 * LENGTH {
            return Err(MalformedGrantText);
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(MalformedGrantText),
        };
        let (pairs, _rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Result<Vec<u8>, _> =
            pairs.iter().map(|[high, low]| Ok(digit(*high)? << 4 | digit(*low)?)).collect();
        Self::of(&bytes?)
    }
}

impl Serialize for GrantText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GrantText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::id::parse_text(deserializer, "a grant in hexadecimal digits")
    }
}

/// What became of a grant: `POST /v1/nodes/{node}/grants/{id}`. The same again is taken again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantReport {
    /// How far it came.
    pub answer: GrantWord,
    /// Why it was refused, as a word for programs: `hold`, `expired`; else empty. At most
    /// [`MAX_CODE`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// Why it was refused or failed, for people; else empty. At most [`MAX_WORDS`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// How far a grant came on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantWord {
    /// It passed every check; nothing has happened yet.
    Accepted,
    /// It is used up, and the node is about to go down. Said before it is done.
    Executing,
    /// The order to reboot was not taken. It stays used up.
    Failed,
    /// Nothing was done, and nothing will be.
    Refused,
}

impl GrantWord {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Executing => "executing",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_survives_its_text_and_nothing_else_is_one() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(LENGTH).collect();
        let grant = GrantText::of(&bytes).unwrap();
        let text = grant.to_string();
        assert_eq!(text.parse::<GrantText>().unwrap().as_bytes(), bytes);
        let json = serde_json::to_string(&grant).unwrap();
        assert_eq!(serde_json::from_str::<GrantText>(&json).unwrap(), grant);
        assert_eq!(format!("{grant:?}"), "GrantText");
        let upper = text.to_uppercase();
        let short = text.get(2..).unwrap();
        for bad in ["", &upper, short, &format!("{text}00"), &text.replacen('0', "g", 1)] {
            assert_eq!(bad.parse::<GrantText>(), Err(MalformedGrantText));
        }
        assert_eq!(GrantText::of(&bytes[1..]), Err(MalformedGrantText));
    }

    #[test]
    fn a_report_of_a_grant_has_three_parts_of_which_two_may_be_missing() {
        let report: GrantReport = serde_json::from_str(r#"{"answer":"executing"}"#).unwrap();
        assert_eq!(report.answer, GrantWord::Executing);
        assert_eq!(serde_json::to_string(&report).unwrap(), r#"{"answer":"executing"}"#);
        assert!(serde_json::from_str::<GrantReport>(r#"{"answer":"perhaps"}"#).is_err());
    }
}
