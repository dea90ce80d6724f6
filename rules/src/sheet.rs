//! The sheet: one node on one page for a person. The machine in one line, three answers, then what
//! needs somebody, the observed fact first.
//!
//! ```text
//!   MED   sysctl.kptr-restrict
//!         kernel.kptr_restrict = 0, wanted at least 1 (/proc/sys/kernel/kptr_restrict)
//!         should hold: Kernel addresses are hidden from ordinary users
//!         fix: ...
//! ```
//!
//! The agent prints it after `scan`, the collector answers it for a node. Does not decide what is a
//! finding, nor which ones were asked for.

use std::cmp::Reverse;
use std::fmt;

use palisade_report::Moment;
use palisade_report::Reading;
use palisade_report::Report;
use palisade_report::Section;
use palisade_report::section::reboot::Need;
use serde::Serialize;

use crate::finding::AppliedWaiver;
use crate::finding::Evidence;
use crate::finding::Finding;
use crate::finding::RuleId;
use crate::finding::Verdict;
use crate::page::Colours;
use crate::page::Page;
use crate::page::Paint;
use crate::page::short;
use crate::profile::Profile;
use crate::rule::Rule;

/// Column at which words begin beside a severity.
const WORDS: usize = 8;

/// Column at which words begin beside an answer.
const ANSWERS: usize = 14;

/// Reboot reasons that the summary names; the others are counted.
const MAX_REASONS: usize = 3;

/// Subjects of one rule that are shown unless everything is; the others are counted.
const MAX_SUBJECTS: usize = 8;

/// Days before its end from which the summary counts a certificate.
const SOON_DAYS: i64 = 30;

const DAY: i64 = 24 * 60 * 60;

/// How many findings there are of each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Evidence does not hold.
    pub fail: usize,
    /// Could not be told.
    pub unknown: usize,
    /// Excused.
    pub waived: usize,
    /// Evidence holds.
    pub pass: usize,
    /// The rule does not apply.
    pub not_applicable: usize,
}

impl Summary {
    /// Counts `findings`.
    #[must_use]
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut summary = Self::default();
        for finding in findings {
            let count = match finding.verdict {
                Verdict::Fail => &mut summary.fail,
                Verdict::NotApplicable => &mut summary.not_applicable,
                Verdict::Pass => &mut summary.pass,
                Verdict::Unknown => &mut summary.unknown,
                Verdict::Waived => &mut summary.waived,
            };
            *count = count.saturating_add(1);
        }
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fail, unknown, waived, pass, not_applicable } = self;
        write!(
            f,
            "{fail} fail, {unknown} cannot tell, {pass} pass, {not_applicable} not applicable"
        )?;
        if *waived > 0 { write!(f, ", {waived} waived") } else { Ok(()) }
    }
}

/// Which findings a sheet shows; it counts all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// What passes, is waived or does not apply, too.
    Everything,
    /// What fails or cannot be told.
    NeedsPerson,
}

/// What a sheet is made of.
#[derive(Clone, Copy, Debug)]
pub struct Sheet<'a> {
    /// The node, made safe to show; empty: the name in the report.
    pub name: &'a str,
    /// What else is known of it, in words; may be empty.
    pub about: &'a str,
    /// Its facts; sections that are not there are said to be missing.
    pub report: &'a Report,
    /// The rules, for their documentation.
    pub profile: &'a Profile,
    /// What the judge said, in any order.
    pub findings: &'a [&'a Finding],
    /// Which findings are shown.
    pub shown: Shown,
}

