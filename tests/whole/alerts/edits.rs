//! What somebody edited: it is told as one message, whatever it makes of how many nodes, and nothing is
//! done because of it. `make alert-edits` does it with 5,000 nodes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use hyper::Method;
use hyper::body::Bytes;
use palisade_report::Report;
use palisade_report::wire::CanReboot;
use palisade_report::wire::HoldFile;
use palisade_report::wire::RebooterState;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::http::Client;
use palisade_tests::process::Collector;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use palisade_tests::receiver::Request;
use palisade_tests::wait;
use palisade_tests::worker;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::storm::PATIENCE;
use super::storm::runtime;
use super::storm::say;

/// Nodes without a word to the contrary in `PALISADE_EDITED`.
const NODES: usize = 500;

/// Nothing is told of a file that is bad on every node.
const LENIENT: &str =
    "name: site\ninclude:\n  - rules: [\"*\"]\nexclude:\n  - rules: [file.shadow]\n";

/// It is told of; another one becomes critical, a threshold is changed, and each node is to reboot that has
/// no reason to.
const STRICT: &str = "name: site\ninclude:\n  - rules: [\"*\"]\noverrides:\n\
    - {rule: file.passwd, severity: critical}\n\
    - {rule: certificate.kubelet-expiry, expect: {warning: {life_percent: 99}}}\n\
    - {rule: reboot.needed, expect: {one_of: [reboot]}}\n";

/// All that may be rebooted is, at once.
const AUTO: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
    cluster: {maxUnavailable: 100%}\npools:\n- name: all\n  selector: {}\n  mode: auto\n  \
    maxUnavailable: 100%\n  stable: 0s\n  soak: 0s\n";

/// What waits for a person, and is overdue in a month.
const APPROVE: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
    pools:\n- name: all\n  selector: {}\n  mode: approve\n  mustBy: 30d\n";

/// A collector that coordinates reboots and tells of everything at once.
struct Bench {
    files: Directory,
    hook: Receiver,
    collector: Option<Collector>,
    address: SocketAddr,
    runtime: Runtime,
}

impl Bench {
    fn start(profile: &str, policy: &str) -> Self {
        let hook = Receiver::start(Plan::kind());
        let files = Directory::new("edits");
        let at_once =
            ["HardeningRegressed", "RebootOverdue", "RebootPolicyChanged", "RulesChanged"];
        let at_once = at_once.map(|it| format!("{{ alert: {it}, for: 0s, keep: 0s }}")).join(", ");
        files.write(
            "/alerts.yaml",
            format!(
                "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\ncluster: edits\n\
                 egress: {{ allow: [127.0.0.0/8] }}\nalerts: [{at_once}]\n\
                 defaults: {{ groupWait: 1s, groupInterval: 1s, repeatInterval: 1d }}\n\
                 receivers:\n  - {{ name: hook, webhook: {{ url: \"{}\" }} }}\nfallback: [hook]\n",
                hook.url("/hook")
            ),
        );
        files.write("/profile.yaml", profile);
        files.write("/policy.yaml", policy);
        let address = "127.0.0.1:0".parse().expect("an address");
        let mut bench = Self { files, hook, collector: None, address, runtime: runtime() };
        bench.again();
        bench
    }

    /// Starts the collector over the same store, in place of the one that runs.
    fn again(&mut self) {
        if let Some(collector) = self.collector.take() {
            collector.process.terminate();
        }
        let file = |name: &str| self.files.path().join(name).display().to_string();
        let (alerts, profile, policy) =
            (file("alerts.yaml"), file("profile.yaml"), file("policy.yaml"));
        let more = ["--alerts", &alerts, "--profile", &profile, "--reboot-policy", &policy];
        let more: Vec<&str> =
            more.into_iter().chain(["--interval", "60", "--silent-after", "86400"]).collect();
        let state = self.files.path().join("state");
        let collector = Collector::start_at(&self.address.to_string(), &state, &more);
        self.address = collector.address;
        self.collector = Some(collector);
    }

