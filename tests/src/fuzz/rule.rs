//! Rules, profiles and waivers as people write them, and the judge over hostile facts.

use std::sync::Arc;

use palisade_report::Section;
use palisade_report::SectionName;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_rules::FactPath;
use palisade_rules::Facts;
use palisade_rules::Found;
use palisade_rules::Pattern;
use palisade_rules::Profile;
use palisade_rules::Verdict;
use palisade_rules::Waivers;
use palisade_rules::rule;
use serde_json::Value;

use super::node;

/// What parses can be judged by, documented and digested.
pub(super) fn profile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(profile) = Profile::parse(&text) else { return };
    assert_eq!(profile.digest(), Profile::parse(&text).expect("as before").digest());
    blind(&profile);
}

pub(super) fn file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(rules) = rule::parse_rules(&text) else { return };
    for rule in rules {
        // What a rule reads decides which sections it is judged with.
        for path in rule.reads() {
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        for text in [rule.title(), rule.why(), rule.fix()] {
            assert!(!text.is_empty(), "{}", rule.id());
        }
    }
}

/// Where nothing is known nothing passes.
fn blind(profile: &Profile) {
    let unknown: Section<()> = Section::Unknown { why: Why::new(WhyKind::Crashed, "on purpose") };
    let unknown = Arc::new(serde_json::to_value(unknown).expect("a section has a JSON form"));
    let mut facts = Facts::default();
    for judged in [true, false] {
        let judgement =
            palisade_rules::judge(&facts, profile, &Waivers::default(), None, node::NOW);
        for finding in judgement.findings {
            assert!(!matches!(finding.verdict, Verdict::Fail | Verdict::Pass), "{finding:?}");
        }
        if judged {
            SectionName::ALL.iter().for_each(|name| facts.insert(*name, Arc::clone(&unknown)));
        }
    }
}

pub(super) fn waivers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(waivers) = Waivers::parse(&text) else { return };
    let mut judgement = node::judged(&Facts::default(), node::NOW);
    let before = judgement.findings.clone();
    waivers.apply(&mut judgement, None, node::NOW);
    for (before, after) in before.iter().zip(&judgement.findings) {
        assert_eq!(after.verdict == Verdict::Waived, after.waiver.is_some());
        if let Some(waiver) = &after.waiver {
            assert!(waiver.until > node::NOW, "an expired waiver is in force");
            assert_eq!(waiver.instead_of, before.verdict);
        } else {
            assert_eq!(after, before);
        }
    }
}

/// A path is written as it is read, and looking along it never fails.
pub(super) fn fact_path(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(2, '\n');
    let Ok(path) = lines.next().unwrap_or_default().parse::<FactPath>() else { return };
    assert_eq!(path.to_string().parse(), Ok(path.clone()));
    let Some(Ok(value)) = lines.next().map(serde_json::from_str::<Value>) else { return };
    let mut facts = Facts::default();
    facts.insert(path.section(), Arc::new(value));
    if let Found::Unknown(why) = facts.at(&path) {
        assert!(!why.why().to_string().is_empty());
    }
}

/// A pattern and two texts, one in each line.
pub(super) fn pattern(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let (Some(pattern), Some(text)) = (lines.next().and_then(Pattern::new), lines.next()) else {
        return;
    };
    if !pattern.as_str().contains(['*', '?']) {
        assert_eq!(pattern.matches(text), pattern.as_str() == text);
        assert!(pattern.matches(pattern.as_str()));
    }
    // What stays inside components also matches across them.
    assert!(!pattern.matches_path(text) || pattern.matches(text), "{pattern} {text:?}");
    if let Some(wider) = Pattern::new(&format!("{pattern}*")) {
        assert!(!pattern.matches(text) || wider.matches(text), "{pattern} {text:?}");
    }
}

/// Hostile sections, and the same ones with every reading turned unknown: then nothing passes that
/// rests on them.
pub(super) fn judge(bytes: &[u8]) {
    let sections = node::sections(bytes);
    let mut facts = Facts::default();
    let mut blinded = Facts::default();
    for (name, mut section) in sections {
        facts.insert(name, Arc::new(section.clone()));
        blind_readings(&mut section, 0);
        blinded.insert(name, Arc::new(section));
    }
    node::judged(&facts, node::NOW);
    node::judged(&blinded, node::NOW);
}

/// Turns every reading below a section unknown.
fn blind_readings(value: &mut Value, depth: usize) {
    match value {
        Value::Object(map) => {
            let is_reading = depth > 0
                && map.get("state").is_some_and(|state| state == "known" || state == "absent");
            if is_reading {
                map.clear();
                map.insert("origin".to_owned(), Value::from("here"));
                map.insert("state".to_owned(), Value::from("unknown"));
                let why = Why::new(WhyKind::Io, "on purpose");
                map.insert("why".to_owned(), serde_json::to_value(why).expect("JSON"));
                return;
            }
            map.values_mut().for_each(|value| blind_readings(value, depth + 1));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| blind_readings(value, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
