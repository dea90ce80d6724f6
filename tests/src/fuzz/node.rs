//! A whole node: every reader over a tree of hostile files, and the judge over what they say.

use std::str;
use std::sync::Arc;
use std::sync::OnceLock;

use palisade_inspect::Interest;
use palisade_inspect::MemoryHost;
use palisade_report::Moment;
use palisade_report::Report;
use palisade_report::SectionName;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::canonical;
use palisade_rules::Facts;
use palisade_rules::Judgement;
use palisade_rules::Profile;
use palisade_rules::Waivers;
use serde_json::Value;

use super::shown;
use crate::node::What;
use crate::node::inspect;
use crate::node::interest;
use crate::node::parse;

/// Bytes that a section may have on the wire.
const MAX_SECTION: usize = 1024 * 1024;

/// Marks the line that names a section.
const FILE: &[u8] = b"=== ";

/// When the nodes of these tests are judged.
pub(super) const NOW: Moment = Moment::from_unix(1_800_000_000);

/// The host that a text of files describes, see [`node`](crate::node).
pub(super) fn host(bytes: &[u8]) -> MemoryHost {
    parse(bytes).into_iter().fold(MemoryHost::default(), |host, (path, what)| match what {
        What::File(content) => host.file(&path, content),
        What::Link(target) => host.link(&path, &target),
    })
}

/// The built-in profile, and what it makes readers look at.
fn built_in() -> &'static (Profile, Interest) {
    static BUILT_IN: OnceLock<(Profile, Interest)> = OnceLock::new();
    BUILT_IN.get_or_init(|| {
        let profile = Profile::built_in();
        let interest = interest(&profile);
        (profile, interest)
    })
}

pub(super) fn node(bytes: &[u8]) {
    let host = host(bytes);
    let (_, interest) = built_in();
    let facts = sound(&inspect(&host, interest), &inspect(&host, interest));
    judged(&facts, NOW);
}

/// Asserts what holds for every report: reading again says the same, every section is in canonical
/// form, bounded, fit to be shown, and what the wire carries is what was said. Returns its facts.
pub(super) fn sound(report: &Report, again: &Report) -> Facts {
    assert_eq!(report, again);
    let sealed = report.seal().expect("facts have a canonical form");
    let mut facts = Facts::default();
    let mut received = Report::default();
    for (name, raw) in sealed.sections() {
        let bytes = raw.get().as_bytes();
        assert!(bytes.len() <= MAX_SECTION, "section {name} has {} bytes", bytes.len());
        let value = canonical::parse(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        fit(&value);
        received.set(*name, bytes).unwrap_or_else(|error| panic!("{error}: {:?}", error.source));
        facts.insert(*name, Arc::new(value));
    }
    assert_eq!(&received, report);
    facts
}

/// Asserts that every text in a section may be shown.
fn fit(value: &Value) {
    match value {
        Value::String(text) => shown(text, MAX_LONG_TEXT),
        Value::Array(items) => items.iter().for_each(fit),
        Value::Object(map) => {
            for (key, value) in map {
                shown(key, MAX_LONG_TEXT);
                fit(value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Judges facts by the built-in profile, and asserts what holds for every judgement: each subject
/// once, evidence fit to be shown, and no verdict that changes before it was announced to.
pub(super) fn judged(facts: &Facts, now: Moment) -> Judgement {
    let (profile, _) = built_in();
    let judge = |now| palisade_rules::judge(facts, profile, &Waivers::default(), None, now);
    let judgement = judge(now);
    assert!(judgement.findings.len() >= profile.rules().len());
    let mut last = None;
    for finding in &judgement.findings {
        let key = (&finding.rule, &finding.subject);
        assert_ne!(last, Some(key), "one subject twice");
        last = Some(key);
        for text in [&finding.subject, &finding.evidence.observed, &finding.evidence.reason] {
            shown(text, MAX_LONG_TEXT);
        }
    }
    if let Some(at) = judgement.next_change_at {
        assert!(at > now, "a change at {at} is announced at {now}");
        let before = judge(at.plus(-1));
        let verdicts = |judgement: &Judgement| {
            let each = judgement.findings.iter();
            each.map(|it| (it.rule.clone(), it.subject.clone(), it.verdict, it.severity))
                .collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&before), verdicts(&judgement), "changed before {at}");
    }
    judgement
}

/// The sections of a text of JSON values: `=== kernel`, then its canonical bytes.
pub(super) fn sections(bytes: &[u8]) -> Vec<(SectionName, Value)> {
    let mut found = Vec::new();
    let mut name = None;
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(text) = line.strip_prefix(FILE) {
            name = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        } else if let (Some(name), Ok(value)) = (name.take(), canonical::parse(line)) {
            found.push((name, value));
        }
    }
    found
}