    fn say(&self, nodes: Vec<Node>, report: &Report) -> Vec<Node> {
        say(&self.runtime, self.collector.as_ref().expect("a collector"), nodes, report)
    }

    fn get(&self, path: &str) -> Value {
        let mut client = Client::new(self.address);
        let answer = client.send(Method::GET, path, &[], Bytes::new());
        self.runtime.block_on(answer).expect("an answer").json()
    }

    /// Waits until so many alerts of a kind are told of, and returns them by their subjects, each with
    /// how often it was told.
    fn told(&self, what: &str, alert: &str, count: usize) -> BTreeMap<String, (usize, Told)> {
        self.hook.until(what, PATIENCE, |seen| {
            let told = told(seen, alert, "firing");
            (told.len() >= count).then_some(told)
        })
    }

    /// Nothing was begun, granted or done to any node.
    fn assert_idle(&self) {
        let requests = self.get("/v1/reboots");
        assert_eq!(requests["reboots"].as_array().map(Vec::len), Some(0), "{requests}");
        for kind in ["reboot", "grant-issued", "grant-answered"] {
            let audit = self.get(&format!("/v1/audit?kind={kind}"));
            assert_eq!(audit["entries"].as_array().map(Vec::len), Some(0), "{audit}");
        }
    }

    /// The coordinator has come to this verdict about so many nodes.
    fn until_planned(&self, count: usize, verdict: &str) {
        wait::until("the whole fleet is planned", PATIENCE, || {
            let plan = self.get("/v1/plan");
            let counted = plan["counts"][verdict].as_u64();
            if counted == u64::try_from(count).ok() {
                Ok(())
            } else {
                Err(plan["counts"].to_string())
            }
        });
    }
}

/// What a message says of an alert.
#[derive(Clone, Debug)]
struct Told {
    severity: String,
    summary: String,
}

/// Alerts of this name and status by subject and node, each with how often it was told.
fn told(requests: &[Request], alert: &str, status: &str) -> BTreeMap<String, (usize, Told)> {
    let mut all: BTreeMap<String, (usize, Told)> = BTreeMap::new();
    let name = format!("Palisade{alert}");
    for webhook in requests.iter().filter(|it| it.is_taken()).map(Request::webhook) {
        for it in webhook.alerts {
            let label = |name: &str| it.labels.get(name).cloned().unwrap_or_default();
            if label("alertname") != name || it.status != status {
                continue;
            }
            let told = Told {
                severity: label("severity"),
                summary: it.annotations.get("summary").cloned().unwrap_or_default(),
            };
            let about = format!("{} {}", label("node"), label("subject"));
            all.entry(about.trim().to_owned()).or_insert((0, told)).0 += 1;
        }
    }
    all
}

fn bad(paths: &[&str], reboot: bool) -> Report {
    let root = Directory::new("edited-node");
    worker::write(&root, 0);
    paths.iter().for_each(|path| worker::set_mode(root.path(), path, 0o666));
    if reboot {
        root.write("/run/reboot-required", "");
    }
    worker::inspect(root.path())
}

fn nodes(report: &Report) -> Vec<Node> {
    let count = std::env::var("PALISADE_EDITED").ok();
    let count = count.map_or(NODES, |count| count.parse().expect("a number of nodes"));
    let mut nodes = fleet::nodes(std::slice::from_ref(report), count);
    for node in &mut nodes {
        // All that a reboot takes.
        node.rebooter = Some(RebooterState { can: CanReboot::Signal, hold: HoldFile::Absent });
        node.booted = Some(Instant::now());
    }
    nodes
}

