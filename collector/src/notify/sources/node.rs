//! What a node's report says: reboots, certificates, hardening.
//!
//! A rule that cannot be told any more does not end what it told before. What fails since a first
//! report, or since rules changed, is no regression. What rules made of a finding, its node not having
//! changed, is marked: see [`edits`].

use std::sync::Arc;

use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Sighting;
use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::bound::clean_text;
use palisade_rules::Finding;
use palisade_rules::Profile;
use palisade_rules::Rule;
use palisade_rules::RuleId;
use palisade_rules::Severity as RuleSeverity;
use palisade_rules::Verdict;

use super::Seen;
use super::World;
use super::add;
use super::edits;
use super::of_node;
use super::words::Shared;
use super::words::some;
use crate::snapshot::Edit;
use crate::snapshot::Episode;
use crate::snapshot::Node;
use crate::snapshot::Opened;

/// The rule about a pending reboot.
pub(super) const REBOOT_RULE: &str = "reboot.needed";

/// The value by which the end of an alert knows that its node was rebooted since. No template shows it.
pub(super) const BOOT: &str = "boot";

/// The area of rules about certificates.
pub(super) const CERTIFICATE: &str = "certificate";

/// Areas that are no hardening: an update that arrives is no regression.
const OTHER_AREAS: [&str; 3] = [CERTIFICATE, "reboot", "updates"];

/// Regressions of one node that are told one by one: the most severe ones.
pub(super) const MAX_REGRESSED: usize = 50;

/// Checks that an alert names.
const MAX_NAMED: usize = 10;

/// All that holds on a node by its report. `before` is what held at the look before.
pub(super) fn look(
    node: &Node,
    pool: Option<&Arc<str>>,
    before: &[Sighting],
    world: &World<'_>,
    shared: &mut Shared,
) -> Seen {
    let mut eyes = Eyes { node, pool, before, rules: world.rules, shared, found: Seen::new() };
    let mut regressed = Vec::new();
    let mut untold = Vec::new();
    let mut edited = Vec::new();
    for finding in node.findings() {
        let Some(episode) = node.episode(&finding.rule, &finding.subject) else { continue };
        edited.extend(episode.edit().map(|edit| (finding, episode, edit)));
        let own = episode.own().filter(|it| it.verdict == finding.verdict);
        match (finding.verdict, own) {
            (Verdict::Fail, Some(own)) => {
                eyes.failing(finding, own.severity, episode, &mut regressed);
            }
            (Verdict::Unknown, Some(_)) => {
                eyes.reboot_signal(finding, episode);
                if matches!(episode.opened, Opened::Report | Opened::Time)
                    && finding.rule.as_str() != REBOOT_RULE
                {
                    untold.push((finding, episode));
                }
            }
            (Verdict::Fail | Verdict::Unknown, None)
            | (Verdict::NotApplicable | Verdict::Pass | Verdict::Waived, _) => {}
        }
    }
    eyes.regressed(regressed);
    eyes.check_errors(&untold);
    edited.into_iter().for_each(|(finding, episode, edit)| eyes.edited(finding, episode, edit));
    let mut found = eyes.found;
    for sighting in before {
        if !found.contains_key(&sighting.key) && is_untold(node, &sighting.key) {
            // Known under the pool of then, it goes on under that of now.
            let key = Key { pool: pool.cloned(), ..sighting.key.clone() };
            add(&mut found, Sighting { key, ..sighting.clone() });
        }
    }
    found
}

/// The rule of this id, if it is in force.
pub(super) fn rule<'p>(rules: &'p Profile, id: &RuleId) -> Option<&'p Rule> {
    let rules = rules.rules();
    let at = rules.binary_search_by(|it| it.id().cmp(id)).ok()?;
    rules.get(at).map(|it| &**it)
}

/// What a finding saw, as far as it says anything.
pub(super) fn observed(finding: &Finding) -> &str {
    let evidence = &finding.evidence;
    [&*evidence.observed, &*evidence.reason].into_iter().find(|it| !it.is_empty()).unwrap_or("?")
}

/// The end of a certificate as a finding about it says, and whether it is over.
pub(super) fn end(finding: &Finding) -> Option<(&str, bool)> {
    let observed = &finding.evidence.observed;
    let (rest, is_over) = match observed.strip_prefix("expires ") {
        Some(rest) => (rest, false),
        None => (observed.strip_prefix("expired ")?, true),
    };
    Some((rest.split_once(": ").map_or(rest, |(end, _)| end), is_over))
}

