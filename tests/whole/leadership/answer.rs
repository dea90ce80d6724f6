//! An API server whose answers are lost, late, or refusals; one that is away; and a node with a wrong
//! clock. Nothing is done twice, nobody is retired, and everything heals without a restart.

use palisade_report::Moment;
use palisade_tests::cluster::proxy::Fault;
use palisade_tests::cluster::proxy::Proxy;
use palisade_tests::cluster::proxy::Rule;
use palisade_tests::cluster::proxy::Seen;
use palisade_tests::wait;

use super::*;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/palisade-system/leases/*";
const SECRET: &str = "/api/v1/namespaces/palisade-system/secrets/palisade-collector-tls";
const TRUST: &str = "/api/v1/namespaces/palisade-system/configmaps/palisade-trust";
const STATUS: &str = "/api/v1/nodes/*/status";

/// A client that repeats requests by itself does so within this time; whoever decides anew takes
/// longer.
const REPEATS_WITHIN: Duration = Duration::from_secs(2);

/// How often the API server is taken away at most until it is seen that agents are served meanwhile.
const OUTAGES: usize = 3;

/// How far the clock of a node is off, in seconds.
const SKEW_SECS: i64 = 2 * 60 * 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_decision_is_one_request_whatever_the_answer() {
    let mut bench = Bench::start();
    let proxy = bench.cluster.proxy();
    let faults = [
        ("PUT", LEASE, vec![Fault::StatusAfter(504), Fault::Status(429), Fault::Status(409)]),
        ("PUT", SECRET, vec![Fault::StatusAfter(504), Fault::Status(409)]),
        ("PUT", TRUST, vec![Fault::Status(409), Fault::StatusAfter(504)]),
        ("PATCH", STATUS, vec![Fault::StatusAfter(504), Fault::Status(429), Fault::Status(409)]),
    ];
    let mut injected = Vec::new();
    for (method, path, faults) in faults {
        for fault in faults {
            let rule = proxy.inject(Rule::new(method, path, fault).times(1));
            injected.push((method, path, fault, rule));
        }
    }
    let kubeconfig = bench.cluster.collector_kubeconfig_through(&proxy);
    let more = ["--lease-seconds", "6", "--serving-name", "127.0.0.1"];
    let collector = bench.collector_with("one", &kubeconfig, &more);
    bench.trust = wait::until("the authorities are published", WITHIN, || {
        bench.cluster.trust().ok_or_else(|| collector.process.log())
    });
    bench.leads(&collector).await;
    let agents = bench.report(&collector, bench.agents(2)).await;
    for node in &agents {
        bench.until_conditions(&collector, &format!("/api/v1/nodes/{}", node.name)).await;
    }
    for (method, path, fault, rule) in injected {
        wait::until("each fault has happened", WITHIN, || match proxy.hits(rule) {
            1 => Ok(()),
            hits => Err(format!(
                "{method} {path} {fault:?}: {hits} hits: {:#?}",
                collector.process.log()
            )),
        });
    }
    // Whoever leads goes on to do so.
    bench.leads(&collector).await;

    let seen = proxy.seen();
    for path in
        ["leases/palisade-collector", "secrets/palisade-collector-tls", "configmaps/palisade-trust"]
    {
        let is_it = |it: &&Seen| without_query(&it.path).ends_with(path);
        let of_it: Vec<_> = seen.iter().filter(is_it).collect();
        let writes = of_it.iter().filter(|it| it.method == "PUT").count();
        println!("{path}: {writes} writes of {} requests", of_it.len());
        assert!(writes >= 2, "two of them failed: {of_it:#?}");
        // What became of a write that failed is read before the next one. Secret and ConfigMap have two
        // keepers, of certificates and of the keys of grants: where both had read, both may write, and the
        // version that was read lets one of them win.
        for (at, pair) in of_it.windows(2).enumerate() {
            let failed = pair[0].method == "PUT" && !pair[0].faults.is_empty();
            if !failed || pair[1].method == "GET" {
                continue;
            }
            let before = of_it[..at].iter().rev().take_while(|it| it.method != "PUT");
            let reads = before.filter(|it| it.method == "GET").count();
            assert!(!path.starts_with("leases") && reads >= 2, "{reads} reads: {pair:#?}");
        }
    }
    not_repeated(&seen);

    // What was carried out though the answer was lost was carried out once: one authority was made,
    // one certificate issued, and nothing but that is in the audit.
    let audit = bench.ask(&collector, "/v1/audit?limit=100").await.expect("an answer").1;
    let made = audit.to_string().matches("an authority was made").count();
    assert!(made <= 1, "{audit}");
    let bundle = bench.cluster.get(TRUST)["data"]["ca.crt"].as_str().expect("a bundle").to_owned();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 1, "{bundle}");
    let log = collector.process.log().join("\n");
    assert!(log.contains("the lease is out of reach") && log.contains("504"), "{log}");
    expired(&bench, &proxy, &collector).await;
    conflicts_without_end(&proxy, &collector);
    assert_eq!(collector.process.terminate(), Some(0));
}

fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// No change of a node follows a failed one of the same node as closely as a client repeats itself.
fn not_repeated(seen: &[Seen]) {
    let patches: Vec<_> = seen.iter().filter(|it| it.method == "PATCH").collect();
    println!("{} patches of nodes", patches.len());
    for (at, patch) in patches.iter().enumerate().filter(|(_, it)| !it.faults.is_empty()) {
        // The version is not what was decided on: deciding again at once is right.
        if patch.faults == [Fault::Status(409)] {
            continue;
        }
        let next = patches
            .iter()
            .skip(at + 1)
            .find(|it| without_query(&it.path) == without_query(&patch.path));
        let gap = next.map(|next| next.at.duration_since(patch.at));
        println!("after {:?}: the next patch of this node {gap:?} later", patch.faults);
        assert!(gap.is_none_or(|gap| gap > REPEATS_WITHIN), "{patch:?} {next:?}");
    }
}

/// Watches expire, and so does the list that follows: nobody is retired, and what changed meanwhile
/// is noticed.
async fn expired(bench: &Bench, proxy: &Proxy, collector: &Collector) {
    let watch = proxy.inject(Rule::new("WATCH", "/api/v1/nodes", Fault::ExpireWatch(0)).times(2));
    let list = proxy.inject(Rule::new("GET", "/api/v1/nodes", Fault::Status(410)).times(1));
    proxy.end_watches();
    bench.cluster.node("late");
    let listed = |status, _: &Value| status == 200;
    bench.until("the new node is listed", collector, "/v1/nodes/late", listed).await;
    wait::until("both have expired", WITHIN, || {
        let hits = (proxy.hits(watch), proxy.hits(list));
        if hits == (2, 1) { Ok(()) } else { Err(hits) }
    });
    bench.cluster.kubectl(&["cordon", "late"]);
    let cordoned = |_, body: &Value| body["node"]["cluster"]["cordoned"] == true;
    bench.until("the watch goes on", collector, "/v1/nodes/late", cordoned).await;
    let summary = bench.ask(collector, "/v1/summary").await.expect("an answer").1;
    println!("after the watch expired: {}", summary["nodes"]);
    assert_eq!(summary["nodes"]["gone"].as_u64().unwrap_or(0), 0, "{summary}");
    let history = bench.ask(collector, "/v1/history?limit=100").await.expect("an answer").1;
    assert!(!history.to_string().contains("retired"), "{history}");
}

