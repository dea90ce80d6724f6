//! A fleet that lies: a third of all nodes, and then all of them, say at once that they need a reboot,
//! and go on saying so after it. The budget holds, the failure budget ends it, somebody is paged, and
//! each node that waits says what for. `make test` takes sixty nodes, `make liars` a thousand.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::body::Bytes;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::installation::COLLECTOR;
use palisade_tests::fleet::Server;
use palisade_tests::http::Client;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::life::Agents;
use super::life::Conduct;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(900);

/// Agents that one thread lets talk, one after the other.
const SHARE: usize = 125;

/// Between two rounds of heartbeats, for each hundred of nodes: a thousand take ten seconds, a sixth of
/// what real agents take.
const PACE: Duration = Duration::from_secs(1);

/// Failures after which the pool is halted.
const FAILURES: usize = 3;

/// Nodes that may be away at once: more than fail before the pool is halted, so that it is not the
/// budget that ends it.
const LEAST_BUDGET: usize = 2 * FAILURES;

fn fleet_size() -> usize {
    std::env::var("PALISADE_LIARS").map_or(60, |number| number.parse().expect("PALISADE_LIARS"))
}

fn policy(at_once: usize) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\ncluster: {{maxUnavailable: 10%}}\n\
         pools:\n- name: all\n  selector: {{}}\n  mode: auto\n  maxUnavailable: {at_once}\n  \
         stable: 0s\n  soak: 0s\n  minimumInterval: 1s\n  deadlines: {{verify: 3s}}\n  \
         failureBudget: {{failures: {FAILURES}, within: 1d}}\n"
    )
}

/// Somebody who may look at everything.
struct Viewer<'a> {
    bench: &'a Bench,
    collector: &'a Collector,
    token: String,
    /// The token of whoever collects figures.
    scraper: String,
}

impl Viewer<'_> {
    fn text(&self, path: &str) -> String {
        self.ask(path, &self.token)
    }

    fn figures(&self) -> String {
        self.ask("/metrics", &self.scraper)
    }

    fn ask(&self, path: &str, token: &str) -> String {
        let Server { address, trust } = self.bench.cluster.server(self.collector.address);
        let trust = trust.expect("collectors in a cluster speak TLS");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let answer = runtime.expect("a runtime").block_on(async {
            let mut client = Client::new(address).with_trust(&trust).with_token(token);
            client.try_send(Method::GET, path, &[], Bytes::new()).await.expect("an answer")
        });
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).expect("JSON")
    }

    /// The plan with all nodes of a verdict.
    fn plan(&self, verdict: &str) -> Value {
        self.json(&format!("/v1/plan?limit=1000&verdict={verdict}"))
    }

    fn count(&self, verdict: &str) -> u64 {
        self.plan(verdict)["counts"][verdict].as_u64().unwrap_or(0)
    }
}

#[test]
fn a_fleet_that_lies_is_stopped_by_its_budgets_and_each_node_says_why_it_waits() {
    let count = fleet_size();
    let cap = (count / 50).max(LEAST_BUDGET);
    let bench = Bench::quiet(count);
    let collector = bench.collector("one", &policy(cap));
    let token = bench.cluster.person("viewer", "palisade-viewer");
    let scraper = bench.cluster.person("scraper", "palisade-metrics");
    let viewer = Viewer { bench: &bench, collector: &collector, token, scraper };
    let server = bench.cluster.server(collector.address);
    let began = Instant::now();
    let pace = PACE * u32::try_from(count.div_ceil(100)).expect("a fleet");
    let agents: Vec<Agents> = bench
        .nodes
        .chunks(SHARE)
        .map(|nodes| Agents::start_at_pace(&bench.cluster, nodes, server.clone(), pace))
        .collect();
    let each = || {
        bench
            .nodes
            .chunks(SHARE)
            .zip(&agents)
            .flat_map(|(nodes, agents)| nodes.iter().map(move |node| (node.as_str(), agents)))
    };
    wait::until("all nodes are known, and need nothing", WITHIN, || {
        let known = viewer.count("not-needed");
        if known == count as u64 { Ok(()) } else { Err(known) }
    });
    println!("{count} nodes are known after {:?}", began.elapsed());

    for share in [30, 100] {
        let began = Instant::now();
        let before: BTreeSet<String> = rebooted(&agents);
        let lies = |index: usize| index * 100 < count * share;
        for (index, (node, agents)) in each().enumerate() {
            agents.conduct(node, Conduct::KeepsReason);
            if lies(index) {
                agents.need_reboot(node);
            }
        }
        let liars = (0..count).filter(|it| lies(*it)).count();
        release_all(&bench);
        // Whatever was begun is over, nothing new begins, and everybody has been heard.
        let halted = wait::until("the pool is halted", WITHIN, || {
            let states = states(&bench);
            assert!(states.len() <= cap, "more than {cap} in flight: {states:?}");
            let plan = viewer.plan("waits");
            let is_over = states.len() >= FAILURES && states.iter().all(|it| it == "Quarantined");
            let all = plan["nodes"].as_array().expect("nodes").len() + states.len() >= liars;
            let are_halted = plan["nodes"].as_array().expect("nodes").iter().all(is_halted);
            if is_over && all && are_halted && plan["start"] == json!([]) {
                Ok(plan)
            } else {
                Err(format!("{states:?} {}", plan["counts"]))
            }
        });
        let waiting = halted["nodes"].as_array().expect("nodes");
        for node in waiting {
            let reasons = node["waits_for"].as_array().expect("reasons");
            let are_named = reasons.iter().all(|it| {
                it["gate"].is_string() && it["value"].as_str().is_some_and(|it| !it.is_empty())
            });
            assert!(!reasons.is_empty() && are_named, "{node}");
        }
        let after = rebooted(&agents);
        let new = after.difference(&before).count();
        assert!((FAILURES..=cap).contains(&new), "{new} reboots");
        let names = waiting.iter().filter_map(|it| it["name"].as_str());
        let name = { names }.find(|it| !after.contains(*it)).expect("one that did not reboot");
        let explained = viewer.text(&format!("/v1/nodes/{name}/explain?format=text"));
        assert!(explained.contains("> failure-budget"), "{explained}");
        let paged = states(&bench).len();
        page(&viewer, paged);
        let most = most_cordoned(&bench);
        println!(
            "{share} % of {count} lie: {new} of {liars} rebooted, {} wait, each for a named reason; \
             budget {cap}, most cordoned at once {most}; the failure budget of {FAILURES} halts the \
             pool and {paged} nodes page somebody; {} s",
            waiting.len(),
            began.elapsed().as_secs(),
        );
        assert!(most <= cap, "by the API server's record");
        for node in &after {
            let times = agents.iter().flat_map(Agents::reboots).filter(|it| it == node).count();
            assert_eq!(times, 1, "{node} rebooted more than once for one reason");
        }
    }
    let figures = viewer.figures();
    let looks: Vec<&str> =
        figures.lines().filter(|it| it.starts_with("palisade_reboot_look_seconds_")).collect();
    assert!(!looks.is_empty(), "{figures}");
    println!("{looks:?}");
    let [now, most] = ["VmRSS", "VmHWM"].map(|it| collector.process.memory_kib(it) / 1024);
    println!("collector with {count} nodes: {now} MiB, at most {most} MiB");
}