/// The alert that a failing rule about certificates means while they have not ended.
fn certificate_kind(finding: &Finding) -> Kind {
    match finding.rule.as_str() {
        "certificate.authority-expiry" => Kind::CertificateAuthorityExpiring,
        "certificate.kubelet-expiry" => Kind::CertificateRotationStuck,
        "certificate.readable" => Kind::CertificateMissing,
        "certificate.leaf-expiry" => Kind::CertificateExpiring,
        _ if end(finding).is_some() => Kind::CertificateExpiring,
        _ => Kind::CertificateInvalid,
    }
}

/// The subject of an alert about a check: the rule, and what it is about within the node.
pub(super) fn check_subject(rule: &RuleId, subject: &str) -> String {
    if subject.is_empty() { rule.to_string() } else { format!("{rule} {subject}") }
}

/// A file may fail several checks at once.
pub(super) fn invalid_subject(finding: &Finding) -> String {
    let check = finding.rule.as_str().split_once('.').map_or("", |(_, check)| check);
    format!("{} ({check})", finding.subject)
}

/// A check that fails and did not before, with the severity that its node gave it.
struct Regressed<'f> {
    finding: &'f Finding,
    severity: RuleSeverity,
    episode: &'f Episode,
}

struct Eyes<'e> {
    node: &'e Node,
    pool: Option<&'e Arc<str>>,
    before: &'e [Sighting],
    rules: &'e Profile,
    shared: &'e mut Shared,
    found: Seen,
}

