//! What a real Prometheus says of its alerts, and what the gates of nodes make of it.

use palisade_collector::alerts::Firing;
use palisade_collector::alerts::Question;
use palisade_collector::alerts::ask;
use palisade_collector::chain::Chain;
use palisade_plan::policy::Policy;
use palisade_tests::cluster::prometheus::Figures;
use palisade_tests::cluster::prometheus::Prometheus;
use palisade_tests::wait;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;

/// One that fires at once, one that is pending for long, one that is so from the start, one that nobody
/// asks for.
const RULES: &str = r#"groups:
- name: disks
  rules:
  - {alert: DiskFails, expr: disk_fails == 1, labels: {severity: critical}}
  - {alert: DiskFills, expr: disk_fills == 1, for: 1d, labels: {severity: critical}}
  - {alert: Early, expr: vector(1), for: 1d, labels: {severity: unknown}}
  - {alert: Chatter, expr: vector(1), labels: {severity: warning}}
"#;

/// Nobody has evaluated them before the test is over.
const RARE: &str =
    "groups: [{name: rare, interval: 1d, rules: [{alert: Rare, expr: vector(1)}]}]\n";

/// What Prometheus answers to a gate like this; or why nothing can be known.
fn told(prometheus: &Prometheus, gate: &str) -> Result<Firing, String> {
    let source = format!("cluster: {{alertSource: {{prometheus: \"{}\"}}}}", prometheus.url());
    let policy = HURRIED.replace("cluster: {maxUnavailable: 1}", &source);
    let policy = Policy::parse(&format!("{policy}  alerts: {gate}\n")).expect("a policy");
    let question = Question::from(policy.pools[0].alerts.as_ref().expect("a gate"));
    let source = policy.cluster.alert_source.as_ref().expect("a source");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let told = runtime.expect("a runtime").block_on(ask(source, &question));
    told.map_err(|error| format!("{} ({:?})", Chain(&error), error.said()))
}

/// Waits until it answers so.
fn until_told(prometheus: &Prometheus, gate: &str, words: &str) {
    wait::until(&format!("{gate}: {words}"), WITHIN, || {
        let shown = told(prometheus, gate).map_or_else(|error| error, |firing| firing.shown);
        // Nothing fires: no words.
        let is_so = if words.is_empty() { shown.is_empty() } else { shown.contains(words) };
        if is_so { Ok(()) } else { Err(shown) }
    });
}

const CRITICAL: &str = r#"{matchers: ['severity="critical"']}"#;

