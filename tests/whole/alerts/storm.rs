//! A whole fleet that turns red at once: few messages, none larger than its receiver takes, and an
//! engine that goes on as before. `make alert-storm` does it with 100,000 nodes.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use palisade_report::Report;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::process::Collector;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use palisade_tests::receiver::Request;
use palisade_tests::receiver::webhook::Webhook;
use palisade_tests::worker;
use tokio::runtime::Runtime;

/// How long anything may take that must come in the end.
pub(super) const PATIENCE: Duration = Duration::from_secs(1800);

/// Alerts that the book of a collector has room for; the others are counted.
const ROOM: usize = palisade_alert::book::MAX_RECORDS;

/// Alerts beside those of the storm that may have room in the book: of the collector itself.
const OTHERS: usize = 50;

/// What is bad on a red node; each is an alert.
const BAD: [&str; 3] = ["/etc/shadow", "/etc/passwd", "/etc/group"];

/// Seconds for which a group waits before a message: critical news waits for nothing else.
const WAIT_SECS: u64 = 1;

/// Bytes of memory that an alert may take at most, with what three receivers know of it, and while it
/// is written and told.
const MAX_PER_ALERT: u64 = 5 * 1024;

/// Bytes that anything else may take meanwhile, the sections of changed nodes among them.
const MAX_BESIDES: u64 = 192 * 1024 * 1024;

/// What each receiver takes at most: documented or stated (256 KB for webhooks, 1 MiB for a batch).
const MAX_WEBHOOK: usize = 256 * 1024;
const MAX_BATCH: usize = 1024 * 1024;
const MAX_SLACK: usize = 40_000;

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(super) fn report(bad: &[&str]) -> Report {
    let root = Directory::new("storm-node");
    worker::write(&root, 0);
    bad.iter().for_each(|path| worker::set_mode(root.path(), path, 0o666));
    worker::inspect(root.path())
}

pub(super) fn settings(state: &Directory, receivers: &str, names: &str) -> String {
    state.write(
        "alerts.yaml",
        format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\ncluster: storm\n\
             egress: {{ allow: [127.0.0.0/8] }}\n\
             alerts: [{{ alert: HardeningRegressed, for: 0s, keep: 0s }}]\n\
             defaults: {{ groupWait: {WAIT_SECS}s, groupInterval: 5s, repeatInterval: 1d }}\n\
             receivers:\n{receivers}fallback: [{names}]\n"
        ),
    );
    state.path().join("alerts.yaml").display().to_string()
}

/// Every node says this, and the collector has taken it.
pub(super) fn say(
    runtime: &Runtime,
    collector: &Collector,
    nodes: Vec<Node>,
    report: &Report,
) -> Vec<Node> {
    let changed = nodes.into_iter().map(|mut node| {
        node.change(report);
        node
    });
    runtime.block_on(fleet::settle(collector.address, changed.collect(), 400)).0
}

pub(super) fn about(requests: &[Request], alert: &str) -> Vec<Webhook> {
    let name = format!("Palisade{alert}");
    let named = |it: &Webhook| it.common_labels.get("alertname") == Some(&name);
    requests.iter().filter(|it| it.is_taken()).map(Request::webhook).filter(named).collect()
}

/// Alerts of the one that is asked for that a receiver was told of last, and those of them that ended.
fn told(webhooks: &[Webhook]) -> usize {
    let last = webhooks.last();
    last.map_or(0, |it| it.alerts.len() + usize::try_from(it.truncated_alerts).expect("a count"))
}

