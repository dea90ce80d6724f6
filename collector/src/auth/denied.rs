//! Why somebody is turned away, and what of it is shown, counted and kept.

use std::time::Duration;

use palisade_report::NodeName;

use super::Caller;
use super::token::Malformed;
use crate::audit::Kind;
use crate::kube::review::Unfit;

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A person whom the cluster does not allow this.
    #[error("you may not {wish}; ask for a role that allows it")]
    Access {
        /// What they wished: verb, resource, name.
        wish: String,
    },
    /// The body names another node than the token.
    #[error("the body names another node: this token speaks for {own} only")]
    BodyOfOtherNode {
        /// The token's node.
        own: NodeName,
    },
    /// Not even the shape of a token.
    #[error(transparent)]
    Malformed(Malformed),
    /// No token, or not as `Bearer`.
    #[error("say who you are: send `authorization: Bearer TOKEN`")]
    Missing,
    /// The path names another node than the token.
    #[error("this token speaks for {own} only")]
    OtherNode {
        /// The token's node.
        own: NodeName,
    },
    /// A known token whose role may not do this.
    #[error("this token may not do this: {0}")]
    Role(&'static str),
    /// More than one `authorization` field.
    #[error("say once who you are: there is more than one `authorization` field")]
    Several,
    /// Nobody can say who it is: the API server does not answer.
    #[error("nobody can say now who you are: the API server does not answer; try again later")]
    Silent {
        /// When to try again.
        retry_after: Duration,
    },
    /// Wrong tokens came too fast from this address.
    #[error("too many wrong tokens from this address")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// A token that is no living agent's.
    #[error(transparent)]
    Unfit(Unfit),
    /// No role has this token.
    #[error("this token is not known here")]
    Wrong,
}

/// Words for figures: one for each way of being turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// See [`Denied::Access`].
    Access,
    /// A token for others, or of another account.
    Account,
    /// See [`Denied::Malformed`] and [`Denied::Several`].
    Malformed,
    /// See [`Denied::Missing`].
    Missing,
    /// A node's name in path or body that is not the token's.
    OtherNode,
    /// See [`Denied::Role`].
    Role,
    /// See [`Denied::Silent`].
    Silent,
    /// A node or pod that is no more.
    Gone,
    /// See [`Denied::TooMany`].
    TooMany,
    /// Nobody's token.
    Unknown,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Access,
        Self::Account,
        Self::Malformed,
        Self::Missing,
        Self::OtherNode,
        Self::Role,
        Self::Silent,
        Self::Gone,
        Self::TooMany,
        Self::Unknown,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Account => "account",
            Self::Malformed => "malformed",
            Self::Missing => "missing",
            Self::OtherNode => "other-node",
            Self::Role => "role",
            Self::Silent => "api-server-silent",
            Self::Gone => "gone",
            Self::TooMany => "too-many",
            Self::Unknown => "unknown",
        }
    }
}

impl Denied {
    /// The word for figures.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Access { .. } => Reason::Access,
            Self::BodyOfOtherNode { .. } | Self::OtherNode { .. } => Reason::OtherNode,
            Self::Malformed(_) | Self::Several => Reason::Malformed,
            Self::Missing => Reason::Missing,
            Self::Role(_) => Reason::Role,
            Self::Silent { .. } => Reason::Silent,
            Self::TooMany { .. } => Reason::TooMany,
            Self::Unfit(unfit) => match unfit {
                Unfit::Audience | Unfit::NotBound | Unfit::OtherAccount => Reason::Account,
                Unfit::NodeGone | Unfit::NodeReplaced | Unfit::PodElsewhere | Unfit::PodGone => {
                    Reason::Gone
                }
                Unfit::Unauthenticated => Reason::Unknown,
            },
            Self::Wrong => Reason::Unknown,
        }
    }

    /// Under which kind the audit keeps it; `None`: it does not.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Access { .. } | Self::Role(_) => Some(Kind::AccessDenied),
            Self::BodyOfOtherNode { .. } | Self::OtherNode { .. } => Some(Kind::IdentityMismatch),
            Self::Malformed(_) | Self::Several | Self::Wrong => Some(Kind::TokenRefused),
            Self::Unfit(unfit) => match unfit {
                Unfit::NodeReplaced => Some(Kind::IdentityMismatch),
                // Every node that a cluster gives back says a last word: nobody tries anything.
                Unfit::Audience
                | Unfit::NodeGone
                | Unfit::NotBound
                | Unfit::OtherAccount
                | Unfit::PodElsewhere
                | Unfit::PodGone
                | Unfit::Unauthenticated => Some(Kind::TokenRefused),
            },
            // Whoever says nothing claims nothing; the others tried before, and were kept then.
            Self::Missing | Self::Silent { .. } | Self::TooMany { .. } => None,
        }
    }

    /// Whether it may have been a try at somebody else's token.
    #[must_use]
    pub const fn is_a_guess(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Several | Self::Unfit(_) | Self::Wrong => true,
            Self::Access { .. }
            | Self::BodyOfOtherNode { .. }
            | Self::Missing
            | Self::OtherNode { .. }
            | Self::Role(_)
            | Self::Silent { .. }
            | Self::TooMany { .. } => false,
        }
    }
}

/// A refusal, and who was refused as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub denied: Denied,
    /// Who; [`Caller::Anybody`] if nobody vouches for it.
    pub caller: Caller,
    /// Whom the token claims to be, bounded and safe to show.
    pub claimed: Option<String>,
}

impl Refusal {
    /// A refusal of somebody unknown.
    #[must_use]
    pub const fn of(denied: Denied) -> Self {
        Self { denied, caller: Caller::Anybody, claimed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Weight;

    #[test]
    fn a_node_that_was_given_back_is_routine_and_one_that_was_replaced_is_not() {
        let kind = |unfit| Denied::Unfit(unfit).kind();
        assert_eq!(kind(Unfit::NodeGone), Some(Kind::TokenRefused));
        assert_eq!(kind(Unfit::NodeReplaced), Some(Kind::IdentityMismatch));
        assert_eq!(kind(Unfit::NodeReplaced).map(Kind::weight), Some(Weight::High));
    }
}
