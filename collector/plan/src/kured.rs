//! From a kured DaemonSet to a policy, and what will be different.
//!
//! ```text
//! manifest ──> flags (arguments, then KURED_*) ──> policy text, which parses
//!                                            └───> notes: mapped, changed, dropped, unknown
//! ```
//!
//! Nothing is dropped in silence: every flag that is set is in a note, also one that nobody knows.
//! The policy is in mode plan, so palisade says what it would do beside kured until a person changes
//! that.
//!
//! Source: the flags of kured 1.23 and earlier, as its command declares them.

use std::fmt;

use serde::Serialize;

use crate::policy::Policy;
use crate::policy::PolicyError;

use self::flag::Value;
use self::manifest::Manifest;

mod flag;
mod manifest;
mod read;
mod write;

/// What came of a manifest.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The policy, as text with comments.
    pub policy: String,
    /// What became of each flag, in the order of their names, then what is different in any case.
    pub notes: Vec<Note>,
}

/// What became of one flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The flag without its dashes; empty for what holds in any case.
    pub flag: String,
    /// Whether it lives on.
    pub fate: Fate,
    /// What takes its place, what is different, or why there is none.
    pub text: String,
}

/// Whether a flag lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It does, with another meaning.
    Changed,
    /// It does not.
    Dropped,
    /// It does.
    Mapped,
    /// Nobody knows it, so nobody knows what is missing.
    Unknown,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flag, fate, text } = self;
        let fate = match fate {
            Fate::Changed => "changed",
            Fate::Dropped => "dropped",
            Fate::Mapped => "mapped",
            Fate::Unknown => "unknown",
        };
        if flag.is_empty() {
            write!(f, "{fate}: {text}")
        } else {
            write!(f, "{fate}: --{flag}: {text}")
        }
    }
}

/// The text is no manifest of kured. At fault: whoever gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No YAML.
    #[error("line {line}, column {column}: {message}")]
    Yaml {
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong there.
        message: String,
    },
    /// No DaemonSet with a container of kured.
    #[error("no DaemonSet with a container named or built as kured is in this text")]
    NoKured,
    /// What it says cannot be said here: a label that no object can have.
    #[error("failed to say it as a policy")]
    Policy(#[source] PolicyError),
    /// A value that kured itself would refuse.
    #[error("--{flag}: expected {expected}, not `{written}`")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What kured takes.
        expected: &'static str,
        /// What is written, made safe to show.
        written: String,
    },
}

/// The policy that comes nearest to this DaemonSet of kured, and what is different.
///
/// `text`: YAML of one or more objects, such as the manifest of a release or the output of
/// `kubectl get daemonset kured -o yaml`.
///
/// # Errors
/// [`ImportError`], naming what cannot be read.
pub fn import(text: &str) -> Result<Import, ImportError> {
    let manifest = Manifest::read(text)?;
    let mut notes = manifest.notes.clone();
    let policy = write::policy(&manifest, &mut notes)?;
    for value in &manifest.values {
        if let Value::Unknown { flag } = value {
            let text = "kured has no such flag that palisade knows: look up what it did";
            notes.push(Note { flag: flag.clone(), fate: Fate::Unknown, text: text.to_owned() });
        }
    }
    // What a label may be is stricter here than in kured, which asks the API server.
    Policy::parse(&policy).map_err(ImportError::Policy)?;
    notes.sort_by(|one, other| one.flag.cmp(&other.flag));
    // What holds in any case comes last.
    let always = notes.iter().take_while(|note| note.flag.is_empty()).count();
    notes.rotate_left(always);
    Ok(Import { policy, notes })
}

#[cfg(test)]
mod tests;