impl Sheet<'_> {
    /// The sheet as text of at most 80 columns; paths are never broken.
    #[must_use]
    pub fn text(&self, colours: Colours, now: Moment) -> String {
        let Self { name, about, report, profile, findings, shown } = *self;
        let mut page = Page::new(colours);
        let name = if name.is_empty() { hostname(report) } else { name.to_owned() };
        let machine = machine(report);
        let about = if about.is_empty() { machine } else { format!("{about}; {machine}") };
        let words = format!("{about}; profile {}", profile.name());
        page.line(0, &name, Paint::Strong, 0, &words);
        page.gap();
        let summary = Summary::of(findings.iter().copied());
        page.line(2, "REBOOT", Paint::Strong, ANSWERS, &reboot(report));
        page.line(2, "CERTS", Paint::Strong, ANSWERS, &certificates(report, now));
        page.line(2, "HARDENING", Paint::Strong, ANSWERS, &summary.to_string());
        page.gap();
        let mut listed: Vec<&Finding> =
            findings.iter().copied().filter(|it| shown.includes(it.verdict)).collect();
        listed.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.subject.cmp(&b.subject)));
        for group in listed.chunk_by(|a, b| place(a) == place(b)) {
            show(&mut page, profile, group, shown);
        }
        match listed.iter().find(|it| it.verdict == Verdict::Fail).or_else(|| listed.first()) {
            Some(example) => {
                let count = summary.fail.saturating_add(summary.unknown);
                let words = format!(
                    "{count} findings. Why one matters: palisade-agent explain {}",
                    example.rule
                );
                page.gap();
                page.line(2, "", Paint::Plain, 2, &words);
            }
            None => {
                page.line(2, "", Paint::Plain, 2, "Nothing fails and nothing is left in doubt.");
            }
        }
        page.into_text()
    }
}

impl Shown {
    const fn includes(self, verdict: Verdict) -> bool {
        match (self, verdict) {
            (Self::Everything, _) | (Self::NeedsPerson, Verdict::Fail | Verdict::Unknown) => true,
            (Self::NeedsPerson, Verdict::NotApplicable | Verdict::Pass | Verdict::Waived) => false,
        }
    }
}

/// What needs a person first, then the most severe, then by rule.
fn place(finding: &Finding) -> (Verdict, Reverse<crate::Severity>, &RuleId) {
    (finding.verdict, Reverse(finding.severity), &finding.rule)
}

/// One rule with everything that it says of this node by one verdict.
fn show(page: &mut Page, profile: &Profile, group: &[&Finding], shown: Shown) {
    let Some(Finding { rule, verdict, severity, .. }) = group.first() else { return };
    let (label, paint) = match verdict {
        Verdict::Fail => short(*severity),
        Verdict::Unknown => ("?", Paint::Warning),
        Verdict::Pass => ("ok", Paint::Good),
        Verdict::Waived => ("wvd", Paint::Quiet),
        Verdict::NotApplicable => ("n/a", Paint::Quiet),
    };
    page.line(2, label, paint, WORDS, rule.as_str());
    let most = match shown {
        Shown::Everything => group.len(),
        Shown::NeedsPerson => MAX_SUBJECTS,
    };
    // One mark for each subject, where there are several.
    let (mark, column) = if group.len() > 1 { ("-", WORDS + 2) } else { ("", WORDS) };
    for Finding { subject, evidence, waiver, .. } in group.iter().take(most) {
        page.line(WORDS, mark, Paint::Quiet, column, &seen(subject, evidence));
        if let Some(AppliedWaiver { instead_of, by, reason, until }) = waiver {
            let words = format!("waived by {by} until {until}: {reason} (else {instead_of})");
            page.line(column, "", Paint::Plain, column, &words);
        }
    }
    let more = group.len().saturating_sub(most);
    if more > 0 {
        page.line(WORDS, "", Paint::Plain, WORDS, &format!("and {more} more"));
    }
    let Some(documented) = documentation(profile, rule) else { return };
    let should = match verdict {
        Verdict::Fail | Verdict::Unknown | Verdict::Waived => "should hold:",
        Verdict::Pass => "holds:",
        Verdict::NotApplicable => "elsewhere:",
    };
    page.line(WORDS, should, Paint::Quiet, WORDS, documented.title());
    if *verdict == Verdict::Fail {
        page.line(WORDS, "fix:", Paint::Strong, WORDS + 5, documented.fix());
    }
}

