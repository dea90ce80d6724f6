//! Calls about reboots: the plan, requests, and why a node waits.

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::bound::clean_text;
use serde::Deserialize;

use super::NoCall;
use crate::http::query::DEFAULT_LIMIT;
use crate::http::query::MalformedQuery;
use crate::http::query::Query;

/// Bytes of a note: it lands in the request and in the audit.
const MAX_NOTE: usize = 1024;

/// Which nodes of the plan.
#[derive(Clone, Debug, Default)]
pub struct PlanQuery {
    /// Only of this pool.
    pub pool: Option<String>,
    /// Only with this verdict; without it, all but those that need nothing.
    pub verdict: Option<String>,
    /// Only after this name.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// What an answer about one node is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prose {
    /// JSON.
    #[default]
    Json,
    /// Text for a terminal.
    Text,
}

/// What somebody wants of the coordinator of reboots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// That the reasons of this digest are acted upon.
    Approve {
        /// The digest; `None`: whatever is asked now.
        digest: Option<Digest>,
        /// Until when; `None`: for a day.
        until: Option<Moment>,
    },
    /// That a request ends.
    Cancel,
    /// That a node reboots.
    Reboot {
        /// Why.
        note: Option<String>,
        /// When it should have happened.
        must_by: Option<Moment>,
    },
    /// That a place is freed which a node keeps that did not come back well.
    Release,
}

impl Errand {
    /// What it is, for the audit.
    #[must_use]
    pub fn about(&self) -> String {
        match self {
            Self::Approve { digest: None, until: _ } => "a person approved its reboot".to_owned(),
            Self::Approve { digest: Some(digest), until: _ } => {
                format!("a person approved its reboot for the reasons {digest}")
            }
            Self::Cancel => "a person called its reboot off".to_owned(),
            Self::Reboot { note: None, must_by: _ } => "a person asked for its reboot".to_owned(),
            Self::Reboot { note: Some(note), must_by: _ } => {
                format!("a person asked for its reboot: {note}")
            }
            Self::Release => "a person let go of it after a reboot that failed".to_owned(),
        }
    }
}

/// Verdicts of a plan, as the query takes them.
const VERDICTS: [&str; 5] = ["in-flight", "not-needed", "start", "unknown", "waits"];

/// `pool=…&verdict=…&after=…&limit=…`
pub(super) fn plan(query: &mut Query) -> Result<PlanQuery, MalformedQuery> {
    let verdict = query.text("verdict");
    if let Some(word) = &verdict
        && !VERDICTS.contains(&word.as_str())
    {
        return Err(MalformedQuery::Value {
            name: "verdict",
            value: clean_text(word),
            expected: format!("expected one of {}", VERDICTS.join(", ")),
        });
    }
    Ok(PlanQuery {
        pool: query.text("pool"),
        verdict,
        after: query.text("after"),
        limit: query.limit()?.unwrap_or(DEFAULT_LIMIT),
    })
}

/// `format=json` or `format=text`.
pub(super) fn prose(query: &mut Query) -> Result<Prose, MalformedQuery> {
    match query.text("format").as_deref() {
        None | Some("json") => Ok(Prose::Json),
        Some("text") => Ok(Prose::Text),
        Some(other) => Err(MalformedQuery::Value {
            name: "format",
            value: clean_text(other),
            expected: "expected json or text".to_owned(),
        }),
    }
}

/// `{"policy": "…"}`: a policy as its file would have it.
pub(super) fn what_if(body: &[u8]) -> Result<String, NoCall> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        policy: String,
    }
    let body: Body = serde_json::from_slice(body)
        .map_err(|source| NoCall::Body { what: "question about a policy", source })?;
    Ok(body.policy)
}

/// `{"node": "…", "note": "…", "must_by": 1795000000}`
pub(super) fn request(body: &[u8]) -> Result<(NodeName, Errand), NoCall> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        node: NodeName,
        #[serde(default)]
        note: Option<String>,
        #[serde(default)]
        must_by: Option<Moment>,
    }
    let Body { node, note, must_by } = serde_json::from_slice(body)
        .map_err(|source| NoCall::Body { what: "request for a reboot", source })?;
    let note = note.map(|note| palisade_report::bound::clean(note.as_bytes(), MAX_NOTE));
    Ok((node, Errand::Reboot { note, must_by }))
}

/// `{}`, or `{"digest": "sha256:…", "until": 1795000000}`
pub(super) fn approval(body: &[u8]) -> Result<Errand, NoCall> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        digest: Option<Digest>,
        #[serde(default)]
        until: Option<Moment>,
    }
    let Body { digest, until } =
        serde_json::from_slice(body).map_err(|source| NoCall::Body { what: "approval", source })?;
    Ok(Errand::Approve { digest, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_node_and_nothing_unknown() {
        let (node, errand) = request(br#"{"node":"worker-1","note":"disk\u001b[2J"}"#).unwrap();
        assert_eq!(node.as_str(), "worker-1");
        let Errand::Reboot { note: Some(note), must_by: None } = errand else {
            panic!("{errand:?}")
        };
        assert!(!note.chars().any(char::is_control), "{note}");
        for body in ["{}", r#"{"node":"A b"}"#, r#"{"node":"a","force":true}"#, "[]", ""] {
            assert!(request(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn an_approval_may_say_of_what_and_until_when() {
        assert_eq!(approval(b"{}").unwrap(), Errand::Approve { digest: None, until: None });
        assert!(approval(br#"{"digest":"sha256:00"}"#).is_err());
        assert!(approval(br#"{"until":"tomorrow"}"#).is_err());
    }
}
