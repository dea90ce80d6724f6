//! What a rule expects, one file for each kind: a small typed vocabulary over facts.
//!
//! ```text
//! expect: {kind: {words}} ──parse──> Expect ──judge(scene)──> Outcomes (one for each subject)
//! ```
//!
//! A kind names its facts when it is parsed, so the sections that a rule reads are known before
//! any fact is there. A kind never asks the clock: `now` is in the [`Scene`].

use std::collections::BTreeSet;

use palisade_report::Moment;
use palisade_report::SectionName;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use serde_json::Map;
use serde_json::Value;

use crate::body::Body;
use crate::body::MalformedBody;
use crate::facts::FactPath;
use crate::facts::Facts;
use crate::facts::FoundWhy;
use crate::finding::Evidence;
use crate::finding::Severity;
use crate::finding::Verdict;
use crate::interest::Interest;

mod because;
mod cel;
mod certificate;
mod fact;
mod file;
mod kubelet;
mod look;
mod module;
mod mount;
mod parameter;
mod socket;
mod sysctl;
mod vulnerability;

pub(crate) use look::Looked;
pub(crate) use look::Source;

/// Subjects that one rule may speak of on one node. A host with more listeners or files than this
/// has another problem, and a report of them must stay readable.
pub(crate) const MAX_SUBJECTS: usize = 256;

/// What a kind may look at while it judges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) now: Moment,
}

/// What came of one subject of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    /// Instead of the rule's own.
    pub(crate) severity: Option<Severity>,
    pub(crate) evidence: Evidence,
    /// When the same facts would be judged differently.
    pub(crate) changes_at: Option<Moment>,
}

impl Outcome {
    pub(crate) const fn new(verdict: Verdict, evidence: Evidence) -> Self {
        Self { subject: String::new(), verdict, severity: None, evidence, changes_at: None }
    }

    /// Evidence was read; it holds or it does not.
    pub(crate) fn seen(
        holds: bool,
        fact: &str,
        observed: String,
        origin: &str,
        expected: &str,
    ) -> Self {
        let verdict = if holds { Verdict::Pass } else { Verdict::Fail };
        let evidence = Evidence {
            fact: fact.to_owned(),
            observed,
            origin: origin.to_owned(),
            expected: expected.to_owned(),
            reason: String::new(),
        };
        Self::new(verdict, evidence)
    }

    pub(crate) fn unknown(fact: &str, reason: impl AsRef<str>, expected: &str) -> Self {
        let evidence = Evidence {
            fact: fact.to_owned(),
            observed: String::new(),
            origin: String::new(),
            expected: expected.to_owned(),
            reason: clean(reason.as_ref().as_bytes(), MAX_TEXT),
        };
        Self::new(Verdict::Unknown, evidence)
    }

    pub(crate) fn unknown_because(fact: &str, why: FoundWhy<'_>, expected: &str) -> Self {
        Self::unknown(fact, why.why().detail, expected)
    }

    pub(crate) fn not_applicable(fact: &str, reason: impl AsRef<str>, origin: &str) -> Self {
        let evidence = Evidence {
            fact: fact.to_owned(),
            observed: "absent".to_owned(),
            origin: origin.to_owned(),
            expected: String::new(),
            reason: clean(reason.as_ref().as_bytes(), MAX_TEXT),
        };
        Self::new(Verdict::NotApplicable, evidence)
    }

    #[must_use]
    pub(crate) fn about(mut self, subject: &str) -> Self {
        self.subject = clean(subject.as_bytes(), MAX_TEXT);
        self
    }
}

/// What a rule expects.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    Cel(cel::Cel),
    Certificate(certificate::Certificate),
    Fact(fact::Fact),
    File(file::File),
    Kubelet(kubelet::Kubelet),
    Module(module::Module),
    Mount(mount::Mount),
    Parameter(parameter::Parameter),
    Socket(socket::Socket),
    Sysctl(sysctl::Sysctl),
    Vulnerability(vulnerability::Vulnerability),
}

/// The kinds by the word that names them, in the order in which they are documented.
pub const KINDS: [&str; 12] = [
    "fact",
    "sysctl",
    "kubelet",
    "kubelet_flag",
    "file",
    "socket",
    "module",
    "parameter",
    "vulnerability",
    "mount",
    "certificate",
    "cel",
];

/// `expect` is not one kind with its words. At fault: the author of the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedExpect {
    /// The words of the kind.
    #[error("malformed `{kind}`")]
    Body {
        /// The kind.
        kind: &'static str,
        /// What is wrong with its words.
        source: MalformedBody,
    },
    /// No kind, several, or one that does not exist.
    #[error("expected exactly one of {}", KINDS.join(", "))]
    Kind,
}