/// Every write of the Lease meets a conflict though nobody writes it: no storm.
fn conflicts_without_end(proxy: &Proxy, collector: &Collector) {
    let rule = proxy.inject(Rule::new("PUT", LEASE, Fault::Status(409)));
    let began = Instant::now();
    wait::until("some conflicts", WITHIN, || {
        if proxy.hits(rule) >= 6 { Ok(()) } else { Err(collector.process.log()) }
    });
    // One of them is followed at once, the others after 0.8 seconds each: a seventh of the Lease.
    let took = began.elapsed();
    println!("6 conflicts in a row took {took:?}");
    assert!(took > Duration::from_millis(2_400), "{took:?}");
    proxy.remove(rule);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_outlasts_an_api_server_that_is_away_and_a_node_whose_clock_is_wrong() {
    let bench = Bench::start();
    let path = |name: &str| bench.files.path().join(name).to_str().expect("UTF-8").to_owned();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    let more = ["--lease-seconds", "4", "--tls-cert", &certificate, "--tls-key", &key];
    let collector = bench.collector_with("one", &bench.cluster.collector_kubeconfig(), &more);
    bench.leads(&collector).await;
    let mut agents = bench.report(&collector, bench.agents(1)).await;
    let mut node = agents.pop().expect("an agent");
    let target = format!("/v1/nodes/{}", node.name);

    // Two hours ahead, and behind.
    let before = bench.ask(&collector, &target).await.expect("an answer").1;
    for ahead in [SKEW_SECS, -SKEW_SECS] {
        assert_eq!(bench.beat(&collector, &mut node, ahead).await.0, 200);
        let shown = |_, body: &Value| {
            body["node"]["clock_ahead_secs"].as_i64().is_some_and(|it| (it - ahead).abs() < 600)
        };
        let after = bench.until("its clock is shown", &collector, &target, shown).await;
        println!("{ahead} s ahead: shown as {}", after["node"]["clock_ahead_secs"]);
        assert_eq!(after["node"]["state"], "fresh", "{after}");
        assert_eq!(after["findings"], before["findings"]);
    }

    let pid = collector.process.pid();
    let mut served = None;
    // A machine that stands still for as long as known agents are served shows nothing: tried again.
    for _ in 0..OUTAGES {
        served = bench.outage(&collector, &mut node).await;
        if served.is_some() {
            break;
        }
    }
    let served = served.expect("known agents go on for a while");
    println!("known agents were served for {served:?}, then 503");
    assert_eq!(collector.process.pid(), pid);
    let deadline = Instant::now() + WITHIN;
    while bench.beat(&collector, &mut node, 0).await.0 != 200 {
        assert!(Instant::now() < deadline, "{:#?}", collector.process.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let after = bench.ask(&collector, &target).await.expect("an answer").1;
    assert_eq!(after["node"]["uid"], before["node"]["uid"]);
    assert_eq!(after["findings"], before["findings"]);
    assert_eq!(collector.process.terminate(), Some(0));
}

impl Bench {
    /// Takes the API server away until known agents are refused, and gives it back. For how long an
    /// agent was served after the collector had begun to act on nothing; `None` if it was never.
    async fn outage(&self, collector: &Collector, node: &mut fleet::Node) -> Option<Duration> {
        self.cluster.stop_api_server();
        let away = |status, _: &Value| status == 503;
        self.until("it acts on nothing", collector, "/readyz", away).await;
        let began = Instant::now();
        let mut served = None;
        let (status, retry_after) = loop {
            let (status, retry_after) = self.beat(collector, node, 0).await;
            assert_eq!(self.ask(collector, "/livez").await.expect("an answer").0, 200);
            if status != 200 {
                break (status, retry_after);
            }
            served = Some(began.elapsed());
            assert!(began.elapsed() < WITHIN, "it serves for ever");
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        assert_eq!(status, 503);
        assert!(retry_after.is_some_and(|secs| (1..=60).contains(&secs)), "{retry_after:?}");
        self.cluster.start_api_server();
        self.leads(collector).await;
        served
    }

    /// A heartbeat by a clock that is so far ahead: the status, and after how many seconds to try again.
    async fn beat(
        &self,
        collector: &Collector,
        node: &mut fleet::Node,
        ahead_secs: i64,
    ) -> (u16, Option<u64>) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = i64::try_from(now.expect("a time after 1970").as_secs()).expect("a time");
        let mut heartbeat = node.heartbeat(None);
        heartbeat.sent_at = Moment::from_unix(now + ahead_secs);
        let server = Server { address: collector.address, trust: Some(self.trust.clone()) };
        let body = serde_json::to_vec(&heartbeat).expect("JSON");
        let answer = node.post(&mut server.client(node), body).await;
        let retry_after =
            answer.headers.get("retry-after").and_then(|it| it.to_str().ok()?.parse().ok());
        (answer.status.as_u16(), retry_after)
    }
}
