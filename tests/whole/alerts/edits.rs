//! What somebody edited: it is told as one message, whatever it makes of how many nodes, and nothing is
//! done because of it.

use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::process::Collector;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;

use super::storm::PATIENCE;
use super::storm::about;
use super::storm::report;
use super::storm::runtime;
use super::storm::say;
use super::storm::settings;

#[test]
fn other_rules_are_told_once_and_nothing_is_done_because_of_them() {
    let count = 60;
    let hook = Receiver::start(Plan::kind());
    let receivers =
        format!("  - {{ name: hook, webhook: {{ url: \"{}\" }} }}\n", hook.url("/hook"));
    let state = Directory::new("other-rules");
    let settings = settings(&state, &receivers, "hook");
    // Nothing is expected of two files that are bad on every node.
    state.write(
        "profile.yaml",
        "name: lenient\ninclude:\n  - rules: [\"*\"]\nexclude:\n  - rules: [file.shadow]\n",
    );
    let profile = state.path().join("profile.yaml").display().to_string();
    let more = ["--alerts", &settings, "--interval", "3600", "--silent-after", "86400"];
    let lenient: Vec<&str> = more.iter().copied().chain(["--profile", &profile]).collect();
    let collector = Collector::start(state.path(), &lenient);
    let runtime = runtime();
    let bad = report(&["/etc/shadow"]);
    let nodes = fleet::nodes(std::slice::from_ref(&bad), count);
    let nodes = say(&runtime, &collector, nodes, &bad);
    assert_eq!(nodes.len(), count);
    collector.process.terminate();
    let _collector = Collector::start(state.path(), &more);
    let told = hook.until("the edit is told", PATIENCE, |seen| {
        let webhooks = about(seen, "HardeningRulesChanged");
        (!webhooks.is_empty()).then_some(webhooks)
    });
    let [told] = told.as_slice() else { panic!("once: {told:?}") };
    let summary = &told.alerts[0].annotations["summary"];
    assert!(summary.contains(&format!("{count} nodes fail 1 ")), "{summary}");
    let regressed = about(&hook.seen(), "HardeningRegressed");
    assert!(regressed.is_empty(), "nothing changed on any node: {regressed:?}");
}