impl Expect {
    /// Parses `{kind: {words}}`.
    ///
    /// # Errors
    /// [`MalformedExpect`], naming the word.
    pub(crate) fn parse(map: &Map<String, Value>) -> Result<Self, MalformedExpect> {
        let mut entries = map.iter();
        let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
            return Err(MalformedExpect::Kind);
        };
        let kind = *KINDS.iter().find(|it| *it == kind).ok_or(MalformedExpect::Kind)?;
        if kind == "cel" {
            return cel::Cel::parse(value)
                .map(Self::Cel)
                .map_err(|source| MalformedExpect::Body { kind, source });
        }
        let words = value.as_object().ok_or(MalformedExpect::Body {
            kind,
            source: MalformedBody::Value { word: kind, expected: "a map" },
        })?;
        let body = Body::new(words);
        let parsed = match kind {
            "certificate" => certificate::Certificate::parse(&body).map(Self::Certificate),
            "fact" => fact::Fact::parse(&body).map(Self::Fact),
            "file" => file::File::parse(&body).map(Self::File),
            "kubelet" => kubelet::Kubelet::parse_field(&body).map(Self::Kubelet),
            "kubelet_flag" => kubelet::Kubelet::parse_flag(&body).map(Self::Kubelet),
            "module" => module::Module::parse(&body).map(Self::Module),
            "mount" => mount::Mount::parse(&body).map(Self::Mount),
            "parameter" => parameter::Parameter::parse(&body).map(Self::Parameter),
            "socket" => socket::Socket::parse(&body).map(Self::Socket),
            "sysctl" => sysctl::Sysctl::parse(&body).map(Self::Sysctl),
            "vulnerability" => vulnerability::Vulnerability::parse(&body).map(Self::Vulnerability),
            _ => return Err(MalformedExpect::Kind),
        };
        parsed
            .and_then(|expect| body.finish().map(|()| expect))
            .map_err(|source| MalformedExpect::Body { kind, source })
    }

    /// The one subject that every finding of it has, whatever its verdict; empty when there may be
    /// several or none.
    pub(crate) fn subject(&self) -> &str {
        match self {
            Self::Module(it) => it.subject(),
            Self::Mount(it) => it.subject(),
            Self::Sysctl(it) => it.subject(),
            Self::Cel(_)
            | Self::Certificate(_)
            | Self::Fact(_)
            | Self::File(_)
            | Self::Kubelet(_)
            | Self::Parameter(_)
            | Self::Socket(_)
            | Self::Vulnerability(_) => "",
        }
    }

    /// The facts that it cannot do without: with one of them unknown, the verdict is unknown.
    pub(crate) fn reads(&self) -> Vec<FactPath> {
        match self {
            Self::Cel(_) => Vec::new(),
            Self::Certificate(it) => it.reads(),
            Self::Fact(it) => it.reads(),
            Self::File(it) => it.reads(),
            Self::Kubelet(it) => it.reads(),
            Self::Module(it) => it.reads(),
            Self::Mount(it) => it.reads(),
            Self::Parameter(it) => it.reads(),
            Self::Socket(it) => it.reads(),
            Self::Sysctl(it) => it.reads(),
            Self::Vulnerability(it) => it.reads(),
        }
    }

    /// The sections that it reads.
    pub(crate) fn sections(&self) -> BTreeSet<SectionName> {
        self.reads().iter().map(FactPath::section).collect()
    }

    /// What inspections must look at for it.
    pub(crate) fn interest(&self, interest: &mut Interest) {
        match self {
            Self::Fact(it) => it.interest(interest),
            Self::File(it) => it.interest(interest),
            Self::Module(it) => it.interest(interest),
            Self::Mount(it) => it.interest(interest),
            Self::Sysctl(it) => it.interest(interest),
            Self::Cel(_)
            | Self::Certificate(_)
            | Self::Kubelet(_)
            | Self::Parameter(_)
            | Self::Socket(_)
            | Self::Vulnerability(_) => {}
        }
    }

    /// Holds the facts against it.
    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        match self {
            Self::Cel(_) => cel::Cel::judge(out),
            Self::Certificate(it) => it.judge(scene, out),
            Self::Fact(it) => it.judge(scene, out),
            Self::File(it) => it.judge(scene, out),
            Self::Kubelet(it) => it.judge(scene, out),
            Self::Module(it) => it.judge(scene, out),
            Self::Mount(it) => it.judge(scene, out),
            Self::Parameter(it) => it.judge(scene, out),
            Self::Socket(it) => it.judge(scene, out),
            Self::Sysctl(it) => it.judge(scene, out),
            Self::Vulnerability(it) => it.judge(scene, out),
        }
    }
}

#[cfg(test)]
mod tests;
