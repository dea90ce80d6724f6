//! The audit: who was refused what, and what was done, in entries that are chained by their hashes.
//!
//! ```text
//! auth, api, engine, kube ──Happening──> engine: place, moment, link ──commit──> table `audit`
//!                              │
//!                              └ Recorder: a bounded rate for each source, the rest is counted
//! ```
//!
//! An entry says kind, actor, object, decision and reason. It never holds a token, nor anything
//! made from one but the token's own id. Everything from outside is bounded and made safe to show.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::bound::clean_text;
use serde::Deserialize;
use serde::Serialize;

use crate::auth::NodeIdentity;
use crate::auth::Person;

pub mod chain;
pub mod recorder;

/// Groups of a person that an entry names; the first ones.
const MAX_GROUPS: usize = 16;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody known may not do what they asked for.
    AccessDenied,
    /// A certificate or an authority of the collector's was made, replaced or published.
    CertificateRotated,
    /// A node said what became of a grant.
    GrantAnswered,
    /// A node was handed a permission to reboot.
    GrantIssued,
    /// A node spoke for another one, or for one that is no more.
    IdentityMismatch,
    /// A collector began or ceased to lead.
    Leadership,
    /// A node came back under its name as another object.
    NodeRecreated,
    /// A node was retired.
    NodeRetired,
    /// A request for a reboot went from one state to another.
    Reboot,
    /// Something about reboots that bounds later ones, in a form for this collector.
    RebootRecord,
    /// A receiver of alerts was tried out, or was sent again what had been put aside.
    Receiver,
    /// Alerts were muted, or are so no more.
    Silence,
    /// A token that is nobody's, or not of the kind that is taken here.
    TokenRefused,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// A person should look: somebody tries to be somebody else.
    High,
    /// For the record.
    Info,
    /// Worth a look when it repeats.
    Medium,
}

impl Kind {
    /// All of them, by name.
    pub const ALL: [Self; 13] = [
        Self::AccessDenied,
        Self::CertificateRotated,
        Self::GrantAnswered,
        Self::GrantIssued,
        Self::IdentityMismatch,
        Self::Leadership,
        Self::NodeRecreated,
        Self::NodeRetired,
        Self::Reboot,
        Self::RebootRecord,
        Self::Receiver,
        Self::Silence,
        Self::TokenRefused,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access-denied",
            Self::CertificateRotated => "certificate-rotated",
            Self::GrantAnswered => "grant-answered",
            Self::GrantIssued => "grant-issued",
            Self::IdentityMismatch => "identity-mismatch",
            Self::Leadership => "leadership",
            Self::NodeRecreated => "node-recreated",
            Self::NodeRetired => "node-retired",
            Self::Reboot => "reboot",
            Self::RebootRecord => "reboot-record",
            Self::Receiver => "receiver",
            Self::Silence => "silence",
            Self::TokenRefused => "token-refused",
        }
    }

    /// How much it matters.
    #[must_use]
    pub const fn weight(self) -> Weight {
        match self {
            Self::IdentityMismatch => Weight::High,
            Self::AccessDenied | Self::TokenRefused => Weight::Medium,
            Self::CertificateRotated
            | Self::GrantAnswered
            | Self::GrantIssued
            | Self::Leadership
            | Self::NodeRecreated
            | Self::NodeRetired
            | Self::Reboot
            | Self::RebootRecord
            | Self::Receiver
            | Self::Silence => Weight::Info,
        }
    }
}

/// The text names no kind. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected access-denied, certificate-rotated, grant-answered, grant-issued, identity-mismatch, leadership, node-recreated, node-retired, reboot, reboot-record, receiver, silence or token-refused"
)]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// Who did or tried something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Actor {
    /// This collector.
    Collector,
    /// An agent; standalone without a name, because a token file does not say it.
    Node {
        /// Its node.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<NodeName>,
        /// What it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<NodeUid>,
        /// The id of its token, as in the API server's audit log.
        #[serde(skip_serializing_if = "Option::is_none")]
        credential: Option<String>,
    },
    /// A person or a tool.
    Person {
        /// The user's name.
        user: String,
        /// The first groups.
        groups: Vec<String>,
    },
    /// Nobody vouches for who it was.
    Unknown {
        /// Whom the token claims to be.
        #[serde(skip_serializing_if = "Option::is_none")]
        claimed: Option<String>,
    },
}