fn documentation<'a>(profile: &'a Profile, id: &RuleId) -> Option<&'a Rule> {
    let rules = profile.rules();
    let at = rules.binary_search_by(|rule| rule.id().cmp(id)).ok()?;
    rules.get(at).map(AsRef::as_ref)
}

/// What was seen, wanted and where, in one line.
#[must_use]
pub fn seen(subject: &str, evidence: &Evidence) -> String {
    let Evidence { fact, observed, origin, expected, reason } = evidence;
    let what = if subject.is_empty() { fact.as_str() } else { subject };
    let mut words = what.to_owned();
    if !observed.is_empty() {
        words.push_str(&format!(" = {observed}"));
    }
    if !expected.is_empty() {
        words.push_str(&format!(", wanted {expected}"));
    }
    if !reason.is_empty() {
        words.push_str(&format!(": {reason}"));
    }
    if !origin.is_empty() && origin != what {
        words.push_str(&format!("  ({origin})"));
    }
    words
}

fn known<T>(section: Option<&Section<T>>) -> Option<&T> {
    section.and_then(Section::known)
}

fn text<T: ToString>(reading: Option<&Reading<T>>, missing: &str) -> String {
    reading.and_then(Reading::value).map_or_else(|| missing.to_owned(), ToString::to_string)
}

fn hostname(report: &Report) -> String {
    text(known(report.boot.as_ref()).map(|boot| &boot.hostname), "(no name)")
}

fn machine(report: &Report) -> String {
    let os = known(report.host.as_ref()).and_then(|host| host.os.value());
    let os = os.map_or("unknown system", |os| os.name.as_str());
    let kernel = text(known(report.kernel.as_ref()).map(|kernel| &kernel.release), "unknown");
    format!("{os}, kernel {kernel}")
}

fn reboot(report: &Report) -> String {
    let facts = match &report.reboot {
        Some(Section::Known(facts)) => facts,
        Some(Section::Unknown { why }) => return format!("cannot tell: {why}"),
        None => return "cannot tell: not inspected".to_owned(),
    };
    match &facts.need {
        Need::NotNeeded => "not needed".to_owned(),
        Need::Unknown { why } => format!("cannot tell: {why}"),
        Need::Needed => {
            let mut words: Vec<_> = facts
                .reasons
                .iter()
                .take(MAX_REASONS)
                .map(|reason| match reason.target.as_str() {
                    "" => reason.subject.clone(),
                    target => format!("{} -> {target}", reason.subject),
                })
                .collect();
            let more = facts.reasons.len().saturating_sub(MAX_REASONS);
            if more > 0 {
                words.push(format!("{more} more"));
            }
            format!("needed: {}", words.join(", "))
        }
    }
}

