//! Whether a node could be rebooted right now, in at most 15 bytes: `signal`, `logind/held`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// What the process that can reboot its node says of itself. Shape on the wire: the word of
/// [`CanReboot`], and that of [`HoldFile`] behind a `/` unless there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RebooterState {
    /// Whether it could, and by which means.
    pub can: CanReboot,
    /// Whether the operator of the node lets it.
    pub hold: HoldFile,
}

/// Whether a grant could be carried out, the hold file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CanReboot {
    /// By asking logind, which says that it would.
    Logind,
    /// It has no key to verify grants with.
    NoKey,
    /// Its means of rebooting does not work.
    NoMeans,
    /// It cannot read or write what it did before.
    NoRecord,
    /// By a signal to process 1, which may be sent.
    Signal,
    /// It does not answer.
    Silent,
    /// A newer agent says what this version does not know. Counts as no.
    Unknown,
}

/// Whether there is a hold file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldFile {
    /// There is none.
    #[default]
    Absent,
    /// There is one: every grant is refused.
    Present,
    /// That cannot be told: every grant is refused.
    Unknown,
}

impl CanReboot {
    const ALL: [Self; 7] = [
        Self::Logind,
        Self::NoKey,
        Self::NoMeans,
        Self::NoRecord,
        Self::Signal,
        Self::Silent,
        Self::Unknown,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logind => "logind",
            Self::NoKey => "no-key",
            Self::NoMeans => "no-means",
            Self::NoRecord => "no-record",
            Self::Signal => "signal",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        }
    }

    /// The means, or why there is none, in words for a person.
    ///
    /// # Errors
    /// Why not.
    pub const fn means(self) -> Result<&'static str, &'static str> {
        match self {
            Self::Logind => Ok("logind"),
            Self::Signal => Ok("signal"),
            Self::NoKey => Err("the node has no key to verify grants with"),
            Self::NoMeans => Err("the means to reboot the node does not work"),
            Self::NoRecord => Err("the node cannot remember which grants were used"),
            Self::Silent => Err("the reboot container does not answer"),
            Self::Unknown => Err("the agent says what this collector does not know"),
        }
    }
}

impl HoldFile {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Absent => "",
            Self::Present => "/held",
            Self::Unknown => "/held?",
        }
    }
}

impl fmt::Display for RebooterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { can, hold } = self;
        write!(f, "{}{}", can.as_str(), hold.suffix())
    }
}

/// The text says nothing about a rebooter. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed state of a rebooter: expected at most 32 bytes such as signal or logind/held")]
pub struct MalformedRebooterState;

impl FromStr for RebooterState {
    type Err = MalformedRebooterState;

    fn from_str(text: &str) -> Result<Self, MalformedRebooterState> {
        if text.is_empty() || text.len() > 32 {
            return Err(MalformedRebooterState);
        }
        let (can, hold) = text.split_once('/').unwrap_or((text, ""));
        let can = CanReboot::ALL.into_iter().find(|it| it.as_str() == can);
        let hold = match hold {
            "" => HoldFile::Absent,
            "held" => HoldFile::Present,
            // Also what a newer agent may say.
            _ => HoldFile::Unknown,
        };
        Ok(Self { can: can.unwrap_or(CanReboot::Unknown), hold })
    }
}

impl Serialize for RebooterState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RebooterState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::id::parse_text(deserializer, "the state of a rebooter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_its_text_and_a_new_word_is_never_a_yes() {
        for can in CanReboot::ALL {
            for hold in [HoldFile::Absent, HoldFile::Present, HoldFile::Unknown] {
                let state = RebooterState { can, hold };
                assert_eq!(state.to_string().parse(), Ok(state));
            }
        }
        let newer: RebooterState = "by-owl/frozen".parse().unwrap();
        assert_eq!(newer, RebooterState { can: CanReboot::Unknown, hold: HoldFile::Unknown });
        assert!(newer.can.means().is_err());
        assert_eq!("".parse::<RebooterState>(), Err(MalformedRebooterState));
        assert_eq!("x".repeat(33).parse::<RebooterState>(), Err(MalformedRebooterState));
    }
}