#[test]
fn what_a_real_prometheus_says_is_known_once_it_is_and_odd_labels_and_thousands_change_nothing() {
    let figures =
        Figures::show("disk_fails{device=\"say \\\"hi\\\" \\\\o\",\"gerät.name\"=\"x\"} 1\n");
    let mut prometheus = Prometheus::start(&figures.scraped(), RULES);
    // As long as it has not looked at its rules some times, it says that nothing fires.
    let odd = "say \"hi\" \\o";
    until_told(&prometheus, CRITICAL, odd);
    until_told(&prometheus, r#"{matchers: ['device=~"say \"hi\" \\\\."']}"#, odd);
    let nobody = Ok(Firing::default());
    assert_eq!(told(&prometheus, r#"{matchers: ['device="say hi"']}"#), nobody);
    let refused = told(&prometheus, r#"{matchers: ['device=~"("']}"#).unwrap_err();
    assert!(refused.contains("failed with status 400"), "{refused}");

    // What is pending since the start may have fired before; what is so later is only pending.
    until_told(&prometheus, r#"{matchers: ['alertname="Early"']}"#, "Early{");
    let fills = r#"{matchers: ['alertname="DiskFills"']}"#;
    figures.say("disk_fails 1\ndisk_fills 1\n");
    let pending = r#"{matchers: ['alertname="DiskFills"'], pending: block}"#;
    until_told(&prometheus, pending, "DiskFills{");
    assert_eq!(told(&prometheus, fills), nobody);

    // It does not know them before a day has passed; dead and alive again, neither.
    prometheus.say_rules(RARE);
    let early = "it has evaluated its rules too few times since ";
    until_told(&prometheus, CRITICAL, early);
    prometheus.stop();
    until_told(&prometheus, CRITICAL, "failed to connect");
    prometheus.restart();
    until_told(&prometheus, CRITICAL, early);

    // Thousands are counted, and more than anybody needs are none.
    let many = |letters: usize| {
        let why = "z".repeat(letters);
        let rule = format!("{{alert: Many, expr: many == 1, labels: {{why: {why}}}}}");
        prometheus.say_rules(&format!("groups: [{{name: many, rules: [{rule}]}}]\n"));
    };
    figures.say(&(0..5_000).map(|at| format!("many{{n=\"{at:04}\"}} 1\n")).collect::<String>());
    // By name: what a Prometheus that was killed has last said of others still counts for five minutes.
    let named = r#"{matchers: ['alertname="Many"']}"#;
    many(1);
    until_told(&prometheus, named, "\", n=\"0002\", why=\"z\"} and 4997 more");
    many(900);
    until_told(&prometheus, named, "failed to read an answer of more than 4194304 bytes");
}

#[test]
fn a_prometheus_that_hears_only_a_part_says_so_and_is_not_believed() {
    // Port 1 of the loopback: nobody is there.
    let part = "remote_read: [{url: 'http://127.0.0.1:1/', read_recent: true}]\n";
    let prometheus = Prometheus::start(part, RULES);
    prometheus.until_says("/api/v1/query?query=ALERTS", "warnings");
    until_told(&prometheus, "{}", "it warns that this is not all: remote_read: ");
}

/// Two pools by label, which ask this Prometheus in ways of their own, and one that does not ask.
fn pools(prometheus: &Prometheus) -> String {
    let source = format!("alertSource: {{prometheus: \"{}\"}}", prometheus.url());
    let cluster = format!("cluster: {{maxUnavailable: 1, {source}}}");
    let policy = HURRIED.replace("cluster: {maxUnavailable: 1}", &cluster);
    let (head, pool) = policy.split_once("- name: all").expect("a pool");
    let pool = |name: &str, more: &str| {
        let select = format!("selector: {{matchLabels: {{pool: {name}}}}}");
        let pool = pool.replace("selector: {}", &select);
        format!("- name: {name}{pool}{more}")
    };
    let firing = format!("  alerts: {CRITICAL}\n");
    let pending = r#"  alerts: {matchers: ['alertname=~"DiskFill.*"'], pending: block}"#;
    let pending = format!("{pending}\n");
    [head, &pool("a", &firing), &pool("b", &pending), &pool("c", "")].concat()
}

#[test]
fn scenario_42_alerts_of_prometheus_shut_the_gates_of_their_pools_and_so_does_its_start() {
    let bench = Bench::start(3);
    for (node, pool) in [("node-0", "pool=a"), ("node-1", "pool=b"), ("node-2", "pool=c")] {
        bench.cluster.kubectl(&["label", "node", node, pool]);
    }
    let figures = Figures::show("disk_fails 1\n");
    let mut prometheus = Prometheus::start(&figures.scraped(), RULES);
    // What is pending from now on cannot have fired before.
    until_told(&prometheus, CRITICAL, "DiskFails");
    figures.say("disk_fails 1\ndisk_fills 1\n");
    until_told(&prometheus, "{pending: block}", "DiskFills");
    let collector = bench.collector("one", &pools(&prometheus));
    let viewer = bench.person("viewer", &collector);
    let agents = bench.live(&collector);
    for node in ["node-0", "node-1", "node-2"] {
        agents.need_reboot(node);
    }
    // Whoever does not ask goes its way.
    bench.until_rebooted(&collector, &agents, &["node-2"]);
    viewer.until_planned(&["node-0", "node-1"]);
    let seen = |node| viewer.sees_shut(node, "alert").expect("a shut gate");
    viewer.until_shut("node-0", "alert", "DiskFails{");
    viewer.until_shut("node-1", "alert", "DiskFills{");
    assert!(!seen("node-0").contains("DiskFills"), "{}", seen("node-0"));
    assert!(seen("node-1").contains("(pending) (asked every"), "{}", seen("node-1"));
    bench.until_no_requests(&collector);
    assert_eq!(agents.reboots(), ["node-2"], "{}", bench.summary(&collector));

    // One resolves, the other is still pending.
    figures.say("disk_fails 0\ndisk_fills 1\n");
    bench.until_rebooted(&collector, &agents, &["node-2", "node-0"]);
    viewer.until_shut("node-1", "alert", "DiskFills{");

    // It comes back, with no disk of its own, and knows nothing yet; then it does.
    prometheus.stop();
    figures.say("disk_fails 0\ndisk_fills 0\n");
    prometheus.say_rules(RARE);
    prometheus.forget();
    prometheus.restart();
    let early = "what fires cannot be told: failed to learn what fires from Prometheus at http://";
    viewer.until_shut("node-1", "alert", early);
    assert_eq!(agents.reboots(), ["node-2", "node-0"], "{}", bench.summary(&collector));
    prometheus.say_rules(RULES);
    bench.until_rebooted(&collector, &agents, &["node-2", "node-0", "node-1"]);
}
