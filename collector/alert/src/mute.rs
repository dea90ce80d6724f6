//! Why nobody is told of an alert that fires. It stays visible, with its reason.

use palisade_report::Moment;
use serde::Serialize;

use crate::kind::Kind;

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Mute {
    /// The settings say so.
    Configured,
    /// It is there because somebody edited rules or settings, and told in a summary.
    Edited,
    /// A louder one says the same.
    Inhibited {
        /// Which.
        by: Kind,
    },
    /// Palisade itself reboots the node.
    Reboot,
    /// Somebody knows.
    Silence {
        /// The silence.
        id: u64,
        /// Who.
        author: String,
        /// Until then.
        until: Moment,
    },
}

impl std::fmt::Display for Mute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Configured => f.write_str("the settings mute it"),
            Self::Edited => f.write_str("an edit brought it about, and is told once for all nodes"),
            Self::Inhibited { by } => write!(f, "{by} says the same, and louder"),
            Self::Reboot => f.write_str("palisade reboots the node"),
            Self::Silence { id, author, until } => {
                write!(f, "silence {id} of {author} until {until}")
            }
        }
    }
}
