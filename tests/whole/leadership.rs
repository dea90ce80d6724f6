//! Who leads among collectors of one cluster, and what they know of its nodes, against the real API
//! server.
//!
//! A stepped wall clock is not played here: the election takes no wall time at all, which its types
//! say and its random schedules use (clocks of other origins and paces).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::body::Bytes;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::installation::collector_by;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Server;
use palisade_tests::http::Client;
use palisade_tests::http::Trust;
use palisade_tests::process::Collector;
use palisade_tests::worker;
use serde_json::Value;

mod answer;
mod nodes;
mod takeover;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(180);

/// A cluster, and what its collectors are started with.
struct Bench {
    cluster: ControlPlane,
    files: Directory,
    trust: Trust,
    /// The token of a person who may ask for everything.
    person: String,
}

impl Bench {
    fn start() -> Self {
        let cluster = ControlPlane::start();
        cluster.install("base");
        let person = cluster.person("somebody", "palisade-operator");
        let files = Directory::new("leadership");
        let serving = cluster.authority().server("palisade", &["127.0.0.1".to_owned()]);
        files.write("tls.crt", &serving.certificate);
        files.write("tls.key", &serving.key);
        let trust = Trust::new(&cluster.authority().pair().certificate, "127.0.0.1");
        Self { cluster, files, trust, person }
    }

    /// A collector with a store of its own, which reaches the API server by this kubeconfig.
    fn collector(&self, name: &str, kubeconfig: &Path) -> Collector {
        let path = |name: &str| self.files.path().join(name).to_str().expect("UTF-8").to_owned();
        let (certificate, key) = (path("tls.crt"), path("tls.key"));
        let more = ["--lease-seconds", "6", "--tls-cert", &certificate, "--tls-key", &key];
        self.collector_with(name, kubeconfig, &more)
    }

    /// The same with other flags about its Lease and its certificate.
    fn collector_with(&self, name: &str, kubeconfig: &Path, more: &[&str]) -> Collector {
        let own = ["--identity", name, "--gone-after", "3", "--interval", "600"];
        collector_by(kubeconfig, &self.files.path().join(name), &[&own[..], more].concat())
    }

    fn client(&self, collector: &Collector) -> Client {
        Client::new(collector.address).with_trust(&self.trust).with_token(&self.person)
    }

    async fn ask(&self, collector: &Collector, target: &str) -> Option<(u16, Value)> {
        let mut client = self.client(collector);
        let answer = client.try_send(Method::GET, target, &[], Bytes::new()).await.ok()?;
        let body = serde_json::from_str(&answer.text()).unwrap_or(Value::Null);
        Some((answer.status.as_u16(), body))
    }

    /// Waits until the answer of a collector fits.
    async fn until(
        &self,
        what: &str,
        collector: &Collector,
        target: &str,
        fits: impl Fn(u16, &Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            let heard = self.ask(collector, target).await;
            if let Some((status, body)) = &heard
                && fits(*status, body)
            {
                return body.clone();
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not within {WITHIN:?}: {heard:?} {:#?}",
                collector.process.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until this collector leads and answers; its epoch.
    async fn leads(&self, collector: &Collector) -> u64 {
        self.until("it leads", collector, "/readyz", |status, _| status == 200).await;
        epochs(collector).last().copied().expect("an epoch in the log")
    }

    /// Waits until this collector stands by and names the leader.
    async fn stands_by(&self, collector: &Collector, leader: &str) {
        let names_it = |status, body: &Value| {
            status == 503
                && body["kind"] == "standby"
                && body["message"].as_str().is_some_and(|text| text.contains(leader))
        };
        self.until("it stands by", collector, "/v1/nodes", names_it).await;
    }

    /// Agents with pods and tokens of their own.
    fn agents(&self, count: usize) -> Vec<fleet::Node> {
        let reports = worker::configurations(1);
        let mut nodes = fleet::nodes(&reports, count);
        for node in &nodes {
            self.cluster.node(&node.name);
        }
        self.cluster.equip(&mut nodes);
        nodes
    }

    /// Lets all agents report to this collector, and holds what it has against what they have.
    async fn report(&self, collector: &Collector, nodes: Vec<fleet::Node>) -> Vec<fleet::Node> {
        let trust = Some(self.trust.clone());
        let (nodes, _) =
            fleet::settle(Server { address: collector.address, trust }, nodes, 50).await;
        for node in &nodes {
            let target = format!("/v1/nodes/{}", node.name);
            let wanted = node.report().to_string();
            let has_it = |status, body: &Value| status == 200 && body["node"]["report"] == *wanted;
            self.until("the report is there", collector, &target, has_it).await;
        }
        nodes
    }
}

/// The epochs in which a collector says that it led.
fn epochs(collector: &Collector) -> Vec<u64> {
    let lines = collector.process.log();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["message"] == "this collector leads")
        .filter_map(|line| line["epoch"].as_str()?.parse().ok())
        .collect()
}

fn signal(collector: &Collector, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(collector.process.pid()).expect("a pid"));
    nix::sys::signal::kill(pid, signal).expect("signal a collector");
}