#[test]
fn a_fleet_that_turns_red_is_a_few_bounded_messages_and_its_agents_are_heard() {
    let count = std::env::var("PALISADE_STORM").ok();
    let count: usize = count.map_or(300, |count| count.parse().expect("a number of nodes"));
    let found = count * BAD.len();
    let alerts = found.min(ROOM - OTHERS);
    let [hook, slack, am] = [(); 3].map(|()| Receiver::start(Plan::kind()));
    let receivers = format!(
        "  - {{ name: hook, webhook: {{ url: \"{}\" }} }}\n  - {{ name: chat, slack: {{ url: \"{}\" }} }}\n  \
         - {{ name: am, alertmanager: {{ urls: [\"{}\"] }} }}\n",
        hook.url("/hook"),
        slack.url("/services/a/b/c"),
        am.url(""),
    );
    let state = Directory::new("storm");
    let settings = settings(&state, &receivers, "hook, chat, am");
    let more = ["--alerts", &settings, "--interval", "3600", "--silent-after", "86400"];
    let began = Instant::now();
    let collector = Collector::start(state.path(), &more);
    let runtime = runtime();
    let good = report(&[]);
    let nodes = fleet::nodes(std::slice::from_ref(&good), count);
    let nodes = say(&runtime, &collector, nodes, &good);
    let before = collector.process.memory_kib("VmHWM");
    let turned = Instant::now();
    let nodes = say(&runtime, &collector, nodes, &report(&BAD));
    let red_after = turned.elapsed();

    // Told in full: those that a message shows, and those that it counts.
    hook.until("all of them are told", PATIENCE, |seen| {
        (told(&about(seen, "HardeningRegressed")) >= alerts).then_some(())
    });
    let told_after = turned.elapsed();
    if found > ROOM {
        hook.until("it is told that there is no room for all", PATIENCE, |seen| {
            let of_room =
                |it: &Webhook| it.alerts.iter().any(|it| it.labels["subject"] == "alert-book");
            about(seen, "NotifierFailing").iter().any(of_room).then_some(())
        });
    }
    let batches = am.until("Alertmanager knows of the many", PATIENCE, |seen| {
        let bodies: Vec<serde_json::Value> = seen.iter().map(Request::json).collect();
        let text = |body: &serde_json::Value| body.to_string().contains("more of Palisade");
        (alerts <= 200 || bodies.iter().any(text)).then_some(bodies)
    });
    slack.until("the chat is told", PATIENCE, |seen| (!seen.is_empty()).then_some(()));
    let most = batches.iter().filter_map(|body| body.as_array()).map(Vec::len).max();
    assert!(most.expect("a batch") <= 1000, "{most:?} alerts in a batch");
    // The engine takes what agents say as before, and it is told that all is well.
    let nodes = say(&runtime, &collector, nodes, &good);
    assert_eq!(nodes.len(), count);
    hook.until("all of them are over", PATIENCE, |seen| {
        let webhooks = about(seen, "HardeningRegressed");
        webhooks.last().is_some_and(|it| it.status == "resolved").then_some(())
    });
    let waits = began.elapsed().as_secs() / WAIT_SECS + 2;
    let groups: BTreeSet<String> = hook.seen().iter().map(|it| it.webhook().group_key).collect();
    let few = usize::try_from(waits).expect("a number") * groups.len();
    for (receiver, largest) in [(&hook, MAX_WEBHOOK), (&slack, MAX_SLACK), (&am, MAX_BATCH)] {
        let taken = receiver.taken();
        let body = taken.iter().map(|it| it.body.len()).max().expect("a message");
        assert!(body <= largest, "{body} bytes of {largest}");
        assert!(taken.len() <= few, "{} messages, {few} waits", taken.len());
    }
    let most = before * 1024 + MAX_BESIDES + MAX_PER_ALERT * alerts as u64;
    let peak = collector.process.memory_kib("VmHWM") * 1024;
    println!(
        "{count} nodes red after {red_after:.0?}, {alerts} alerts told after {told_after:.0?}: {} messages to a \
         webhook, {} to a chat, {} to an Alertmanager; peak {} MiB after {} MiB, {} bytes for each alert",
        hook.taken().len(),
        slack.taken().len(),
        am.taken().len(),
        peak >> 20,
        before >> 10,
        (peak - before * 1024) / alerts as u64,
    );
    assert!(peak <= most, "{peak} bytes of {most}");
}
