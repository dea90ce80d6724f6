//! The table test: every built-in rule is held to its own examples, and to what it cannot know.
//!
//! Of each rule: its passing and failing examples are judged so; each fact that it reads, turned
//! unknown, makes it unknown; each condition, made false, makes it not applicable. All complaints
//! are collected, so that one run shows everything that is wrong with a new rule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::LazyLock;

use palisade_report::Moment;
use palisade_report::bound::MAX_TEXT;
use serde_json::Value;
use serde_json::json;

use crate::catalogue;
use crate::finding::Finding;
use crate::finding::Verdict;
use crate::judge::judge_one;
use crate::rule::Rule;
use crate::rule::parse_rules;

pub(crate) mod example;

use example::Example;

/// The moment at which examples are judged: 2027-01-15T08:00:00Z.
pub(crate) const NOW: Moment = Moment::from_unix(1_800_000_000);

static RULES: LazyLock<Vec<Arc<Rule>>> = LazyLock::new(|| catalogue::rules().unwrap());

/// The rule's verdict over all its subjects, as a person would sum it up.
fn overall(findings: &[Finding]) -> Verdict {
    let order = [Verdict::Fail, Verdict::Unknown, Verdict::Pass];
    let is_there = |verdict: &Verdict| findings.iter().any(|it| it.verdict == *verdict);
    order.into_iter().find(is_there).unwrap_or(Verdict::NotApplicable)
}

/// What is wrong with evidence, if anything.
fn complaint(finding: &Finding) -> Option<String> {
    let evidence = &finding.evidence;
    let told = match finding.verdict {
        Verdict::Fail | Verdict::Pass => {
            !evidence.observed.is_empty() && !evidence.expected.is_empty()
        }
        Verdict::NotApplicable | Verdict::Unknown | Verdict::Waived => !evidence.reason.is_empty(),
    };
    let bounded = [&evidence.observed, &evidence.expected, &evidence.reason, &finding.subject]
        .iter()
        .all(|text| text.len() <= MAX_TEXT);
    (!told || !bounded || evidence.fact.is_empty())
        .then(|| format!("{}: evidence is not filled: {evidence:?}", finding.rule))
}

fn check_examples(rule: &Rule, complaints: &mut Vec<String>) {
    let examples = &rule.entry().examples;
    let own = [(Verdict::Pass, &examples.pass), (Verdict::Fail, &examples.fail)];
    let also = examples.also.iter().map(|example| (example.verdict, &example.facts));
    for (wanted, facts) in own.into_iter().chain(also) {
        let id = rule.id();
        if facts.is_empty() {
            complaints.push(format!("{id}: no example for {wanted}"));
            continue;
        }
        let example = match Example::build(facts) {
            Ok(example) => example,
            Err(why) => {
                complaints.push(format!("{id}: example for {wanted}: {why}"));
                continue;
            }
        };
        let findings = judge_one(rule, &example.facts(), NOW).findings;
        let got = overall(&findings);
        if got != wanted {
            complaints.push(format!("{id}: example for {wanted} is judged {got}: {findings:?}"));
        }
        complaints.extend(findings.iter().filter_map(complaint));
    }
}

fn check_unknown(rule: &Rule, complaints: &mut Vec<String>) {
    let pass = &rule.entry().examples.pass;
    let Ok(example) = Example::build(pass) else { return };
    let mut paths: Vec<String> = rule.reads().iter().map(ToString::to_string).collect();
    paths.extend(pass.keys().cloned());
    for path in paths {
        let mut unknown = example.clone();
        unknown.set_unknown(&path);
        let findings = judge_one(rule, &unknown.facts(), NOW).findings;
        let got = overall(&findings);
        if got != Verdict::Unknown {
            complaints.push(format!(
                "{}: with {path} unknown it is judged {got}: {findings:?}",
                rule.id()
            ));
        }
        complaints.extend(findings.iter().filter_map(complaint));
    }
    for section in rule.sections() {
        let mut unknown = example.clone();
        unknown.set_section_unknown(*section);
        let got = overall(&judge_one(rule, &unknown.facts(), NOW).findings);
        if got != Verdict::Unknown {
            complaints.push(format!("{}: with {section} unknown it is judged {got}", rule.id()));
        }
    }
}

/// Tries values that a condition may not hold for: absence, the values that it names, and others.
fn check_conditions(rule: &Rule, complaints: &mut Vec<String>) {
    let pass = &rule.entry().examples.pass;
    let Ok(example) = Example::build(pass) else { return };
    for (condition, words) in rule.conditions().iter().zip(&rule.entry().when) {
        let mut candidates = vec![json!({"state": "absent", "origin": "example"})];
        let named = words.values().flat_map(|value| match value.as_array() {
            Some(items) => items.clone(),
            None => vec![value.clone()],
        });
        candidates.extend(named.flat_map(|value| [json!([value]), value]));
        candidates.extend([json!("x"), json!(["x"]), json!([]), json!(0), json!(true)]);
        let path = condition.path().to_string();
        let reason = words.get("reason").and_then(Value::as_str).unwrap();
        let holds_not = |candidate: &Value| {
            let mut other = example.clone();
            other.force(&path, candidate);
            let findings = judge_one(rule, &other.facts(), NOW).findings;
            overall(&findings) == Verdict::NotApplicable
                && findings.iter().all(|it| it.evidence.reason == reason)
        };
        if !candidates.iter().any(holds_not) {
            complaints.push(format!("{}: nothing makes it not applicable: {reason}", rule.id()));
        }
    }
}

fn run(check: fn(&Rule, &mut Vec<String>)) {
    let mut complaints = Vec::new();
    for rule in RULES.iter() {
        check(rule, &mut complaints);
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_rule_is_judged_as_its_examples_say() {
    run(check_examples);
}

#[test]
fn every_fact_that_a_rule_reads_can_make_it_unknown() {
    run(check_unknown);
}

#[test]
fn every_condition_can_make_its_rule_not_applicable() {
    run(check_conditions);
}

#[test]
fn every_rule_is_in_the_file_of_its_area() {
    for (area, text) in catalogue::FILES {
        for rule in parse_rules(text).unwrap() {
            assert_eq!(rule.id().area(), area, "{}", rule.id());
        }
    }
    let names: Vec<&str> = catalogue::FILES.iter().map(|(area, _)| *area).collect();
    assert!(names.is_sorted(), "files are in order of their areas");
}

#[test]
fn titles_and_paragraphs_read_like_the_others() {
    for rule in RULES.iter() {
        let id = rule.id();
        assert!(!rule.title().ends_with('.'), "{id}: a title has no full stop");
        for text in [Some(rule.why()), Some(rule.fix()), rule.may_break(), rule.not_covered()] {
            let Some(text) = text else { continue };
            assert!(text.trim_end().ends_with(['.', '`']), "{id}: a paragraph ends: {text}");
        }
    }
    let titles: BTreeMap<&str, &Arc<Rule>> = RULES.iter().map(|it| (it.title(), it)).collect();
    assert_eq!(titles.len(), RULES.len(), "two rules have the same title");
}
