//! The kinds on facts: what each makes of what a report may hold.

use crate::finding::Finding;
use crate::judge::judge_one;
use crate::rule::Rule;
use crate::rule::parse_rules;
use crate::table_test::NOW;
use crate::table_test::example::Example;

mod certificate;
mod file;
mod socket;

/// A rule that expects this, in YAML.
fn rule(expect: &str) -> Rule {
    let text = format!(
        "- {{id: a.b, severity: medium, title: t, why: w, fix: f, references: [r], \
         expect: {{{expect}}}}}"
    );
    parse_rules(&text).unwrap_or_else(|error| panic!("{expect}: {error:?}")).remove(0)
}

fn judged(expect: &str, facts: &str) -> Vec<Finding> {
    let facts = crate::yaml::parse(facts).unwrap();
    let example = Example::build(&facts).unwrap_or_else(|why| panic!("{why}"));
    judge_one(&rule(expect), &example.facts(), NOW).findings
}

/// Findings as `verdict subject`, with the observed value where that is asked for.
fn verdicts(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|it| format!("{} {}", it.verdict, it.subject).trim().to_owned()).collect()
}

fn one(expect: &str, facts: &str) -> String {
    let findings = judged(expect, facts);
    assert_eq!(findings.len(), 1, "{findings:?}");
    let evidence = &findings[0].evidence;
    let said = if evidence.reason.is_empty() { &evidence.observed } else { &evidence.reason };
    format!("{}: {said}", findings[0].verdict)
}

#[test]
fn a_sysctl_is_judged_now_and_after_the_next_boot() {
    let k = "sysctls.keys.a.b";
    let expect = "sysctl: {key: a.b, at_least: 1}";
    let unknown = "{state: unknown, why: {kind: io, detail: EIO}, origin: x}";
    for (facts, wanted) in [
        (format!("{k}.running: '1'"), "pass: 1"),
        (format!("{{{k}.running: '1', {k}.next_boot: '2'}}"), "pass: 1"),
        (format!("{{{k}.running: '1', {k}.next_boot: '0'}}"), "fail: 1 now, 0 after the next boot"),
        (format!("{{{k}.running: '0', {k}.next_boot: '1'}}"), "fail: 0"),
        (format!("{{{k}.running: '1', {k}.next_boot: {unknown}}}"), "unknown: EIO"),
        (format!("{{{k}.running: {unknown}, {k}.next_boot: '1'}}"), "unknown: EIO"),
        (format!("{k}.running: x"), "unknown: expected a number or duration, found `x`"),
        (
            format!("{k}.next_boot: '0'"),
            "not-applicable: this kernel has no such key, or its module is not loaded",
        ),
        ("host.init: x".into(), "unknown: the report does not hold this fact"),
    ] {
        assert_eq!(one(expect, &facts), wanted, "{facts}");
    }
    let ignored = "sysctl: {key: a.b, at_least: 1, next_boot: ignored}";
    let facts = format!("{{{k}.running: '1', {k}.next_boot: '0'}}");
    assert_eq!(one(ignored, &facts), "pass: 1");
}

#[test]
fn where_no_kubelet_runs_its_values_do_not_apply() {
    let expect = "kubelet: {field: a.b, equals: false}";
    let flag = "kubelet_flag: {flag: x, is: absent}";
    let unknown = "{state: unknown, why: {kind: io, detail: no processes}, origin: x}";
    for (expect, facts, wanted) in [
        (expect, "host.init: x".to_owned(), "not-applicable: no kubelet runs here"),
        (expect, format!("kubelet.process: {unknown}"), "unknown: no processes"),
        (expect, "kubelet.process: {}".into(), "unknown: the report does not hold this fact"),
        (expect, "{kubelet.process: {}, kubelet.effective.a.b: true}".into(), "fail: true"),
        (
            expect,
            format!("{{kubelet.process: {unknown}, kubelet.effective.a.b: false}}"),
            "pass: false",
        ),
        (flag, "kubelet.process: {}".into(), "pass: not set"),
        (flag, "{kubelet.process: {}, kubelet.flags.x: y}".into(), "fail: y"),
        (flag, "host.init: x".into(), "not-applicable: no kubelet runs here"),
    ] {
        assert_eq!(one(expect, &facts), wanted, "{facts}");
    }
}

#[test]
fn a_fact_can_be_compared_with_another_and_can_say_that_it_cannot_tell() {
    let same = "fact: {path: kernel.release, same_as: kernel.newest}";
    for (facts, wanted) in [
        ("{kernel.release: '6.1', kernel.newest: '6.1'}", "pass: 6.1"),
        ("{kernel.release: '6.1', kernel.newest: '6.2'}", "fail: 6.1"),
        ("kernel.release: '6.1'", "not-applicable: there is nothing to compare it with"),
        ("kernel.newest: '6.1'", "not-applicable: this host does not have it"),
    ] {
        assert_eq!(one(same, facts), wanted, "{facts}");
    }
    let need = "fact: {path: reboot.need.answer, equals: not-needed, cannot_tell: unknown}";
    let unknown = "reboot.need: {answer: unknown, why: {kind: io, detail: no dpkg}}";
    assert_eq!(one(need, unknown), "unknown: no dpkg");
    assert_eq!(one(need, "reboot.need: {answer: needed}"), "fail: needed");
    let empty = "fact: {path: host.swap, is: empty}";
    assert_eq!(one(empty, "host.swap: []"), "pass: empty");
    assert_eq!(one(empty, "host.swap: [/swap]"), "fail: /swap");
}