impl Eyes<'_> {
    fn key(&self, kind: Kind) -> Key {
        of_node(kind, self.node, self.pool)
    }

    /// What fails with this severity, which an edit may have changed since.
    fn failing<'f>(
        &mut self,
        finding: &'f Finding,
        severity: RuleSeverity,
        episode: &'f Episode,
        regressed: &mut Vec<Regressed<'f>>,
    ) {
        let area = finding.rule.area();
        if finding.rule.as_str() == REBOOT_RULE {
            let evidence = &finding.evidence;
            let reason =
                if evidence.reason.is_empty() { observed(finding) } else { &evidence.reason };
            let key = self.key(Kind::RebootRequired);
            // A heartbeat may tell of the next boot before its report tells that it was enough.
            let known = self.before.iter().find(|it| it.key.kind == Kind::RebootRequired);
            let known = known.and_then(|it| it.values.get(BOOT)).map(String::as_str);
            let boot = known.or_else(|| self.node.boot_id.as_ref().map(BootId::as_str));
            let values = self.shared.of([("reason", reason), (BOOT, boot.unwrap_or_default())]);
            let since = Some(episode.first_seen_at);
            add(&mut self.found, Sighting { key, severity: Severity::Info, since, values });
        } else if area == CERTIFICATE {
            self.certificate(finding, severity, episode);
        } else if severity == RuleSeverity::Critical {
            self.critical(finding, episode);
        } else if !OTHER_AREAS.contains(&area)
            && matches!(episode.opened, Opened::Report | Opened::Time)
        {
            regressed.push(Regressed { finding, severity, episode });
        }
    }

    /// What an edit made of a finding, beside what the node made of it.
    fn edited(&mut self, finding: &Finding, episode: &Episode, edit: &Edit) {
        let own = std::mem::take(&mut self.found);
        match finding.verdict {
            // Checks that regressed on no node are counted, and no alert.
            Verdict::Fail => self.failing(finding, finding.severity, episode, &mut Vec::new()),
            Verdict::Unknown => self.reboot_signal(finding, episode),
            Verdict::NotApplicable | Verdict::Pass | Verdict::Waived => {}
        }
        let brought_about = std::mem::replace(&mut self.found, own);
        let at = edit.at;
        let edit = edits::Edit { at, by: finding.rule.as_str() };
        for mut sighting in brought_about.into_values() {
            let is_by_time =
                sighting.key.kind == Kind::CertificateExpired && !has_ended(finding, at);
            match self.found.get_mut(&sighting.key) {
                Some(own) if own.severity < sighting.severity => {
                    edits::raised(own, sighting.severity, edit, self.shared);
                }
                Some(_) => {}
                None => {
                    if !is_by_time {
                        edits::brought_about(&mut sighting, edit, self.shared);
                    }
                    self.found.insert(sighting.key.clone(), sighting);
                }
            }
        }
    }

    fn reboot_signal(&mut self, finding: &Finding, episode: &Episode) {
        if finding.rule.as_str() != REBOOT_RULE {
            return;
        }
        let values = self.shared.of([("reason", observed(finding))]);
        let (key, since) = (self.key(Kind::RebootSignalUnknown), Some(episode.changed_at));
        add(&mut self.found, Sighting { key, severity: Severity::Warning, since, values });
    }

    fn certificate(&mut self, finding: &Finding, loud: RuleSeverity, episode: &Episode) {
        let kind = certificate_kind(finding);
        let since = Some(episode.first_seen_at);
        let fix = rule(self.rules, &finding.rule).map_or("", Rule::fix);
        let (ends, is_over) = end(finding).unwrap_or_else(|| (observed(finding), false));
        let is_invalid = kind == Kind::CertificateInvalid;
        let subject = if is_invalid { invalid_subject(finding) } else { finding.subject.clone() };
        let (severity, values) = if is_invalid {
            let values = self.shared.of([("problem", observed(finding)), ("renewal", fix)]);
            (loud_from_high(loud), values)
        } else if kind == Kind::CertificateMissing {
            (loud_from_high(loud), self.shared.of([("problem", observed(finding))]))
        } else {
            // A critical threshold of the rule raises the severity of its finding.
            let is_critical = loud == RuleSeverity::Critical;
            let severity = if is_critical { Severity::Critical } else { Severity::Warning };
            let values = if kind == Kind::CertificateExpiring {
                self.shared.of([("ends", ends), ("renewal", fix)])
            } else {
                self.shared.of([("ends", ends)])
            };
            (severity, values)
        };
        let key = self.key(kind).subject(&subject);
        add(&mut self.found, Sighting { key, severity, since, values });
        if is_over {
            let key = self.key(Kind::CertificateExpired).subject(&subject);
            let values = self.shared.of([("ends", ends), ("renewal", fix)]);
            let severity = Severity::Critical;
            add(&mut self.found, Sighting { key, severity, since: None, values });
        }
    }

    fn critical(&mut self, finding: &Finding, episode: &Episode) {
        let rule = rule(self.rules, &finding.rule);
        let title = rule.map_or(finding.rule.as_str(), Rule::title);
        let subject = if finding.subject.is_empty() {
            String::new()
        } else {
            format!("{}: ", finding.subject)
        };
        let problem = format!("{subject}{}; it should be: {title}", seen_instead(finding));
        let (why, ask) = (rule.map_or("", Rule::why), rule.map_or("", Rule::fix));
        let values = self.shared.of([("problem", &*problem), ("why", why), ("ask", ask)]);
        let key = self.key(Kind::SecurityFinding).subject(finding.rule.as_str());
        let (severity, since) = (Severity::Critical, Some(episode.first_seen_at));
        add(&mut self.found, Sighting { key, severity, since, values });
    }

    fn regressed(&mut self, mut all: Vec<Regressed<'_>>) {
        all.sort_by(|one, other| {
            let by = |it: &Regressed<'_>| (std::cmp::Reverse(it.severity), it.finding.rule.clone());
            let subject = |it: &Regressed<'_>| it.finding.subject.clone();
            by(one).cmp(&by(other)).then_with(|| subject(one).cmp(&subject(other)))
        });
        let more = all.len().saturating_sub(MAX_REGRESSED);
        all.truncate(MAX_REGRESSED);
        let last = all.len().saturating_sub(1);
        for (at, Regressed { finding, severity, episode }) in all.into_iter().enumerate() {
            let rule = rule(self.rules, &finding.rule);
            let mut observed = seen_instead(finding);
            if at == last && more > 0 {
                observed.push_str(&format!(" (and {more} more checks of this node)"));
            }
            let title = rule.map_or(finding.rule.as_str(), Rule::title);
            let (why, fix) = (rule.map_or("", Rule::why), rule.map_or("", Rule::fix));
            let values = self.shared.of([
                ("title", title),
                ("observed", &*observed),
                ("why", why),
                ("fix", fix),
            ]);
            let subject = check_subject(&finding.rule, &finding.subject);
            let key = self.key(Kind::HardeningRegressed).subject(&subject);
            let (severity, since) = (loud_from_high(severity), Some(episode.first_seen_at));
            add(&mut self.found, Sighting { key, severity, since, values });
        }
    }

    fn check_errors(&mut self, untold: &[(&Finding, &Episode)]) {
        let Some(since) = untold.iter().map(|(_, episode)| episode.changed_at).min() else {
            return;
        };
        let names =
            untold.iter().map(|(finding, _)| check_subject(&finding.rule, &finding.subject));
        let (count, checks) = (untold.len().to_string(), some(names, MAX_NAMED));
        let values = self.shared.of([("count", &*count), ("checks", &*checks)]);
        let (key, severity) = (self.key(Kind::HardeningCheckErrors), Severity::Warning);
        add(&mut self.found, Sighting { key, severity, since: Some(since), values });
    }
}

