//! The table of `scan`: the machine in one line, three answers, then what needs a person.

use palisade_report::Moment;
use palisade_report::Reading;
use palisade_report::Report;
use palisade_report::Section;
use palisade_report::section::reboot::Need;
use palisade_rules::Evidence;
use palisade_rules::Finding;
use palisade_rules::Profile;
use palisade_rules::Verdict;

use super::Summary;
use crate::verb::page::Page;
use crate::verb::page::Paint;
use crate::verb::page::short;

/// Column at which words begin beside a severity.
const WORDS: usize = 8;

/// Column at which words begin beside an answer.
const ANSWERS: usize = 14;

/// Reboot reasons that the summary names; the others are counted.
const MAX_REASONS: usize = 3;

/// Days before its end from which the summary counts a certificate.
const SOON_DAYS: i64 = 30;

const DAY: i64 = 24 * 60 * 60;

pub(super) fn render(
    report: &Report,
    profile: &Profile,
    summary: Summary,
    findings: &[Finding],
    all: bool,
    colour: bool,
    now: Moment,
) -> String {
    let mut page = Page::new(colour);
    page.line(
        0,
        &hostname(report),
        Paint::Strong,
        0,
        &format!("{}; profile {}", machine(report), profile.name()),
    );
    page.gap();
    page.line(2, "REBOOT", Paint::Strong, ANSWERS, &reboot(report));
    page.line(2, "CERTS", Paint::Strong, ANSWERS, &certificates(report, now));
    page.line(2, "HARDENING", Paint::Strong, ANSWERS, &summary.to_string());
    page.gap();
    let mut shown: Vec<&Finding> = findings.iter().filter(|it| all || needs_person(it)).collect();
    shown.sort_by_key(|it| (it.verdict, std::cmp::Reverse(it.severity)));
    let mut last = None;
    for finding in &shown {
        let heading = (&finding.rule, finding.verdict, finding.severity);
        let is_first = last != Some(heading);
        last = Some(heading);
        show(&mut page, profile, finding, is_first);
    }
    match shown.iter().find(|it| it.verdict == Verdict::Fail).or_else(|| shown.first()) {
        Some(example) => {
            let count = summary.fail + summary.unknown;
            let words = format!(
                "{count} findings. Why one matters: palisade-agent explain {}",
                example.rule
            );
            page.gap();
            page.line(2, "", Paint::Plain, 2, &words);
        }
        None => {
            page.line(2, "", Paint::Plain, 2, "Nothing to do. All rules and reasons: scan --all")
        }
    }
    page.into_text()
}

/// Whether a finding is shown without `--all`.
const fn needs_person(finding: &Finding) -> bool {
    match finding.verdict {
        Verdict::Fail | Verdict::Unknown => true,
        Verdict::NotApplicable | Verdict::Pass | Verdict::Waived => false,
    }
}

fn show(page: &mut Page, profile: &Profile, finding: &Finding, is_first: bool) {
    let Finding { rule, verdict, severity, subject, evidence, waiver } = finding;
    let documented = profile.rules().iter().find(|it| it.id() == rule);
    if is_first {
        let (label, paint) = match verdict {
            Verdict::Fail => short(*severity),
            Verdict::Unknown => ("?", Paint::Warning),
            Verdict::Pass => ("ok", Paint::Good),
            Verdict::Waived => ("wvd", Paint::Quiet),
            Verdict::NotApplicable => ("n/a", Paint::Quiet),
        };
        page.line(2, label, paint, WORDS, rule.as_str());
        let title = documented.map_or("", |it| it.title());
        let says = match verdict {
            Verdict::Fail => format!("does not hold: {title}"),
            Verdict::Unknown => format!("cannot tell whether: {title}"),
            Verdict::Pass | Verdict::Waived | Verdict::NotApplicable => title.to_owned(),
        };
        page.line(WORDS, "", Paint::Plain, WORDS, &says);
    }
    page.line(WORDS, "", Paint::Plain, WORDS, &seen(subject, evidence));
    if let Some(waiver) = waiver {
        let words = format!(
            "waived by {} until {}: {} (else {})",
            waiver.by, waiver.until, waiver.reason, waiver.instead_of
        );
        page.line(WORDS, "", Paint::Plain, WORDS, &words);
    }
    if is_first
        && *verdict == Verdict::Fail
        && let Some(rule) = documented
    {
        page.line(WORDS, "fix:", Paint::Strong, WORDS + 5, rule.fix());
    }
}

/// What was seen, wanted and where, in one line.
pub(in crate::verb) fn seen(subject: &str, evidence: &Evidence) -> String {
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

    #[test]
    fn evidence_reads_as_seen_wanted_and_where() {
        let evidence = Evidence {
            fact: "sysctls.keys.kernel.kptr_restrict.running".to_owned(),
            observed: "0".to_owned(),
            origin: "/proc/sys/kernel/kptr_restrict".to_owned(),
            expected: "at least 1".to_owned(),
            reason: String::new(),
        };
        assert_eq!(
            seen("kernel.kptr_restrict", &evidence),
            "kernel.kptr_restrict = 0, wanted at least 1  (/proc/sys/kernel/kptr_restrict)"
        );
    }

    #[test]
    fn a_report_without_sections_says_that_it_cannot_tell() {
        let profile = Profile::built_in();
        let now = Moment::from_unix(0);
        let text = render(&Report::default(), &profile, Summary::default(), &[], false, false, now);
        assert_eq!(text.matches("cannot tell: not inspected").count(), 2, "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
