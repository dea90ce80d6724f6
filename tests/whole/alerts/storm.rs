//! A whole fleet that turns red at once: few messages, none larger than its receiver takes, and an
//! engine that goes on as before. `make alert-storm` does it with 100,000 nodes.

use std::time::Duration;

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

/// Messages that one group may take while a fleet turns red: one each interval.
const FEW: usize = 40;

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
             defaults: {{ groupWait: 1s, groupInterval: 5s, repeatInterval: 1d }}\n\
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

#[test]
fn a_fleet_that_turns_red_is_a_few_bounded_messages_and_its_agents_are_heard() {
    let count = std::env::var("PALISADE_STORM").ok();
    let count: usize = count.map_or(300, |count| count.parse().expect("a number of nodes"));
    let bad = ["/etc/shadow", "/etc/passwd"];
    let alerts = (count * bad.len()).min(ROOM);
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
    let collector = Collector::start(state.path(), &more);
    let runtime = runtime();
    let good = report(&[]);
    let nodes = fleet::nodes(std::slice::from_ref(&good), count);
    let nodes = say(&runtime, &collector, nodes, &good);
    let before = collector.process.memory_kib("VmRSS");
    let nodes = say(&runtime, &collector, nodes, &report(&bad));

    // Told in full: those that a message shows, and those that it counts.
    let told = hook.until("all of them are told", PATIENCE, |seen| {
        let webhooks = about(seen, "HardeningRegressed");
        let last = webhooks.last()?;
        let shown = last.alerts.len() + usize::try_from(last.truncated_alerts).expect("a count");
        (shown >= alerts).then_some(webhooks)
    });
    assert!(told.len() <= FEW, "{} messages", told.len());
    let batches = am.until("Alertmanager knows of the many", PATIENCE, |seen| {
        let bodies: Vec<serde_json::Value> = seen.iter().map(Request::json).collect();
        let text = |body: &serde_json::Value| body.to_string().contains("more of Palisade");
        (alerts <= 200 || bodies.iter().any(text)).then_some(bodies)
    });
    slack.until("the chat is told", PATIENCE, |seen| (!seen.is_empty()).then_some(()));
    for (receiver, most) in [(&hook, MAX_WEBHOOK), (&slack, MAX_SLACK), (&am, MAX_BATCH)] {
        let largest = receiver.taken().iter().map(|it| it.body.len()).max().expect("a message");
        assert!(largest <= most, "{largest} bytes of {most}");
    }
    let most = batches.iter().filter_map(|body| body.as_array()).map(Vec::len).max();
    assert!(most.expect("a batch") <= 1000, "{most:?} alerts in a batch");
    // The engine takes what agents say as before.
    let nodes = say(&runtime, &collector, nodes, &good);
    assert_eq!(nodes.len(), count);
    let after = collector.process.memory_kib("VmHWM");
    println!(
        "{count} nodes, {alerts} alerts: {} messages to a webhook, {} to a chat, {} batches; {} KiB a node more than before",
        told.len(),
        slack.taken().len(),
        batches.len(),
        after.saturating_sub(before) / count as u64,
    );
}
