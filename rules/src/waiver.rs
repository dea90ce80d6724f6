//! Waivers: exceptions that a person answers for, for a time.
//!
//! A waiver excuses what fails or could not be told; the verdict without it stays visible. When it
//! ends, the finding is what it was.

use palisade_report::Moment;
use palisade_report::NodeName;
use serde::Deserialize;
use serde::Serialize;

use crate::finding::AppliedWaiver;
use crate::finding::Finding;
use crate::finding::Judgement;
use crate::finding::Verdict;
use crate::judge::earlier;
use crate::pattern::Pattern;
use crate::yaml;
use crate::yaml::ParseYamlError;

/// Waivers that may be in force together.
pub const MAX_WAIVERS: usize = 1024;
/// Bytes that the reason of a waiver may have.
pub const MAX_REASON: usize = 512;

/// A waiver as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WaiverEntry {
    /// The id of a rule, or a pattern of ids.
    pub rule: String,
    /// Node names, as a pattern; every node if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Subjects, as a pattern; every subject if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who answers for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it ends: an RFC 3339 moment in UTC, or a day, which is the last one.
    pub until: String,
}

/// An exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    rule: Pattern,
    nodes: Pattern,
    subject: Pattern,
    by: String,
    reason: String,
    until: Moment,
}

/// What is wrong with a waiver. At fault: its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedWaiver {
    /// A pattern that is empty or too long.
    #[error("`{field}`: expected 1 to 256 bytes of text")]
    Pattern {
        /// The field.
        field: &'static str,
    },
    /// Nobody answers for it, or nobody says why.
    #[error("`{field}`: expected 1 to {MAX_REASON} bytes of text")]
    Text {
        /// The field.
        field: &'static str,
    },
    /// No end, or one that is no moment.
    #[error("`until`: expected a day (2027-01-31) or a moment in UTC (2027-01-31T12:00:00Z)")]
    Until,
}

impl Waiver {
    /// The waiver of an entry.
    ///
    /// # Errors
    /// [`MalformedWaiver`], naming the field.
    pub fn new(entry: &WaiverEntry) -> Result<Self, MalformedWaiver> {
        let WaiverEntry { rule, nodes, subject, by, reason, until } = entry;
        let pattern =
            |field, text: &str| Pattern::new(text).ok_or(MalformedWaiver::Pattern { field });
        let text = |field, text: &str| {
            let fits = !text.trim().is_empty()
                && text.len() <= MAX_REASON
                && !text.chars().any(char::is_control);
            if fits { Ok(text.to_owned()) } else { Err(MalformedWaiver::Text { field }) }
        };
        Ok(Self {
            rule: pattern("rule", rule)?,
            nodes: pattern("nodes", nodes.as_deref().unwrap_or("*"))?,
            subject: pattern("subject", subject.as_deref().unwrap_or("*"))?,
            by: text("by", by)?,
            reason: text("reason", reason)?,
            until: end(until).ok_or(MalformedWaiver::Until)?,
        })
    }

    /// When it ends.
    #[must_use]
    pub const fn until(&self) -> Moment {
        self.until
    }

    fn covers(&self, finding: &Finding, node: Option<&NodeName>) -> bool {
        let node_fits = self.nodes.is_everything()
            || node.is_some_and(|node| self.nodes.matches(node.as_str()));
        node_fits
            && self.rule.matches(finding.rule.as_str())
            && self.subject.matches(&finding.subject)
    }
}

/// The waivers in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waivers(Vec<Waiver>);

/// Waivers could not be loaded. At fault: their author.
#[derive(Debug, thiserror::Error)]
pub enum LoadWaiversError {
    /// More than [`MAX_WAIVERS`].
    #[error("more than {MAX_WAIVERS} waivers")]
    TooMany,
    /// One of them.
    #[error("malformed waiver {number}")]
    Waiver {
        /// Its place, from 1.
        number: usize,
        /// What is wrong.
        source: MalformedWaiver,
    },
    /// The file is not a list of waivers.
    #[error("failed to read the waivers")]
    Yaml(#[source] ParseYamlError),
}

impl Waivers {
    /// Parses a YAML list of waivers.
    ///
    /// # Errors
    /// [`LoadWaiversError`], naming the waiver by its place.
    pub fn parse(text: &str) -> Result<Self, LoadWaiversError> {
        let entries: Vec<WaiverEntry> = yaml::parse(text).map_err(LoadWaiversError::Yaml)?;
        Self::new(&entries)
    }

    /// The waivers of these entries.
    ///
    /// # Errors
    /// [`LoadWaiversError`], naming the waiver by its place.
    pub fn new(entries: &[WaiverEntry]) -> Result<Self, LoadWaiversError> {
        if entries.len() > MAX_WAIVERS {
            return Err(LoadWaiversError::TooMany);
        }
        let mut all = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let number = at.saturating_add(1);
            let waiver =
                Waiver::new(entry).map_err(|source| LoadWaiversError::Waiver { number, source })?;
            all.push(waiver);
        }
        // Longest first: the first that covers a finding is the one to show.
        all.sort_by_key(|waiver| std::cmp::Reverse(waiver.until));
        Ok(Self(all))
    }

    /// Whether a waiver singles this node out, so that it cannot share its judgements with others.
    #[must_use]
    pub fn name_node(&self, node: &NodeName) -> bool {
        let singles_out =
            |waiver: &Waiver| !waiver.nodes.is_everything() && waiver.nodes.matches(node.as_str());
        self.0.iter().any(singles_out)
    }

    /// Excuses the findings of a judgement that a live waiver covers. Findings that are waived
    /// already stay as they are.
    pub fn apply(&self, judgement: &mut Judgement, node: Option<&NodeName>, now: Moment) {
        if self.0.is_empty() {
            return;
        }
        for finding in &mut judgement.findings {
            match finding.verdict {
                Verdict::Fail | Verdict::Unknown => {}
                Verdict::NotApplicable | Verdict::Pass | Verdict::Waived => continue,
            }
            let covering =
                self.0.iter().find(|waiver| waiver.until > now && waiver.covers(finding, node));
            let Some(waiver) = covering else { continue };
            let Waiver { rule: _, nodes: _, subject: _, by, reason, until } = waiver;
            finding.waiver = Some(AppliedWaiver {
                instead_of: finding.verdict,
                by: by.clone(),
                reason: reason.clone(),
                until: *until,
            });
            finding.verdict = Verdict::Waived;
            judgement.next_change_at = earlier(judgement.next_change_at, Some(*until));
        }
    }
}

/// The moment of `2027-01-31T12:00:00Z`, or the end of the day `2027-01-31`.
fn end(text: &str) -> Option<Moment> {
    let (day, time) = match text.split_once(['T', 't', ' ']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let [year, month, date] = numbers(day, '-', [4, 2, 2])?;
    let days = days_since_epoch(year, month, date)?;
    let midnight = days.checked_mul(86_400)?;
    let Some(time) = time else { return Some(Moment::from_unix(midnight.checked_add(86_400)?)) };
    let time = time.strip_suffix(['Z', 'z'])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(Moment::from_unix(midnight.checked_add(hour * 3600 + minute * 60 + second)?))
}

/// Three numbers of so many digits.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut out = [0; 3];
    for (number, digits) in out.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, from 1970 on.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = |year: i64| year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    let length = |month: i64| match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=12).contains(&month) || day < 1 || day > length(month) {
        return None;
    }
    let before =
        |year: i64| (year - 1) * 365 + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let months: i64 = (1..month).map(length).sum();
    Some(before(year) - before(1970) + months + day - 1)
}

#[cfg(test)]
mod tests;