impl Actor {
    /// An agent.
    #[must_use]
    pub fn agent(identity: &NodeIdentity) -> Self {
        let NodeIdentity { name, uid, pod: _, credential } = identity;
        Self::Node {
            name: Some(name.clone()),
            uid: Some(uid.clone()),
            credential: credential.clone(),
        }
    }

    /// A person.
    #[must_use]
    pub fn person(person: &Person) -> Self {
        let Person { user, uid: _, groups, extra: _ } = person;
        let groups = groups.iter().take(MAX_GROUPS).map(|group| clean_text(group)).collect();
        Self::Person { user: clean_text(user), groups }
    }
}

/// By which lists filter: `collector`, `node:NAME`, `person:USER`, `unknown`.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collector => f.write_str("collector"),
            Self::Node { name: None, .. } => f.write_str("node:"),
            Self::Node { name: Some(name), .. } => write!(f, "node:{name}"),
            Self::Person { user, groups: _ } => write!(f, "person:{user}"),
            Self::Unknown { claimed: _ } => f.write_str("unknown"),
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It was done.
    Done,
    /// It was refused; nothing changed.
    Refused,
}

impl Decision {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// Something for the audit, on its way to its place there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What it is about.
    pub kind: Kind,
    /// Who.
    pub actor: Actor,
    /// From where, if it came over the network.
    pub source: Option<IpAddr>,
    /// On what: `POST /v1/nodes/worker-1/heartbeat`, `node worker-1`.
    pub object: String,
    /// The node that it is about, for filters.
    pub node: Option<NodeName>,
    /// What came of it.
    pub decision: Decision,
    /// Why, in a sentence.
    pub reason: String,
    /// What it was before, if something changed.
    pub before: Option<String>,
    /// What it is now.
    pub after: Option<String>,
    /// Like ones of the same source that were not kept before this one.
    pub suppressed: u64,
}

impl Happening {
    /// Something that this collector did by itself.
    #[must_use]
    pub fn own(kind: Kind, object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            actor: Actor::Collector,
            source: None,
            object: object.into(),
            node: None,
            decision: Decision::Done,
            reason: reason.into(),
            before: None,
            after: None,
            suppressed: 0,
        }
    }

    /// The same, about a node.
    #[must_use]
    pub fn about(mut self, node: NodeName) -> Self {
        self.node = Some(node);
        self
    }

    /// The same, changing `before` into `after`.
    #[must_use]
    pub fn changing(mut self, before: impl Into<String>, after: impl Into<String>) -> Self {
        self.before = Some(before.into());
        self.after = Some(after.into());
        self
    }
}

/// An entry, as it is kept, shown and hashed. Fields are only ever added, and left out when empty,
/// so that the canonical text of older entries stays what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, growing by one.
    pub id: i64,
    /// When.
    pub at: Moment,
    /// What it is about.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Weight,
    /// Who.
    pub actor: Actor,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// On what.
    pub object: String,
    /// The node that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What came of it.
    pub decision: Decision,
    /// Why.
    pub reason: String,
    /// What it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Like ones that were not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Entry {
    /// The entry of a happening, at its place.
    #[must_use]
    pub fn new(id: i64, at: Moment, happening: Happening) -> Self {
        let Happening {
            kind,
            actor,
            source,
            object,
            node,
            decision,
            reason,
            before,
            after,
            suppressed,
        } = happening;
        Self {
            id,
            at,
            kind,
            severity: kind.weight(),
            actor,
            source,
            object: clean_text(&object),
            node,
            decision,
            reason: clean_text(&reason),
            before: before.map(|it| clean_text(&it)),
            after: after.map(|it| clean_text(&it)),
            suppressed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_their_words() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("moon".parse::<Kind>().is_err());
        for kind in Kind::ALL {
            assert!(UnknownKind.to_string().contains(kind.as_str()), "{kind:?}");
        }
    }

    #[test]
    fn what_came_from_outside_is_bounded_and_safe_to_show() {
        let hostile = format!("a\u{1b}[31m\u{202e}{}", "x".repeat(10_000));
        let happening = Happening::own(Kind::Leadership, &*hostile, &*hostile)
            .changing(hostile.as_str(), hostile.as_str());
        let entry = Entry::new(1, Moment::from_unix(1), happening);
        for text in [entry.object, entry.reason, entry.before.unwrap(), entry.after.unwrap()] {
            assert!(text.len() <= 256 && !text.chars().any(char::is_control), "{text}");
        }
    }
}
