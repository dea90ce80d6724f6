use super::*;

const OWN: &str = r#"
- id: site.swap
  severity: low
  title: Swap is off
  why: Because this site says so.
  fix: Turn it off.
  references: [swapoff(8)]
  expect: { fact: { path: host.swap, is: empty } }
"#;

fn ids(profile: &Profile) -> Vec<&str> {
    profile.rules().iter().map(|rule| rule.id().as_str()).collect()
}

fn own_rules() -> String {
    OWN.lines().map(|line| format!("  {line}\n")).collect()
}

#[test]
fn the_built_in_profile_holds_every_built_in_rule() {
    let profile = Profile::built_in();
    assert_eq!(profile.name(), "node");
    assert_eq!(profile.rules().len(), catalogue::rules().unwrap().len());
    assert!(profile.interest().sysctls.contains("kernel.kptr_restrict"));
    assert!(profile.interest().files.contains("${kubelet.flags.config}"));
    assert_eq!(profile.digest(), Profile::built_in().digest());
}

#[test]
fn a_profile_inherits_includes_excludes_and_overrides() {
    let parent = Profile::parse(
        "{name: parent, include: [{rules: [sysctl.kptr-restrict, kubelet.*]}], \
         exclude: [{areas: [kubelet], severities: [critical]}]}",
    )
    .unwrap();
    assert!(ids(&parent).contains(&"sysctl.kptr-restrict"));
    assert!(ids(&parent).contains(&"kubelet.streaming-idle-timeout"));
    assert!(!ids(&parent).contains(&"kubelet.anonymous-auth"));

    let child = format!(
        "name: child\ninherits: parent\nexclude: [{{areas: [kubelet]}}]\noverrides:\n\
         - {{rule: sysctl.kptr-restrict, severity: high, expect: {{at_least: null, equals: 2}}}}\n\
         rules:\n{}",
        own_rules()
    );
    let child = Profile::load(&child, std::slice::from_ref(&parent)).unwrap();
    assert_eq!(ids(&child), ["site.swap", "sysctl.kptr-restrict"]);
    let rule = child.rules().last().unwrap();
    assert_eq!(rule.severity(), Severity::High);
    assert_eq!(
        rule.entry().expect,
        *serde_json::json!({"sysctl": {"key": "kernel.kptr_restrict", "equals": 2}})
            .as_object()
            .unwrap()
    );
    assert_ne!(child.digest(), parent.digest());
}

#[test]
fn the_digest_is_of_what_the_rules_say_and_not_of_how_it_is_written() {
    let digest = |text: &str| Profile::parse(text).unwrap().digest();
    let one = digest("{name: a, include: [{rules: [sysctl.kptr-restrict]}]}");
    let same = digest("include:\n- rules: [\"sysctl.kptr-*\"]\nname: a");
    assert_eq!(one, same);
    let stricter = digest(
        "{name: a, include: [{rules: [sysctl.kptr-restrict]}], \
         overrides: [{rule: sysctl.kptr-restrict, expect: {at_least: 2}}]}",
    );
    assert_ne!(one, stricter);
}

#[test]
fn what_has_no_effect_is_a_mistake() {
    for bad in [
        "{name: A, include: [{rules: ['*']}]}",
        "{name: a, inherits: nobody}",
        "{name: a, include: [{rules: [sysctl.no-such]}]}",
        "{name: a, include: [{}]}",
        "{name: a, inherits: node, exclude: [{areas: [no-such]}]}",
        "{name: a, inherits: node, overrides: [{rule: no.such, severity: low}]}",
        "{name: a, inherits: node, overrides: [{rule: sysctl.kptr-restrict, expect: {x: 1}}]}",
        "{name: a, inherits: node, include: [{rules: ['*'], id: x}]}",
    ] {
        assert!(Profile::parse(bad).is_err(), "{bad}");
    }
    let taken = own_rules().replace("site.swap", "sysctl.kptr-restrict");
    let taken = Profile::parse(&format!("name: a\nrules:\n{taken}"));
    assert!(matches!(taken, Err(LoadProfileError::Duplicate { .. })), "{taken:?}");
}
