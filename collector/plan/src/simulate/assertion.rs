//! What users assert of a run, for instance in their own CI.
//!
//! | assertion | holds if |
//! |---|---|
//! | `at-most N of KEY=VALUE[,KEY=VALUE...]` | never more than N nodes with these labels were cordoned or not ready at once |
//! | `finish-within DURATION` | every node that needed a reboot had it, that long after the start |
//!
//! A duration is a number with `s`, `m`, `h` or `d`.

#![expect(clippy::wildcard_enum_match_arm, reason = "assertions are about some records")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use palisade_report::Moment;
use palisade_report::NodeUid;

use crate::fleet::Cordon;
use crate::fleet::Ready;
use crate::law::Readiness;
use crate::law::Record;
use crate::law::What;
use crate::policy::Selector;

/// Something that must hold of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// Nodes that may be down at once.
    AtMost {
        /// How many.
        nodes: usize,
        /// Of which.
        of: Selector,
    },
    /// When everything must have been rebooted, in seconds after the start.
    FinishWithin(i64),
}

/// The text is no assertion. At fault: whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed assertion {0:?}: expected `at-most N of KEY=VALUE[,...]` or `finish-within 8h`")]
pub struct MalformedAssertion(String);

/// The text is no selector. At fault: whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed labels {0:?}: expected `KEY=VALUE[,KEY=VALUE...]`")]
pub struct MalformedLabels(String);

/// The text is no duration. At fault: whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed duration {0:?}: expected a number with s, m, h or d, such as 8h")]
pub struct MalformedDuration(String);

/// Characters of a malformed text that are repeated to its writer.
const MAX_SHOWN: usize = 80;

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// The selector of these labels. Shape: `KEY=VALUE`, several with commas between them.
///
/// # Errors
/// [`MalformedLabels`] if it is none.
pub fn labels(text: &str) -> Result<Selector, MalformedLabels> {
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
    });
    let match_labels: Option<BTreeMap<String, String>> = pairs.collect();
    match match_labels {
        Some(match_labels) => Ok(Selector { match_labels, match_expressions: Vec::new() }),
        None => Err(MalformedLabels(shown(text))),
    }
}

/// The seconds of a duration. Shape: a number with `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`MalformedDuration`] if it is none.
pub fn duration_secs(text: &str) -> Result<i64, MalformedDuration> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    units
        .into_iter()
        .find_map(|(unit, secs)| {
            let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
            i64::from(number).checked_mul(secs)
        })
        .ok_or_else(|| MalformedDuration(shown(text)))
}

impl FromStr for Assertion {
    type Err = MalformedAssertion;

    fn from_str(text: &str) -> Result<Self, MalformedAssertion> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let parsed = match words.as_slice() {
            ["at-most", nodes, "of", of] => nodes
                .parse()
                .ok()
                .zip(labels(of).ok())
                .map(|(nodes, of)| Self::AtMost { nodes, of }),
            ["finish-within", duration] => duration_secs(duration).ok().map(Self::FinishWithin),
            _ => None,
        };
        parsed.ok_or_else(|| MalformedAssertion(shown(text)))
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost { nodes, of } => {
                write!(f, "at-most {nodes} of ")?;
                for (number, (key, value)) in of.match_labels.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(f, "{comma}{key}={value}")?;
                }
                Ok(())
            }
            Self::FinishWithin(secs) => write!(f, "finish-within {secs}s"),
        }
    }
}

/// An assertion that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub assertion: Assertion,
    /// When.
    pub at: Moment,
    /// How.
    pub what: String,
}

/// Watches what happens for the assertions.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    caps: Vec<(usize, Selector, BTreeSet<NodeUid>)>,
    nodes: BTreeMap<NodeUid, Watched>,
    /// What did not hold; the first of each.
    pub(super) broken: Vec<Violation>,
}

#[derive(Clone, Debug)]
struct Watched {
    name: String,
    labels: std::sync::Arc<BTreeMap<String, String>>,
    ready: bool,
    schedulable: bool,
}

impl Watch {
    /// Watches for these.
    pub(super) fn new(assertions: &[Assertion]) -> Self {
        let caps = assertions.iter().filter_map(|assertion| match assertion {
            Assertion::AtMost { nodes, of } => Some((*nodes, of.clone(), BTreeSet::new())),
            Assertion::FinishWithin(_) => None,
        });
        Self { caps: caps.collect(), ..Self::default() }
    }

    /// Takes a record in.
    pub(super) fn note(&mut self, record: &Record) {
        if self.caps.is_empty() {
            return;
        }
        let uid = match &record.what {
            What::Joined { node, .. } => {
                let watched = Watched {
                    name: node.name.to_string(),
                    labels: std::sync::Arc::clone(&node.labels),
                    ready: matches!(node.ready, Ready::Since(_)),
                    schedulable: node.cordon == Cordon::Schedulable,
                };
                self.nodes.insert(node.uid.clone(), watched);
                &node.uid
            }
            What::Left(uid) => {
                self.nodes.remove(uid);
                uid
            }
            What::Readiness(uid, readiness) => {
                if let Some(node) = self.nodes.get_mut(uid) {
                    node.ready = *readiness == Readiness::Ready;
                }
                uid
            }
            What::Cordoned(uid, cordon) => {
                if let Some(node) = self.nodes.get_mut(uid) {
                    node.schedulable = *cordon == Cordon::Schedulable;
                }
                uid
            }
            _ => return,
        };
        for (nodes, of, down) in &mut self.caps {
            let is_down = self
                .nodes
                .get(uid)
                .is_some_and(|node| of.matches(&node.labels) && !(node.ready && node.schedulable));
            let grew = is_down && down.insert(uid.clone());
            if !is_down {
                down.remove(uid);
            }
            let assertion = Assertion::AtMost { nodes: *nodes, of: of.clone() };
            let known = self.broken.iter().any(|broken| broken.assertion == assertion);
            if grew && down.len() > *nodes && !known {
                let names: Vec<&str> = down
                    .iter()
                    .filter_map(|uid| self.nodes.get(uid).map(|node| node.name.as_str()))
                    .take(10)
                    .collect();
                let what = format!("{} were down at once", names.join(", "));
                self.broken.push(Violation { assertion, at: record.at, what });
            }
        }
    }
}