fn certificates(report: &Report, now: Moment) -> String {
    let facts = match &report.certificates {
        Some(Section::Known(facts)) => facts,
        Some(Section::Unknown { why }) => return format!("cannot tell: {why}"),
        None => return "cannot tell: not inspected".to_owned(),
    };
    let mut ends: Vec<(i64, &str)> = Vec::new();
    for (path, file) in &facts.files {
        for certificate in file.certificates.value().into_iter().flatten() {
            if let Some(end) = certificate.not_after.value() {
                ends.push((end.since(now), path));
            }
        }
    }
    ends.sort_unstable();
    let soon = ends.iter().filter(|(left, _)| *left < SOON_DAYS * DAY).count();
    let watched = facts.files.len();
    match ends.first() {
        None => format!("none found in {watched} watched files"),
        Some((left, path)) => {
            let when = match *left {
                left if left < 0 => format!("ended {} d ago", -left / DAY),
                left => format!("ends in {} d", left / DAY),
            };
            let total = ends.len();
            format!("{soon} of {total} within {SOON_DAYS} d; the first {when}: {path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &str, verdict: Verdict, subject: &str) -> Finding {
        Finding {
            rule: rule.parse().unwrap(),
            verdict,
            severity: crate::Severity::Medium,
            subject: subject.to_owned(),
            evidence: Evidence {
                fact: "sysctls.keys.kernel.kptr_restrict.running".to_owned(),
                observed: "0".to_owned(),
                origin: "/proc/sys/kernel/kptr_restrict".to_owned(),
                expected: "at least 1".to_owned(),
                reason: String::new(),
            },
            waiver: None,
        }
    }

    fn text(findings: &[Finding], shown: Shown) -> String {
        let (report, profile) = (Report::default(), Profile::built_in());
        let findings: Vec<_> = findings.iter().collect();
        let sheet = Sheet {
            name: "worker-7",
            about: "fresh",
            report: &report,
            profile: &profile,
            findings: &findings,
            shown,
        };
        sheet.text(Colours::None, Moment::from_unix(0))
    }

    #[test]
    fn the_observed_fact_comes_before_what_should_hold_and_the_fix() {
        let text = text(
            &[finding("sysctl.kptr-restrict", Verdict::Fail, "kernel.kptr_restrict")],
            Shown::NeedsPerson,
        );
        let lines: Vec<_> = text.lines().skip_while(|line| !line.contains("MED")).collect();
        assert_eq!(
            lines.get(..5).unwrap(),
            [
                "  MED   sysctl.kptr-restrict",
                "        kernel.kptr_restrict = 0, wanted at least 1",
                "        (/proc/sys/kernel/kptr_restrict)",
                "        should hold: Kernel addresses are hidden from ordinary users",
                "        fix: Put `kernel.kptr_restrict = 1` (or 2) into a file below",
            ],
            "{text}"
        );
        assert!(text.starts_with("worker-7 fresh; unknown system, kernel unknown; profile node\n"));
    }

    #[test]
    fn subjects_of_one_rule_stand_together_and_are_counted_when_they_are_many() {
        let many: Vec<_> = (10..30)
            .map(|at| finding("sysctl.kptr-restrict", Verdict::Fail, &format!("key.{at}")))
            .collect();
        let short = text(&many, Shown::NeedsPerson);
        assert_eq!(short.matches("MED").count(), 1, "{short}");
        assert_eq!(short.matches("fix:").count(), 1, "{short}");
        assert_eq!(short.matches("- key.").count(), MAX_SUBJECTS, "{short}");
        assert!(short.contains("and 12 more"), "{short}");
        assert_eq!(text(&many, Shown::Everything).matches("- key.").count(), 20);
    }

    #[test]
    fn what_passes_is_counted_and_shown_only_when_everything_is() {
        let all = [
            finding("sysctl.kptr-restrict", Verdict::Pass, "kernel.kptr_restrict"),
            finding("sysctl.sysrq", Verdict::NotApplicable, "kernel.sysrq"),
        ];
        let short = text(&all, Shown::NeedsPerson);
        assert!(short.contains("0 fail, 0 cannot tell, 1 pass, 1 not applicable"), "{short}");
        assert!(!short.contains("kptr"), "{short}");
        assert!(text(&all, Shown::Everything).contains("  ok    sysctl.kptr-restrict"));
    }

    #[test]
    fn a_report_without_sections_says_that_it_cannot_tell() {
        let text = text(&[], Shown::NeedsPerson);
        assert_eq!(text.matches("cannot tell: not inspected").count(), 2, "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_reason_is_shown_where_nothing_was_observed() {
        let evidence = Evidence {
            fact: "kernel.release".to_owned(),
            reason: "permission denied".to_owned(),
            ..Evidence::default()
        };
        assert_eq!(seen("", &evidence), "kernel.release: permission denied");
    }
}
