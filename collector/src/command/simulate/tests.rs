use palisade_plan::simulate::START;
use palisade_plan::simulate::invent;

use super::*;

const POLICY: &str = "apiVersion: palisade.dev/v1alpha1
kind: RebootPolicy
cluster: {maxUnavailable: 3}
pools:
- {name: web, selector: {matchLabels: {pool: web}}, mode: auto, maxUnavailable: 2, zonesAtOnce: 0}
- {name: db, selector: {matchLabels: {pool: db}}, mode: auto}
";

/// A directory with a policy and a snapshot of forty nodes.
fn files(name: &str) -> (PathBuf, Simulate) {
    let directory = std::env::temp_dir().join(format!("palisade-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (policy, snapshot) = (directory.join("policy.yaml"), directory.join("fleet.json"));
    fs::write(&policy, POLICY).unwrap();
    let (fleet, _) = invent(7, 40);
    fs::write(&snapshot, serde_json::to_vec(&Snapshot { at: START, fleet }).unwrap()).unwrap();
    let asked = Simulate {
        policy,
        snapshot,
        seed: 1,
        seeds: 1,
        faults: Profile::None,
        assertions: Vec::new(),
        at_most: None,
        of: None,
        finish_within: None,
        quiet: false,
    };
    (directory, asked)
}

fn said(asked: &Simulate) -> (String, bool) {
    let mut out = Vec::new();
    let code = run(asked, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), code == ExitCode::SUCCESS)
}

#[test]
fn a_run_tells_what_happened_and_the_same_seed_tells_it_again() {
    let (directory, mut asked) = files("simulate");
    asked.faults = Profile::All;
    let (first, _) = said(&asked);
    assert_eq!(said(&asked).0, first);
    assert!(first.contains("Rebooting -> Booted"), "{first}");
    assert!(first.contains("law  1: checked "), "{first}");
    asked.seed = 2;
    assert_ne!(said(&asked).0, first);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_assertion_that_does_not_hold_is_told_and_ends_with_1() {
    let (directory, mut asked) = files("assert");
    asked.assertions = vec![String::from("at-most 2 of pool=web")];
    let (held, fine) = said(&asked);
    assert!(fine, "{held}");
    asked.at_most = Some(0);
    asked.of = Some(String::from("pool=web"));
    asked.finish_within = Some(String::from("1m"));
    let (broken, fine) = said(&asked);
    assert!(!fine, "{broken}");
    assert!(broken.contains("at-most 0 of pool=web did not hold"), "{broken}");
    assert!(broken.contains("finish-within 60s did not hold"), "{broken}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn nonsense_is_refused_with_line_and_reason() {
    let (directory, asked) = files("nonsense");
    fs::write(&asked.policy, POLICY.replace("mode: auto}", "mode: sometimes}")).unwrap();
    let refused = run(&asked, &mut Vec::new()).unwrap_err();
    let refused = crate::chain::Chain(&refused).to_string();
    assert!(refused.contains("line 6"), "{refused}");
    fs::write(&asked.policy, POLICY).unwrap();
    fs::write(&asked.snapshot, "{\n  \"at\": 1,\n  \"fleet\": []\n}").unwrap();
    let refused = run(&asked, &mut Vec::new()).unwrap_err();
    let refused = crate::chain::Chain(&refused).to_string();
    assert!(refused.contains("line 3"), "{refused}");
    fs::remove_dir_all(directory).unwrap();
}
