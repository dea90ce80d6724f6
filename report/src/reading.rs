//! A reading: what came of asking the host one question.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::bound::MAX_TEXT;
use crate::bound::clean;

/// What came of asking the host one question: known, absent, or unknown with a reason.
///
/// Absent is evidence: the reader could have seen the thing and it is not there. Unknown never
/// counts as absent, and neither counts as a pass.
///
/// Shape on the wire: `{"state":"known","value":…,"origin":…}`, `{"state":"absent","origin":…}`,
/// `{"state":"unknown","why":{…},"origin":…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Reading<T> {
    /// Read, and this is what it is.
    Known {
        /// What was read.
        value: T,
        /// Where it was read.
        origin: Origin,
    },
    /// Proven not to be there.
    Absent {
        /// Where it would be.
        origin: Origin,
    },
    /// Could not be told.
    Unknown {
        /// Why it could not be told.
        why: Why,
        /// Where it was looked for.
        origin: Origin,
    },
}

impl<T> Reading<T> {
    /// A value and where it came from.
    pub const fn known(value: T, origin: Origin) -> Self {
        Self::Known { value, origin }
    }

    /// Proven absence at `origin`.
    #[must_use]
    pub const fn absent(origin: Origin) -> Self {
        Self::Absent { origin }
    }

    /// Could not be told, with the reason.
    #[must_use]
    pub const fn unknown(why: Why, origin: Origin) -> Self {
        Self::Unknown { why, origin }
    }

    /// The value, if it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Absent { .. } | Self::Unknown { .. } => None,
        }
    }

    /// Where it was read or looked for.
    pub const fn origin(&self) -> &Origin {
        match self {
            Self::Known { origin, .. } | Self::Absent { origin } | Self::Unknown { origin, .. } => {
                origin
            }
        }
    }

    /// The same reading of a value turned into another.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Known { value, origin } => Reading::Known { value: turn(value), origin },
            Self::Absent { origin } => Reading::Absent { origin },
            Self::Unknown { why, origin } => Reading::Unknown { why, origin },
        }
    }

    /// The same reading, unknown if its value cannot be turned into the wanted one.
    pub fn and_then<U>(self, turn: impl FnOnce(T) -> Result<U, Why>) -> Reading<U> {
        match self {
            Self::Known { value, origin } => match turn(value) {
                Ok(value) => Reading::Known { value, origin },
                Err(why) => Reading::Unknown { why, origin },
            },
            Self::Absent { origin } => Reading::Absent { origin },
            Self::Unknown { why, origin } => Reading::Unknown { why, origin },
        }
    }
}

/// Where a value comes from, in words that a person can follow by hand.
///
/// Shape: at most [`MAX_TEXT`] bytes: a path below the host's root (`/etc/os-release`), a path and
/// line (`/etc/sysctl.d/60.conf:3`), a flag (`flag --anonymous-auth`), a default
/// (`default (KubeletConfiguration v1beta1)`), a call (`sock_diag(7)`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(Cow<'static, str>);

impl Origin {
    /// A file or directory, by its path below the host's root.
    #[must_use]
    pub fn path(path: &str) -> Self {
        Self(clean(path.as_bytes(), MAX_TEXT).into())
    }

    /// A line of a file; lines count from 1.
    #[must_use]
    pub fn line(path: &str, line: usize) -> Self {
        Self(format!("{}:{line}", clean(path.as_bytes(), MAX_TEXT.saturating_sub(21))).into())
    }

    /// A command-line flag of a process, by its long name with the dashes.
    #[must_use]
    pub fn flag(flag: &str) -> Self {
        Self(format!("flag {}", clean(flag.as_bytes(), MAX_TEXT.saturating_sub(5))).into())
    }

    /// A built-in default, and whose.
    #[must_use]
    pub fn default_of(whose: &str) -> Self {
        Self(format!("default ({})", clean(whose.as_bytes(), MAX_TEXT.saturating_sub(10))).into())
    }