/// Whether a node waits for the failure budget of its pool.
fn is_halted(node: &Value) -> bool {
    let reasons = node["waits_for"].as_array().expect("reasons");
    reasons.iter().any(|it| it["gate"] == "failure-budget")
}

fn rebooted(agents: &[Agents]) -> BTreeSet<String> {
    agents.iter().flat_map(Agents::reboots).collect()
}

/// States of all requests.
fn states(bench: &Bench) -> Vec<String> {
    let state = |it: &Value| it["status"]["state"].as_str().unwrap_or("Needed").to_owned();
    bench.requests().iter().map(state).collect()
}

/// A person has looked at all that failed, mends nothing, and lets it go.
fn release_all(bench: &Bench) {
    let release = json!({ "by": "admin", "at": super::bench::now(), "reason": "once more" });
    for request in bench.requests() {
        let name = request["metadata"]["name"].as_str().expect("a name");
        let path = format!("/apis/palisade.dev/v1alpha1/rebootrequests/{name}");
        bench.cluster.api().must(Call::merge(path, &json!({ "spec": { "release": release } })));
    }
}

/// The figure that pages somebody is there, and the rule that goes by it is in the manifests. Each node
/// that failed bears the alert in the list of reboots, and an Event says it.
fn page(viewer: &Viewer<'_>, failed: usize) {
    const SERIES: &str = "palisade_reboot_alerts{alert=\"NodeQuarantined\"}";
    wait::until("the alert is raised for each", WITHIN, || {
        let figures = viewer.figures();
        let line = figures.lines().find(|it| it.starts_with(SERIES)).unwrap_or_default().to_owned();
        if line == format!("{SERIES} {failed}") { Ok(()) } else { Err(line) }
    });
    let list = viewer.json("/v1/reboots");
    for reboot in list["reboots"].as_array().expect("reboots") {
        let alerts = reboot["alerts"].as_array().expect("alerts");
        assert!(alerts.contains(&json!("NodeQuarantined")), "{reboot}");
        let node = reboot["node"].as_str().expect("a name");
        let events = viewer.bench.events(node);
        assert!(events.iter().any(|it| it == "RebootQuarantined"), "{node}: {events:?}");
    }
    let path = "../manifests/components/monitoring/rules.yaml";
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let rules = std::fs::read_to_string(rules).expect("the rules of the manifests");
    // Each expression is a quoted text of YAML.
    let rules = rules.replace("\\\"", "\"");
    let (_, rule) = rules.split_once(SERIES).expect("a rule about quarantined nodes");
    let rule = rule.split("- alert:").next().expect("a rule");
    assert!(rule.trim_start().starts_with("> 0") || rule.starts_with(") > 0"), "{rule}");
    assert!(rule.contains("severity: critical"), "{rule}");
}

/// The most nodes that bore our cordon at one time, by the API server's own record: the first write of
/// the collector to a node cordons it, and the next one takes that back.
fn most_cordoned(bench: &Bench) -> usize {
    let mut cordoned = BTreeSet::new();
    let mut most = 0;
    for event in bench.cluster.audit_log() {
        let object = &event["objectRef"];
        let is_cordon = event["user"]["username"] == COLLECTOR
            && event["verb"] == "patch"
            && object["resource"] == "nodes"
            && object["subresource"].is_null()
            && event["responseStatus"]["code"] == 200;
        if is_cordon {
            let name = object["name"].to_string();
            if !cordoned.remove(&name) {
                cordoned.insert(name);
            }
            most = most.max(cordoned.len());
        }
    }
    most
}