#[test]
fn a_module_may_be_in_some_states() {
    let expect = "module: {name: cramfs, allowed: [blocked, missing]}";
    for (facts, wanted) in [
        ("kernel.modules.cramfs: missing", "pass: missing"),
        ("kernel.modules.cramfs: loadable", "fail: loadable"),
        ("kernel.modules.cramfs: built-in", "fail: built-in"),
        ("kernel.modules.hfs: blocked", "unknown: the report does not hold this fact"),
    ] {
        assert_eq!(one(expect, facts), wanted, "{facts}");
    }
}

#[test]
fn parameters_are_words_and_the_last_one_wins() {
    let expect = "parameter: {absent: [nokaslr, no_hash_pointers], \
                  absent_values: {mitigations: ['off'], mds: ['off']}, present_values: {init_on_alloc: [1]}}";
    for (words, wanted) in [
        ("[quiet, init_on_alloc=1]", "pass: none of the unwanted words, all of the wanted ones"),
        ("[init_on_alloc=1, nokaslr]", "fail: nokaslr"),
        ("[init_on_alloc=1, no-hash-pointers]", "fail: no-hash-pointers"),
        (
            "[init_on_alloc=1, nokaslrx, '--', nokaslr]",
            "pass: none of the unwanted words, all of the wanted ones",
        ),
        ("[init_on_alloc=1, 'mitigations=off']", "fail: mitigations=off"),
        (
            "[init_on_alloc=1, 'mitigations=off', 'mitigations=auto']",
            "pass: none of the unwanted words, all of the wanted ones",
        ),
        ("[init_on_alloc=1, 'mds=off,nosmt']", "fail: mds=off,nosmt"),
        ("[init_on_alloc=1, init_on_alloc=0]", "fail: init_on_alloc=0"),
        ("[]", "fail: no init_on_alloc"),
    ] {
        assert_eq!(one(expect, &format!("kernel.parameters: {words}")), wanted, "{words}");
    }
}

#[test]
fn every_open_weakness_is_a_finding_of_its_own() {
    let vulnerabilities = "kernel.vulnerabilities: {meltdown: 'Mitigation: PTI', \
        spectre_v2: 'Mitigation: Retpolines; BHI: Vulnerable', mds: 'Mitigation: x; SMT vulnerable', \
        tsa: 'Unknown: no microcode'}";
    let found = |smt: &str| judged("vulnerability: {}", &format!("{{{vulnerabilities}, {smt}}}"));
    assert_eq!(verdicts(&found("kernel.smt: on")), ["fail mds", "fail spectre_v2", "unknown tsa"]);
    assert_eq!(found("kernel.smt: on")[0].severity, crate::Severity::Low);
    assert_eq!(verdicts(&found("kernel.smt: off")), ["fail spectre_v2", "unknown tsa"]);
    let except = "vulnerability: {except: [spectre_v2, tsa, mds]}";
    assert_eq!(verdicts(&judged(except, &format!("{{{vulnerabilities}}}"))), ["pass"]);
}

#[test]
fn a_mount_must_have_its_options_where_there_is_one() {
    let expect = "mount: {path: /tmp, options: [nodev, nosuid]}";
    for (facts, wanted) in [
        ("host.mounts./tmp.options: [nodev, nosuid, rw]", "pass: nodev, nosuid, rw"),
        ("host.mounts./tmp.options: [nodev]", "fail: nodev"),
        ("host.mounts./var.options: [nodev]", "not-applicable: not a mount of its own"),
    ] {
        assert_eq!(one(expect, facts), wanted, "{facts}");
    }
    let strict = "mount: {path: /tmp, options: [nodev], absent: fail}";
    assert_eq!(one(strict, "host.mounts./var.options: []"), "fail: not a mount of its own");
}

#[test]
fn an_expression_is_unknown_wherever_it_is_judged() {
    let judged = one("cel: 'kernel.release == 1'", "host.init: x");
    assert_eq!(judged, "unknown: expressions are judged by the collector, not by this version");
}

#[test]
fn observed_values_are_bounded_and_clean() {
    let hostile = format!("kernel.release: \"a\\e[31m{}\"", "x".repeat(5000));
    let finding = judged("fact: {path: kernel.release, equals: y}", &hostile).remove(0);
    assert!(finding.evidence.observed.len() <= 256);
    assert!(finding.evidence.observed.starts_with("a\\u{1b}[31m"), "{finding:?}");
}