    /// Fixed words, for a system call or a conclusion from several readings.
    #[must_use]
    pub const fn words(words: &'static str) -> Self {
        Self(Cow::Borrowed(words))
    }

    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a reading is unknown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Why {
    /// The class of reason; open on the wire.
    pub kind: WhyKind,
    /// The same in words, at most [`MAX_TEXT`] bytes: what was tried, on what, what would help.
    pub detail: String,
}

impl Why {
    /// A reason of this kind in these words, bounded and made safe to show.
    #[must_use]
    pub fn new(kind: WhyKind, detail: impl AsRef<str>) -> Self {
        Self { kind, detail: clean(detail.as_ref().as_bytes(), MAX_TEXT) }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// The class of reason for which a reading is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyKind {
    /// The reader of this area panicked; the others went on.
    Crashed,
    /// The kernel reported an error that no other kind names.
    Io,
    /// More than 40 symbolic links, or a cycle of them.
    Loop,
    /// The bytes are not what their format allows.
    Malformed,
    /// The reading depends on another one that is missing.
    MissingSource,
    /// Not a regular file (or not a directory) where one was expected.
    NotRegular,
    /// The area used up its time.
    OutOfTime,
    /// A path that leads out of the inspected root, or to a magic link.
    OutsideRoot,
    /// The kernel said EACCES or EPERM.
    PermissionDenied,
    /// Larger than the bound for this input.
    TooLarge,
    /// Changed while it was being read, twice.
    Unstable,
    /// This kernel, distribution or format is not covered.
    Unsupported,
    /// Read in a namespace that is not the host's, or not proven to be.
    WrongNamespace,
    /// A kind that this version does not know, from a newer agent.
    #[serde(other)]
    Other,
}

impl fmt::Display for WhyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crashed => "crashed",
            Self::Io => "io",
            Self::Loop => "loop",
            Self::Malformed => "malformed",
            Self::MissingSource => "missing-source",
            Self::NotRegular => "not-regular",
            Self::OutOfTime => "out-of-time",
            Self::OutsideRoot => "outside-root",
            Self::Other => "other",
            Self::PermissionDenied => "permission-denied",
            Self::TooLarge => "too-large",
            Self::Unstable => "unstable",
            Self::Unsupported => "unsupported",
            Self::WrongNamespace => "wrong-namespace",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_shape_on_the_wire() {
        let origin = Origin::line("/etc/x", 3);
        let known = Reading::known(7, origin.clone());
        assert_eq!(
            serde_json::to_string(&known).unwrap(),
            r#"{"state":"known","value":7,"origin":"/etc/x:3"}"#
        );
        let absent = Reading::<u8>::absent(origin.clone());
        assert_eq!(
            serde_json::to_string(&absent).unwrap(),
            r#"{"state":"absent","origin":"/etc/x:3"}"#
        );
        let unknown = Reading::<u8>::unknown(Why::new(WhyKind::TooLarge, "2 GiB"), origin);
        let text = serde_json::to_string(&unknown).unwrap();
        assert_eq!(
            text,
            r#"{"state":"unknown","why":{"kind":"too-large","detail":"2 GiB"},"origin":"/etc/x:3"}"#
        );
        assert_eq!(serde_json::from_str::<Reading<u8>>(&text).unwrap(), unknown);
    }

    #[test]
    fn a_reason_from_a_newer_agent_is_still_a_reason() {
        let text =
            r#"{"state":"unknown","why":{"kind":"eaten-by-bear","detail":"?"},"origin":"/"}"#;
        let Reading::<u8>::Unknown { why, .. } = serde_json::from_str(text).unwrap() else {
            panic!("not unknown")
        };
        assert_eq!(why.kind, WhyKind::Other);
    }

    #[test]
    fn origins_are_bounded_and_clean() {
        let origin = Origin::line(&format!("/{}\n", "x".repeat(1000)), usize::MAX);
        assert!(origin.as_str().len() <= MAX_TEXT);
        assert!(!origin.as_str().contains('\n'));
    }
}
