//! Reboots without a cluster: the real collector over a store of its own, hooks that the tests write,
//! nodes that speak the real protocol.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::body::Bytes;
use palisade_tests::directory::Directory;
use palisade_tests::http::Client;
use palisade_tests::process::Collector;
use serde_json::Value;
use serde_json::json;

mod life;

use life::Conduct;
use life::Life;

/// How long a condition may take to come true; nothing here is fast on purpose.
const WITHIN: Duration = Duration::from_secs(120);

/// For people who cannot wait: every node, one at a time.
const AUTO: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
    cluster: {maxUnavailable: 1}\npools:\n- name: all\n  selector: {}\n  mode: auto\n  \
    stable: 0s\n  soak: 0s\n  minimumInterval: 12h\n  deadlines: {verify: 10m, grant: 1h}\n";

/// A fleet without a cluster.
struct Bench {
    files: Directory,
    address: SocketAddr,
    collector: Option<Collector>,
    hooks: Vec<String>,
}

impl Bench {
    /// A collector under this policy, which calls no hook.
    fn start(policy: &str) -> Self {
        Self::start_with(policy, Vec::new())
    }

    /// The same with hooks. Each call is a line of `calls`. `before` waits until there is a file `go` and
    /// fails if there is a file `unreachable`; if there is a file `hang` it does not end, and leaves its
    /// `pid`. `after` fails as long as there is a file `broken`, and says so if that `before` still runs.
    fn start_hooked(policy: &str) -> Self {
        let mut bench = Self::start_with(policy, Vec::new());
        let at = bench.files.path().display().to_string();
        let before = format!(
            "echo $1 $2 >> {at}/calls\n\
             test -e {at}/hang && echo $$ > {at}/pid && sleep 600\n\
             test -e {at}/unreachable && echo no such host && exit 3\n\
             test -e {at}/go && exit 0\necho two jobs run; exit 75\n"
        );
        // What has ended, and nobody has waited for, has no command line.
        let after = format!(
            "echo $1 $2 >> {at}/calls\n\
             test -e {at}/pid && grep -q . /proc/$(cat {at}/pid)/cmdline && echo crossed $2 >> {at}/calls\n\
             test -e {at}/broken && echo no answer && exit 1\nexit 0\n"
        );
        for (name, script) in [("before", before), ("after", after)] {
            let path = bench.file(name);
            bench.files.write(&format!("/{name}"), format!("#!/bin/sh\n{script}"));
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, mode).expect("an executable");
            let path = path.to_str().expect("UTF-8").to_owned();
            bench.hooks.extend([format!("--hook-{name}"), path]);
        }
        bench.kill();
        bench.again();
        bench
    }

    fn start_with(policy: &str, hooks: Vec<String>) -> Self {
        let files = Directory::new("alone");
        files.write("/policy.yaml", policy);
        let nowhere = "127.0.0.1:0".parse().expect("an address");
        let mut bench = Self { files, address: nowhere, collector: None, hooks };
        bench.again();
        bench
    }

    /// Starts the collector again over the same store, where the nodes find it.
    fn again(&mut self) {
        let policy = self.file("policy.yaml");
        let mut more = vec!["--interval", "5", "--reboot-policy", policy.to_str().expect("UTF-8")];
        more.extend(self.hooks.iter().map(String::as_str));
        let state = self.file("state");
        let collector = Collector::start_at(&self.address.to_string(), &state, &more);
        self.address = collector.address;
        self.collector = Some(collector);
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.collector.take().expect("a collector").process.kill();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn touch(&self, name: &str) {
        self.files.write(&format!("/{name}"), "");
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).expect("a file");
    }

    /// The calls of hooks so far.
    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.file("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|it| it.to_string()).unwrap_or_default();
        let headers = [("content-type", "application/json")];
        let mut client = Client::new(self.address);
        let answer = client.send(method, path, &headers, Bytes::from(body)).await;
        let answer = answer.expect("an answer");
        let parsed = serde_json::from_slice(&answer.body);
        (answer.status.as_u16(), parsed.unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.1
    }

    /// The request of a node; null without one.
    async fn request(&self, node: &str) -> Value {
        let all = self.get("/v1/reboots").await;
        let mut all = all["reboots"].as_array().cloned().unwrap_or_default().into_iter();
        all.find(|it| it["node"] == node).unwrap_or(Value::Null)
    }

    /// The gates that are shut for a node, with what they saw.
    async fn shut(&self, node: &str) -> Vec<(String, String)> {
        let explained = self.get(&format!("/v1/nodes/{node}/explain")).await;
        let gates = explained["gates"].as_array().cloned().unwrap_or_default().into_iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let shut = gates.filter(|it| it["open"] == false);
        shut.map(|it| (text(&it["gate"]), text(&it["value"]))).collect()
    }

    /// Waits until a gate is shut for a node, and returns what it saw.
    async fn wait_for_gate(&self, node: &str, gate: &str) -> String {
        self.until(&format!("gate {gate} of {node}"), async || {
            let shut = self.shut(node).await;
            let found = shut.iter().find(|(name, _)| name == gate).map(|(_, value)| value.clone());
            found.ok_or_else(|| format!("{shut:?}"))
        })
        .await
    }

    /// Waits until the request of a node is in this state, and returns it.
    async fn wait_for_state(&self, node: &str, state: &str) -> Value {
        self.until(&format!("{node} is {state}"), async || {
            let request = self.request(node).await;
            if request["state"] == state { Ok(request) } else { Err(request.to_string()) }
        })
        .await
    }

    /// Waits until there is no request for a node.
    async fn wait_for_end(&self, node: &str) {
        self.until(&format!("the end of {node}"), async || {
            let all = self.get("/v1/reboots").await;
            let requests = all["reboots"].as_array().ok_or_else(|| all.to_string())?;
            let found = requests.iter().find(|it| it["node"] == node);
            found.map_or(Ok(()), |it| Err(it.to_string()))
        })
        .await;
    }

    /// The states that the request of a node went through, as the audit has them, in order.
    async fn states(&self, node: &str) -> Vec<String> {
        let audit = self.get(&format!("/v1/audit?kind=reboot&node={node}&limit=100")).await;
        let entries = audit["entries"].as_array().unwrap_or_else(|| panic!("{audit}")).iter();
        let states = entries.filter_map(|it| it["entry"]["after"].as_str().map(str::to_owned));
        states.collect::<Vec<_>>().into_iter().rev().collect()
    }

    async fn until<T>(&self, what: &str, attempt: impl AsyncFn() -> Result<T, String>) -> T {
        let deadline = Instant::now() + WITHIN;
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(is) => {
                    let log = self.collector.as_ref().map(|it| it.process.log());
                    assert!(Instant::now() < deadline, "{what}: {is}\n{log:#?}");
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_cluster_is_emptied_by_a_hook_rebooted_once_and_given_back() {
    let mut bench = Bench::start_hooked(AUTO);
    let life = Life::start(bench.address, &["db-1", "db-2"]);
    bench.touch("broken");
    life.need_reboot("db-1");

    // It waits for the hook, and says so.
    let first = bench.wait_for_state("db-1", "Draining").await["epoch"].as_u64().expect("a term");
    let why = bench
        .until("the word of the hook", async || {
            let request = bench.request("db-1").await;
            let why = request["waits_for"][0]["value"].as_str().unwrap_or_default().to_owned();
            if why.contains("two jobs run") { Ok(why) } else { Err(request.to_string()) }
        })
        .await;
    assert_eq!(why, "hook before: waits: two jobs run");
    let says = bench.get("/v1/nodes/db-1/explain").await["says"].to_string();
    assert!(says.contains("two jobs run"), "{says}");

    // Whoever follows a collector that was killed asks again, and goes on.
    bench.kill();
    let asked = bench.calls().len();
    bench.again();
    bench
        .until("another call", async || {
            if bench.calls().len() > asked { Ok(()) } else { Err(format!("{:?}", bench.calls())) }
        })
        .await;
    assert_eq!(life.grants(), 0, "not emptied yet");
    assert!(bench.calls().iter().all(|call| call == "before db-1"), "{:?}", bench.calls());
    bench.touch("go");

    // It boots, and is not given back yet: that is owed until it succeeds, whoever is killed meanwhile.
    let request = bench.wait_for_state("db-1", "Uncordoning").await;
    assert_eq!(life.boots(), ["db-1"]);
    assert_eq!(request["epoch"].as_u64(), Some(first + 1), "each start is a term");
    bench
        .until("a call that fails", async || {
            let calls = bench.calls();
            if calls.last().is_some_and(|it| it == "after db-1") {
                Ok(())
            } else {
                Err(format!("{calls:?}"))
            }
        })
        .await;
    bench.kill();
    bench.remove("broken");
    bench.again();
    bench.wait_for_end("db-1").await;
    assert_eq!(bench.calls().last().map(String::as_str), Some("after db-1"));
    assert_eq!((life.boots(), life.grants()), (vec!["db-1".to_owned()], 1));
    let states = bench.states("db-1").await;
    let path = [
        "Claimed",
        "Cordoning",
        "Draining",
        "Granted",
        "Rebooting",
        "Booted",
        "Verifying",
        "Uncordoning",
        "Done",
    ];
    let steps: Vec<&str> =
        states.iter().map(String::as_str).filter(|it| path.contains(it)).collect();
    assert_eq!(steps, path, "each step is in the audit once");

    // What it needs next waits for its least time, and the other one does not.
    let asked = bench.calls().len();
    life.need_reboot("db-1");
    let value = bench.wait_for_gate("db-1", "minimum-interval").await;
    assert!(value.starts_with("the last reboot was at "), "{value}");
    life.need_reboot("db-2");
    bench
        .until("the other one", async || {
            let boots = life.boots();
            if boots == ["db-1", "db-2"] { Ok(()) } else { Err(format!("{boots:?}")) }
        })
        .await;
    bench.wait_for_end("db-2").await;
    assert_eq!(bench.calls()[asked..], ["before db-2", "after db-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_outlives_its_collector_has_ended_before_the_node_is_given_back() {
    let mut bench = Bench::start_hooked(AUTO);
    let life = Life::start(bench.address, &["db-1", "db-2"]);
    bench.touch("hang");
    life.need_reboot("db-1");
    bench
        .until("a hook that does not end", async || {
            let pid = std::fs::read_to_string(bench.file("pid")).unwrap_or_default();
            if pid.ends_with('\n') { Ok(()) } else { Err(format!("{:?}", bench.calls())) }
        })
        .await;
    bench.kill();
    bench.remove("hang");
    bench.again();

    // Whoever calls it off wants it given back at once.
    bench
        .until("a cancellation", async || {
            let (status, answer) = bench.ask(Method::DELETE, "/v1/reboots/db-1", None).await;
            if status == 200 { Ok(()) } else { Err(format!("{status} {answer}")) }
        })
        .await;
    bench
        .until("a node that is given back", async || {
            let calls = bench.calls();
            let is_back = bench.states("db-1").await.iter().any(|it| it == "Cancelled");
            if is_back { Ok(()) } else { Err(format!("{calls:?}")) }
        })
        .await;
    let calls = bench.calls();
    assert!(calls.contains(&"after db-1".to_owned()), "{calls:?}");
    assert!(!calls.contains(&"crossed db-1".to_owned()), "{calls:?}");
    assert_eq!(life.grants(), 0);
    // `hooks` is a name that people have for what is theirs.
    let state = bench.file("state");
    assert!(state.join("hook-locks").is_dir() && !state.join("hooks").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hook_refuses_is_given_back_and_what_fails_halts_its_pool() {
    let bench = Bench::start_hooked(AUTO);
    let life = Life::start(bench.address, &["db-1", "db-2"]);
    bench.touch("unreachable");
    life.need_reboot("db-1");
    let request = bench.wait_for_state("db-1", "Backoff").await;
    assert_eq!(request["failure"], "hook before: exit status: 3: no such host");
    assert_eq!(request["rollbacks"], 1);
    assert_eq!(bench.calls(), ["before db-1", "after db-1"]);
    assert_eq!(life.grants(), 0);

    // A node whose reboot fails waits for a person, and its pool with it.
    bench.remove("unreachable");
    bench.touch("go");
    life.conduct("db-2", Conduct::Fails);
    life.need_reboot("db-2");
    bench.wait_for_state("db-2", "Quarantined").await;
    let path = "/v1/reboots/db-1/release";
    let (status, answer) = bench.ask(Method::POST, path, Some(json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    let value = bench.wait_for_gate("db-1", "failure-budget").await;
    assert!(value.starts_with("1 within "), "{value}");
    assert_eq!(life.boots(), Vec::<String>::new());
    let last = |bench: &Bench| bench.calls().last().cloned().unwrap_or_default();
    assert_eq!(last(&bench), "before db-2", "it is not given back");

    // It boots after all, late: verified and given back like any other. Its pool stays halted.
    life.boot_late("db-2");
    bench.wait_for_end("db-2").await;
    assert_eq!(last(&bench), "after db-2");
    bench.wait_for_gate("db-1", "failure-budget").await;
    assert_eq!(life.boots(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_mode_report_nothing_happens_and_without_hooks_a_reboot_needs_none() {
    let report = AUTO.replace("mode: auto", "mode: report");
    let bench = Bench::start(&report);
    let life = Life::start(bench.address, &["web-1", "web-2"]);
    life.need_reboot("web-1");
    let value = bench.wait_for_gate("web-1", "mode").await;
    assert_eq!(value, "report: nothing is started");
    let asked = json!({ "node": "web-1", "note": "a new disk" });
    let (status, answer) = bench.ask(Method::POST, "/v1/reboots", Some(asked)).await;
    assert_eq!(status, 200, "{answer}");
    let request = bench.wait_for_state("web-1", "Blocked").await;
    assert_eq!(request["waits_for"][0]["gate"], "mode", "{request}");
    assert_eq!(request["reasons"][0]["subject"], "a new disk", "{request}");
    let other = json!({ "node": "web-9" });
    assert_eq!(bench.ask(Method::POST, "/v1/reboots", Some(other)).await.0, 404);
    assert_eq!(life.grants(), 0);

    // The same request goes on under another policy.
    bench.files.write("/policy.yaml", AUTO);
    bench.wait_for_end("web-1").await;
    assert_eq!((life.boots(), life.grants()), (vec!["web-1".to_owned()], 1));
    assert_eq!(bench.calls(), Vec::<String>::new());
}