#[test]
fn other_rules_are_told_once_and_nothing_is_done_because_of_them() {
    let mut bench = Bench::start(LENIENT, AUTO);
    let before = bad(&["/etc/shadow", "/etc/passwd"], false);
    let nodes = nodes(&before);
    let count = nodes.len();
    let nodes = bench.say(nodes, &before);
    bench.until_planned(count, "not-needed");

    bench.files.write("/profile.yaml", STRICT);
    bench.again();
    bench.until_planned(count, "not-needed");
    let summaries = bench.told("the edit is told", "RulesChanged", 4);
    let expected = [
        ("CertificateRotationStuck", "warning"),
        ("RebootRequired", "info"),
        ("SecurityFinding", "critical"),
        ("checks", "info"),
    ];
    assert_eq!(summaries.len(), expected.len(), "{summaries:#?}");
    for ((about, (times, told)), (alert, severity)) in summaries.iter().zip(expected) {
        assert!(about.starts_with(alert), "{about}");
        assert_eq!((*times, &*told.severity), (1, severity), "{told:?}");
        assert!(told.summary.contains(&format!("{count} nodes fail 1 rules")), "{told:?}");
    }

    // The coordinator has heard everybody under the other rules, and nobody was told of a node.
    let nodes = bench.say(nodes, &before);
    bench.until_planned(count, "not-needed");
    let of_nodes = |bench: &Bench| {
        let seen = bench.hook.seen();
        ["CertificateRotationStuck", "HardeningRegressed", "RebootRequired", "SecurityFinding"]
            .map(|alert| told(&seen, alert, "firing").into_keys().collect::<Vec<_>>())
    };
    assert_eq!(of_nodes(&bench).concat(), Vec::<String>::new());
    bench.assert_idle();

    // What a node makes of it by itself is told by node, and the edit is not told again.
    let mut nodes = nodes;
    let one = nodes.pop().expect("a node");
    let name = one.name.clone();
    let worse = bad(&["/etc/shadow", "/etc/passwd", "/etc/group"], false);
    bench.say(vec![one], &worse);
    let regressed = bench.told("its own regression is told", "HardeningRegressed", 1);
    assert_eq!(regressed.keys().collect::<Vec<_>>(), [&format!("{name} file.group /etc/group")]);

    // Without the edit each summary is over, once, and the regression goes on.
    bench.files.write("/profile.yaml", LENIENT);
    bench.again();
    let ended = bench.hook.until("the summaries are over", PATIENCE, |seen| {
        let ended = told(seen, "RulesChanged", "resolved");
        (ended.len() >= expected.len()).then_some(ended)
    });
    assert!(ended.values().all(|(times, _)| *times == 1), "{ended:#?}");
    let seen = bench.hook.seen();
    assert_eq!(told(&seen, "RulesChanged", "firing").len(), expected.len());
    assert_eq!(told(&seen, "HardeningRegressed", "resolved").len(), 0);
    bench.assert_idle();
    println!("{count} nodes: {} messages in all", seen.len());
}

#[test]
fn another_policy_of_reboots_is_told_once_and_nothing_is_done_because_of_it() {
    let bench = Bench::start(LENIENT, APPROVE);
    let needy = bad(&[], true);
    let nodes = nodes(&needy);
    let count = nodes.len();
    let nodes = bench.say(nodes, &needy);
    bench.until_planned(count, "waits");

    bench.files.write("/policy.yaml", APPROVE.replace("30d", "1s"));
    let summaries = bench.told("the edit is told", "RebootPolicyChanged", 1);
    let (_, (times, told_of)) = summaries.first_key_value().expect("a summary");
    assert_eq!((*times, &*told_of.severity), (1, "warning"), "{told_of:?}");
    assert!(told_of.summary.contains(&format!("{count} nodes raise RebootOverdue")), "{told_of:?}");
    bench.say(nodes, &needy);
    bench.assert_idle();

    // Taken back, it is over. Nobody was told of a node.
    bench.files.write("/policy.yaml", APPROVE);
    bench.hook.until("the summary is over", PATIENCE, |seen| {
        let ended = told(seen, "RebootPolicyChanged", "resolved");
        (!ended.is_empty()).then_some(())
    });
    let seen = bench.hook.seen();
    assert_eq!(told(&seen, "RebootPolicyChanged", "firing").len(), 1);
    assert_eq!(told(&seen, "RebootOverdue", "firing").len(), 0);
    println!("{count} nodes: {} messages in all", seen.len());
}