/// What was seen and what should have been.
fn seen_instead(finding: &Finding) -> String {
    let expected = &finding.evidence.expected;
    let observed = observed(finding);
    if expected.is_empty() { observed.to_owned() } else { format!("{observed}, not {expected}") }
}

/// Whether the certificate of a finding had ended at that moment already.
fn has_ended(finding: &Finding, at: Moment) -> bool {
    // Both have the same shape, in which text is in the order of time.
    end(finding).is_some_and(|(ends, is_over)| is_over && *ends <= *at.to_string())
}

fn loud_from_high(severity: RuleSeverity) -> Severity {
    match severity {
        RuleSeverity::Critical | RuleSeverity::High => Severity::Critical,
        RuleSeverity::Info | RuleSeverity::Low | RuleSeverity::Medium => Severity::Warning,
    }
}

/// Whether what this alert rests on cannot be told now: then it is not over.
fn is_untold(node: &Node, key: &Key) -> bool {
    node.findings().filter(|it| it.verdict == Verdict::Unknown).any(|it| concerns(key, it))
}

/// Whether a finding is about what an alert is about: the very same, or the whole that it is part of.
pub(super) fn concerns(key: &Key, finding: &Finding) -> bool {
    let is_whole = finding.subject.is_empty();
    let is_of = |subject: &str| *key.subject == *clean_label(subject);
    let rule = finding.rule.as_str();
    let check = rule.split_once('.').map_or("", |(_, check)| check);
    let is_certificate = finding.rule.area() == CERTIFICATE;
    if [Kind::RebootRequired, Kind::RebootSignalUnknown].contains(&key.kind) {
        rule == REBOOT_RULE
    } else if EXPIRY.contains(&key.kind) {
        let is_expiry = certificate_kind_of(&finding.rule)
            .is_some_and(|kind| kind == key.kind || key.kind == Kind::CertificateExpired);
        let is_there = is_whole || is_of(&finding.subject) || is_in(&key.subject, finding);
        is_certificate && is_expiry && is_there
    } else if key.kind == Kind::CertificateMissing {
        rule == "certificate.readable" && (is_whole || is_of(&finding.subject))
    } else if key.kind == Kind::CertificateInvalid {
        let is_check = key.subject.ends_with(&format!(" ({check})"));
        let is_there = is_whole || is_of(&invalid_subject(finding)) || is_in(&key.subject, finding);
        is_certificate && is_check && is_there
    } else if key.kind == Kind::HardeningRegressed {
        let is_part = || key.subject.strip_prefix(rule).is_some_and(|it| it.starts_with(' '));
        is_of(&check_subject(&finding.rule, &finding.subject)) || (is_whole && is_part())
    } else {
        key.kind == Kind::SecurityFinding && *key.subject == *rule
    }
}

/// Alerts about the ends of certificates.
const EXPIRY: [Kind; 4] = [
    Kind::CertificateAuthorityExpiring,
    Kind::CertificateExpired,
    Kind::CertificateExpiring,
    Kind::CertificateRotationStuck,
];

/// The alert that a rule about ends of certificates means; `None`: it is about something else.
fn certificate_kind_of(rule: &RuleId) -> Option<Kind> {
    match rule.as_str() {
        "certificate.authority-expiry" => Some(Kind::CertificateAuthorityExpiring),
        "certificate.kubelet-expiry" => Some(Kind::CertificateRotationStuck),
        text if text.ends_with("expiry") => Some(Kind::CertificateExpiring),
        _ => None,
    }
}

/// Whether a certificate is in the file that a finding is about: `FILE#2`, `FILE (entry)`.
fn is_in(subject: &str, finding: &Finding) -> bool {
    let rest = subject.strip_prefix(&*clean_label(&finding.subject));
    rest.is_some_and(|rest| rest.starts_with('#') || rest.starts_with(" ("))
}

/// A subject as a key has it.
fn clean_label(subject: &str) -> String {
    clean_text(subject)
}
