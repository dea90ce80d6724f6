use super::*;

const STRICT: &str = "file: {path: /etc/shadow, mode: '0640', uid: 0, parents: safe, absent: fail}";

#[test]
fn a_file_is_at_least_as_strict_or_it_fails() {
    for (file, wanted) in [
        ("{mode: '0600'}", "pass: 0600 0:0"),
        ("{mode: '0640', gid: 42}", "pass: 0640 0:42"),
        ("{mode: '0644'}", "fail: 0644 0:0"),
        ("{mode: '4600'}", "fail: 4600 0:0"),
        ("{mode: '0600', uid: 1000}", "fail: 0600 1000:0"),
        ("{unsafe_ancestors: ['/etc 0777']}", "fail: 0600 0:0 below /etc 0777"),
        ("{state: absent, origin: /etc}", "fail: no such file"),
        ("{state: unknown, why: {kind: io, detail: EIO}, origin: x}", "unknown: EIO"),
    ] {
        assert_eq!(one(STRICT, &format!("files.paths./etc/shadow: {file}")), wanted);
    }
    let other = one(STRICT, "files.paths./etc/passwd: {}");
    assert_eq!(other, "unknown: the report does not hold this fact");
}

#[test]
fn a_pattern_gives_a_finding_for_each_path() {
    let expect = "file: {path: /etc/cron.d/*, mode: '0600'}";
    let facts = "{files.paths./etc/cron.d/a: {}, files.paths./etc/cron.d/b: {mode: '0644'}, \
                 files.paths./etc/cron.d/c/d: {mode: '0777'}, files.paths./etc/passwd: {}}";
    assert_eq!(verdicts(&judged(expect, facts)), ["pass /etc/cron.d/a", "fail /etc/cron.d/b"]);
    let none = "files.paths./etc/cron.d/*: {state: absent, origin: /etc/cron.d}";
    assert_eq!(verdicts(&judged(expect, none)), ["not-applicable /etc/cron.d/*"]);
    let unread = "{files.paths./etc/cron.d/a: {}, files.paths./etc/cron.d/*: \
                  {state: unknown, why: {kind: io, detail: EIO}, origin: x}}";
    let judged_unread = judged(expect, unread);
    assert_eq!(verdicts(&judged_unread), ["unknown /etc/cron.d/*", "pass /etc/cron.d/a"]);
    let unseen = verdicts(&judged(expect, "files.paths./etc/passwd: {}"));
    assert_eq!(unseen, ["unknown /etc/cron.d/*"]);
}

#[test]
fn a_path_that_the_kubelet_names_is_looked_up() {
    let expect = "file: {path: '${kubelet.effective.staticPodPath}/*.yaml', mode: '0600'}";
    let set = "kubelet.process: {}, kubelet.effective.staticPodPath: /m";
    for (facts, wanted) in [
        (format!("{{{set}, files.paths./m/a.yaml: {{mode: '0644'}}}}"), "fail: 0644 0:0"),
        (
            "{kubelet.process: {}, kubelet.effective.staticPodPath: {state: absent, origin: x}}"
                .into(),
            "not-applicable: the kubelet of this host names no such file",
        ),
        ("host.init: x".into(), "not-applicable: no kubelet runs here"),
        ("kubelet.process: {}".into(), "unknown: the report does not hold this fact"),
    ] {
        assert_eq!(one(expect, &facts), wanted, "{facts}");
    }
}

#[test]
fn paths_that_no_reader_could_find_are_refused() {
    for bad in ["etc/passwd", "${host.os}/x", "${kubelet.flags.x", "/etc/[ab]"] {
        let text = format!(
            "- {{id: a.b, severity: low, title: t, why: w, fix: f, references: [r], \
             expect: {{file: {{path: '{bad}', mode: '0600'}}}}}}"
        );
        assert!(parse_rules(&text).is_err(), "{bad}");
    }
    assert!(parse_rules("- {expect: {file: {path: /a, mode: 0600}}}").is_err());
}
