//! Files: mode and owner of what rules name, and of every directory above it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::reading::Reading;

/// Mode and owner by path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Paths that rules name, patterns expanded. Absent: the directory was seen without it.
    pub paths: BTreeMap<String, Reading<File>>,
}

/// A file or directory, links followed inside the host's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// What it is.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits in octal, four digits: `0600`, `4755`.
    pub mode: Mode,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Where links lead; empty when the path is no link.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resolved: String,
    /// Directories above the resolved path in which somebody other than root and the file's owner
    /// could replace it, with their mode; empty is safe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsafe_ancestors: Vec<String>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A device, socket or FIFO.
    Special,
}

/// Permission bits. Shape on the wire: four octal digits, so that people and rules read the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mode(u16);

impl Mode {
    /// The lower twelve bits of `st_mode`.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        // Twelve bits always fit.
        Self((bits & 0o7777) as u16)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether every bit set here is also set in `bound`: at least as strict.
    #[must_use]
    pub const fn at_least_as_strict_as(self, bound: Self) -> bool {
        self.0 & !bound.0 == 0
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// The text is not four octal digits. At fault: the peer or the author of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed mode: expected three or four octal digits")]
pub struct MalformedMode;

impl std::str::FromStr for Mode {
    type Err = MalformedMode;

    fn from_str(text: &str) -> Result<Self, MalformedMode> {
        let fits = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        if !fits {
            return Err(MalformedMode);
        }
        u16::from_str_radix(text, 8).map(Self).map_err(|_| MalformedMode)
    }
}

impl Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::id::parse_text(deserializer, "three or four octal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictness_is_bit_by_bit_and_counts_set_id_bits() {
        let mode = |text: &str| text.parse::<Mode>().unwrap();
        for (have, bound, strict) in [
            ("0600", "0644", true),
            ("0000", "0600", true),
            ("0644", "0600", false),
            ("4600", "0600", false),
            ("0606", "0644", false),
        ] {
            assert_eq!(mode(have).at_least_as_strict_as(mode(bound)), strict, "{have} {bound}");
        }
        assert_eq!(Mode::from_bits(0o100_600).to_string(), "0600");
    }
}
