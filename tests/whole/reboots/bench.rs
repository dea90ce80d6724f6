//! A cluster with nodes, a workload and a collector that reboots.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::installation::COLLECTOR;
use palisade_tests::cluster::installation::collector_by;
use palisade_tests::cluster::proxy::Proxy;
use palisade_tests::directory::Directory;
use palisade_tests::fleet::Server;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::life::Agents;

/// Far more than anything here takes.
pub(super) const WITHIN: Duration = Duration::from_secs(300);

/// The same where a node may have let a permission pass: it gets another one only when that one is void
/// for certain, some minutes later. Or where its first heartbeat of a boot may have been under way for
/// more than five seconds: the next ones seem to run ahead then, and for ten minutes it gets no permission.
pub(super) const ANEW_WITHIN: Duration = Duration::from_secs(1500);

/// A policy for people who cannot wait: every node, one at a time, no waits that a test would see.
pub(super) const HURRIED: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
    cluster: {maxUnavailable: 1}\npools:\n- name: all\n  selector: {}\n  mode: auto\n  \
    stable: 0s\n  soak: 0s\n  minimumInterval: 1s\n  deadlines: {verify: 10s}\n";

/// A policy for `count` nodes at a time, whose failures stop nobody.
pub(super) fn for_many(count: usize) -> String {
    let policy = HURRIED.replace("maxUnavailable: 1}", &format!("maxUnavailable: {count}}}"));
    format!("{policy}  maxUnavailable: {count}\n  failureBudget: {{failures: 9, within: 1d}}\n")
}

/// Like [`HURRIED`] with so many at a time, and time for whoever watches and for slow machines.
pub(super) fn patient(at_once: u32) -> String {
    let policy = HURRIED.replace("maxUnavailable: 1}", &format!("maxUnavailable: {at_once}}}"));
    let policy = policy.replace("{verify: 10s}", "{verify: 10m, grant: 1h}");
    format!("{policy}  maxUnavailable: {at_once}\n")
}

/// Requests of the API server for reboots.
const REQUESTS: &str = "/apis/palisade.dev/v1alpha1/rebootrequests";

/// A cluster to reboot.
pub(super) struct Bench {
    pub(super) cluster: Arc<ControlPlane>,
    pub(super) nodes: Vec<String>,
    files: Directory,
}

impl Bench {
    /// `count` ready nodes, the manifests' rights, controllers and a scheduler.
    pub(super) fn start(count: usize) -> Self {
        let cluster = ControlPlane::start();
        cluster.install("base");
        cluster.controllers();
        cluster.scheduler();
        let nodes = cluster.kwok().nodes("node", count);
        // KWOK's nodes keep ordinary pods away.
        for node in &nodes {
            cluster.kubectl(&["taint", "node", node, "kwok.x-k8s.io/node-"]);
        }
        Self { cluster: Arc::new(cluster), nodes, files: Directory::new("reboots") }
    }

    /// Many nodes without workloads, and nobody but the collector who looks after them.
    pub(super) fn quiet(count: usize) -> Self {
        let cluster = ControlPlane::start();
        cluster.install("base");
        let nodes = cluster.kwok_with_lease(3600).nodes("node", count);
        Self { cluster: Arc::new(cluster), nodes, files: Directory::new("reboots") }
    }

    /// Another collector under the same policy, with a store of its own, which reaches the API server
    /// in this way. It stands by, or leads if nobody else does.
    pub(super) fn another(&self, name: &str, kubeconfig: &Path) -> Collector {
        let file = self.files.path().join("policy.yaml");
        let file = file.to_str().expect("UTF-8");
        let own = ["--identity", name, "--serving-name", "127.0.0.1", "--lease-seconds", "6"];
        let own = [&own[..], &["--interval", "60", "--reboot-policy", file]].concat();
        collector_by(kubeconfig, &self.files.path().join(name), &own)
    }

    /// Waits until this collector leads and could grant.
    pub(super) fn leads(&self, collector: &Collector) -> Server {
        assert_eq!(self.cluster.leading(&[collector]), collector.address);
        self.settle_key();
        self.cluster.server(collector.address)
    }

    /// A collector that leads, under this policy.
    pub(super) fn collector(&self, name: &str, policy: &str) -> Collector {
        let kubeconfig = self.cluster.collector_kubeconfig();
        self.collector_with(name, policy, &kubeconfig, &[])
    }

    /// The same, which reaches the API server through this proxy.
    pub(super) fn collector_through(&self, proxy: &Proxy, name: &str, policy: &str) -> Collector {
        let kubeconfig = self.cluster.collector_kubeconfig_through(proxy);
        self.collector_with(name, policy, &kubeconfig, &[])
    }

    /// The same by any way to the API server, started by this program.
    pub(super) fn collector_with(
        &self,
        name: &str,
        policy: &str,
        kubeconfig: &Path,
        program: &[&str],
    ) -> Collector {
        let state = self.files.path().join("state");
        let collector = self.start_collector(name, policy, kubeconfig, program, &state);
        self.until_leading(&collector);
        collector
    }

    /// One with a state of its own, which may lead or stand by.
    pub(super) fn replica(&self, name: &str, policy: &str) -> Collector {
        let state = self.files.path().join(format!("state-of-{name}"));
        let kubeconfig = self.cluster.collector_kubeconfig();
        self.start_collector(name, policy, &kubeconfig, &[], &state)
    }

    fn start_collector(
        &self,
        name: &str,
        policy: &str,
        kubeconfig: &Path,
        program: &[&str],
        state: &Path,
    ) -> Collector {
        self.say_policy(policy);
        let file = self.files.path().join("policy.yaml");
        let (file, kubeconfig) = (file.to_str().expect("UTF-8"), kubeconfig.to_str());
        let kubeconfig = kubeconfig.expect("UTF-8");
        let own = ["--kubernetes", "--kubeconfig", kubeconfig, "--identity", name];
        let more = ["--serving-name", "127.0.0.1", "--lease-seconds", "6", "--interval", "60"];
        let arguments = [&own[..], &more, &["--reboot-policy", file]].concat();
        Collector::start_by(program, state, &arguments)
    }

    /// Waits until this collector leads and may sign grants.
    pub(super) fn until_leading(&self, collector: &Collector) {
        assert_eq!(self.cluster.leading(&[collector]), collector.address);
        self.settle_key();
    }

    /// What the policy is from now on; a collector that runs sees it at its next look.
    pub(super) fn say_policy(&self, policy: &str) {
        // All of it at once.
        self.files.write("policy.next", policy);
        let path = |name: &str| self.files.path().join(name);
        std::fs::rename(path("policy.next"), path("policy.yaml")).expect("replace the policy");
    }

    /// There is no policy any more.
    pub(super) fn lose_policy(&self) {
        std::fs::remove_file(self.files.path().join("policy.yaml")).expect("remove the policy");
    }

    /// A new key signs nothing until real nodes could have got its public half, some minutes later.
    /// Simulated ones verify nothing: the moment is put back.
    pub(super) fn settle_key(&self) {
        let path = "/api/v1/namespaces/palisade-system/secrets/palisade-collector-tls";
        wait::until("there is a key for grants", WITHIN, || {
            let secret = self.cluster.get(path);
            if secret["data"]["grant-since"].is_string() { Ok(()) } else { Err("no key yet") }
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let since = (now - 1).to_string();
        let patch = json!({ "stringData": { "grant-since": since } });
        self.cluster.api().must(Call::merge(path, &patch));
    }

    /// Kills a collector and starts another one over the same state, and where that one is.
    pub(super) fn restart(&self, collector: Collector, policy: &str) -> (Collector, Server) {
        collector.process.kill();
        let collector = self.collector("one", policy);
        let server = self.cluster.server(collector.address);
        (collector, server)
    }

    /// Agents on all nodes, which talk to this collector until they are dropped.
    pub(super) fn live(&self, collector: &Collector) -> Agents {
        let server = self.cluster.server(collector.address);
        Agents::start(&self.cluster, &self.nodes, server)
    }

    /// A Deployment `web` whose disruption budget lets one pod go at a time, running.
    pub(super) fn web(&self, replicas: u32) {
        let labels = "{app: web}";
        self.cluster.apply(&format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: \
             {replicas}, selector: {{matchLabels: {labels}}}, template: {{metadata: {{labels: \
             {labels}}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, \
             image: none}}]}}}}}}}}"
        ));
        self.cluster.apply(&format!(
            "{{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {{name: web}}, spec: \
             {{maxUnavailable: 1, selector: {{matchLabels: {labels}}}}}}}"
        ));
        wait::until("the workload runs, and its budget knows", WITHIN, || {
            let path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web";
            let budget = self.cluster.get(path);
            let status = &budget["status"];
            let is_known =
                status["currentHealthy"] == replicas && status["disruptionsAllowed"] == 1;
            if is_known { Ok(()) } else { Err(status.clone()) }
        });
    }

    /// Nodes that run pods with this label `app`.
    pub(super) fn nodes_of(&self, app: &str) -> Vec<String> {
        let path = format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}");
        let pods = self.cluster.get(&path);
        let pods = pods["items"].as_array().expect("a list").iter();
        let mut nodes: Vec<_> =
            pods.filter_map(|it| it["spec"]["nodeName"].as_str().map(str::to_owned)).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Names of the pods of this app on a node.
    pub(super) fn pods_on(&self, node: &str, app: &str) -> Vec<String> {
        let path = format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}");
        let pods = self.cluster.get(&path);
        let pods = pods["items"].as_array().expect("a list").iter();
        let pods = pods.filter(|it| it["spec"]["nodeName"] == node);
        pods.filter_map(|it| it["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// UIDs of the pods of this app, those that are on their way out left out.
    pub(super) fn pods_of(&self, app: &str) -> BTreeSet<String> {
        let path = format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}");
        let pods = self.cluster.get(&path);
        let stay = pods["items"].as_array().expect("a list").iter();
        let stay = stay.filter(|it| it["metadata"]["deletionTimestamp"].is_null());
        stay.filter_map(|it| it["metadata"]["uid"].as_str().map(str::to_owned)).collect()
    }

    /// All requests.
    pub(super) fn requests(&self) -> Vec<Value> {
        self.cluster.get(REQUESTS)["items"].as_array().expect("a list").clone()
    }

    /// The state of the request for a node; `None` if there is none.
    pub(super) fn state(&self, node: &str) -> Option<String> {
        let requests = self.requests();
        let found = requests.iter().find(|it| it["spec"]["node"]["name"] == node)?;
        Some(found["status"]["state"].as_str().unwrap_or("Needed").to_owned())
    }

    /// What the request for a node says of it; null if there is none.
    pub(super) fn status(&self, node: &str) -> Value {
        let requests = self.requests();
        let found = requests.iter().find(|it| it["spec"]["node"]["name"] == node);
        found.map_or(Value::Null, |it| it["status"].clone())
    }

    /// The states that the request for a node has been in.
    pub(super) fn history(&self, node: &str) -> Vec<String> {
        let status = self.status(node);
        let entered = status["history"].as_array().cloned().unwrap_or_default();
        entered.iter().filter_map(|it| it["state"].as_str().map(str::to_owned)).collect()
    }

    /// The states that this collector says it brought the request for a node into, in order.
    pub(super) fn told(&self, collector: &Collector, node: &str) -> Vec<String> {
        let lines = collector.process.log();
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let steps = lines.filter(|it| it["message"] == "a reboot goes on" && it["node"] == node);
        steps.filter_map(|it| it["to"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until the coordinator has looked around so many more times, at all that is there.
    pub(super) fn until_looked(&self, collector: &Collector, times: usize) {
        let looks = || {
            let events = self.cluster.audit_log();
            let looks = events.iter().filter(|it| {
                let object = &it["objectRef"];
                it["user"]["username"] == COLLECTOR
                    && it["verb"] == "list"
                    && object["resource"] == "poddisruptionbudgets"
            });
            looks.count()
        };
        let before = looks();
        wait::until("the coordinator looks around", WITHIN, || {
            if looks() >= before + times { Ok(()) } else { Err(self.summary(collector)) }
        });
    }

    /// The request for a node.
    pub(super) fn request(&self, node: &str) -> Option<Value> {
        self.requests().into_iter().find(|it| it["spec"]["node"]["name"] == node)
    }

    /// Nodes whose requests are in this state, by name.
    pub(super) fn in_state(&self, state: &str) -> Vec<String> {
        let requests = self.requests();
        let there = requests.iter().filter(|it| it["status"]["state"] == state);
        let mut nodes: Vec<_> =
            there.filter_map(|it| it["spec"]["node"]["name"].as_str().map(str::to_owned)).collect();
        nodes.sort();
        nodes
    }

    /// Waits until a request of a node is in this state and waits for something that holds these
    /// words, and returns it.
    pub(super) fn until_waits(
        &self,
        collector: &Collector,
        node: &str,
        state: &str,
        words: &str,
    ) -> Value {
        wait::until(&format!("{node} is {state} and waits for {words}"), WITHIN, || {
            let request = self.request(node).unwrap_or_default();
            let status = &request["status"];
            if status["state"] == state && status["blockers"].to_string().contains(words) {
                Ok(request)
            } else {
                Err(self.summary(collector))
            }
        })
    }

    /// Waits until a request of a node is in this state.
    pub(super) fn until_state(&self, collector: &Collector, node: &str, state: &str) {
        wait::until(&format!("{node} is {state}"), WITHIN, || {
            if self.state(node).as_deref() == Some(state) {
                Ok(())
            } else {
                Err(self.summary(collector))
            }
        });
    }

    /// Waits until exactly these nodes have rebooted, in this order, and take pods again.
    pub(super) fn until_rebooted(&self, collector: &Collector, agents: &Agents, nodes: &[&str]) {
        wait::until("the nodes have rebooted and take pods", ANEW_WITHIN, || {
            let is_open = |node: &&str| {
                let node = self.cluster.get(&format!("/api/v1/nodes/{node}"));
                let marker = &node["metadata"]["annotations"]["palisade.dev/cordoned-by"];
                node["spec"]["unschedulable"].is_null() && marker.is_null()
            };
            if agents.reboots() == nodes && nodes.iter().all(is_open) {
                Ok(())
            } else {
                Err(format!("rebooted {:?}: {}", agents.reboots(), self.summary(collector)))
            }
        });
    }

    /// Waits until so many reboots have been, and no request is left.
    pub(super) fn until_so_many(&self, collector: &Collector, agents: &Agents, reboots: usize) {
        wait::until(&format!("{reboots} reboots are over"), ANEW_WITHIN, || {
            let is_over = agents.reboots().len() == reboots && self.requests().is_empty();
            if is_over {
                Ok(())
            } else {
                Err(format!("rebooted {:?}: {}", agents.reboots(), self.summary(collector)))
            }
        });
    }

    /// Waits until no request is left.
    pub(super) fn until_no_requests(&self, collector: &Collector) {
        wait::until("the requests are over", WITHIN, || {
            if self.requests().is_empty() { Ok(()) } else { Err(self.summary(collector)) }
        });
    }

    /// Where each request is and what it waits for.
    pub(super) fn summary(&self, collector: &Collector) -> String {
        let log = collector.process.log();
        let said = log.iter().filter(|line| line.contains("reboot") || line.contains("WARN"));
        let said: Vec<_> = said.cloned().collect();
        let mut text = format!("{:#?} ", said.get(said.len().saturating_sub(12)..));
        for request in self.requests() {
            let status = &request["status"];
            let blockers = status["blockers"].as_array().cloned().unwrap_or_default();
            let blockers: Vec<_> =
                blockers.iter().map(|it| format!("{}: {}", it["gate"], it["value"])).collect();
            write!(
                text,
                "{} {} {} {blockers:?}; ",
                request["spec"]["node"]["name"], status["state"], status["message"]
            )
            .expect("a string takes all");
        }
        text
    }

    /// Whether a node takes no pods.
    pub(super) fn is_unschedulable(&self, node: &str) -> bool {
        self.cluster.get(&format!("/api/v1/nodes/{node}"))["spec"]["unschedulable"] == true
    }

    /// Reasons of the Events about a node.
    pub(super) fn events(&self, node: &str) -> Vec<String> {
        let list = self.cluster.get("/apis/events.k8s.io/v1/namespaces/default/events");
        let events = list["items"].as_array().expect("events").iter();
        events
            .filter(|it| it["regarding"]["kind"] == "Node" && it["regarding"]["name"] == node)
            .filter_map(|it| it["reason"].as_str().map(str::to_owned))
            .collect()
    }

    /// Names of the objects that the collector changed in this way, by the API server's record.
    pub(super) fn writes(&self, resource: &str, verb: &str) -> Vec<String> {
        let events = self.cluster.audit_log();
        let ours = events.iter().filter(|it| it["user"]["username"] == COLLECTOR);
        ours.filter(|event| {
            let object = &event["objectRef"];
            let mut name = object["resource"].as_str().unwrap_or_default().to_owned();
            if let Some(sub) = object["subresource"].as_str() {
                name = format!("{name}/{sub}");
            }
            name == resource && event["verb"] == verb
        })
        .filter_map(|event| event["objectRef"]["name"].as_str().map(str::to_owned))
        .collect()
    }

    /// What collectors changed of nodes, pods and requests, by the API server's record; that they tell
    /// what is known of a node in its status is left out.
    pub(super) fn touched(&self) -> Vec<String> {
        let events = self.cluster.audit_log();
        let ours = events.iter().filter(|it| it["user"]["username"] == COLLECTOR);
        let changes = ours.filter(|it| {
            let verb = it["verb"].as_str().unwrap_or_default();
            let object = &it["objectRef"];
            let resource = object["resource"].as_str().unwrap_or_default();
            matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection")
                && matches!(resource, "nodes" | "pods" | "rebootrequests")
                && !(resource == "nodes" && object["subresource"] == "status")
        });
        changes.map(|it| format!("{} {}", it["verb"], it["requestURI"])).collect()
    }

    /// Keeps the pods of this app from going away once they are deleted.
    pub(super) fn pin(&self, app: &str) {
        self.set_finalizers(app, &json!(["example.com/backup"]));
    }

    /// Lets them go.
    pub(super) fn unpin(&self, app: &str) {
        self.set_finalizers(app, &Value::Null);
    }

    fn set_finalizers(&self, app: &str, finalizers: &Value) {
        let path = format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}");
        let pods = self.cluster.get(&path);
        let patch = json!({ "metadata": { "finalizers": finalizers } });
        for pod in pods["items"].as_array().expect("a list") {
            let name = pod["metadata"]["name"].as_str().expect("a name");
            let path = format!("/api/v1/namespaces/default/pods/{name}");
            self.cluster.api().must(Call::merge(path, &patch));
        }
    }

    /// What kubeadm makes on these nodes: a static pod of etcd each, ready.
    pub(super) fn etcd(&self, nodes: &[&str]) {
        for node in nodes {
            self.cluster.apply(&format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: etcd-{node}, namespace: kube-system, \
                 labels: {{component: etcd, tier: control-plane}}, annotations: \
                 {{kubernetes.io/config.mirror: a, kubernetes.io/config.source: file}}}}, spec: \
                 {{nodeName: {node}, priorityClassName: system-node-critical, tolerations: \
                 [{{operator: Exists}}], containers: [{{name: etcd, image: none}}]}}}}"
            ));
        }
        for node in nodes {
            self.say_etcd(node, None);
        }
    }

    /// Makes the etcd of a node ready or not; or waits until it is ready.
    pub(super) fn say_etcd(&self, node: &str, is_ready: Option<bool>) {
        let path = format!("/api/v1/namespaces/kube-system/pods/etcd-{node}");
        if let Some(is) = is_ready {
            let is = if is { "True" } else { "False" };
            let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": is }] } });
            self.cluster.api().must(Call::strategic(format!("{path}/status"), &status));
        }
        let wanted = if is_ready.unwrap_or(true) { "True" } else { "False" };
        wait::until("etcd is as it should be", WITHIN, || {
            let pod = self.cluster.get(&path);
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is = conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == wanted);
            if is { Ok(()) } else { Err(conditions) }
        });
    }

    /// Sets a label of a node, `KEY=VALUE`.
    pub(super) fn label(&self, node: &str, label: &str) {
        self.cluster.kubectl(&["label", "--overwrite", "node", node, label]);
    }

    /// Makes a node not ready, by taking its kubelet away. Its agent goes on.
    pub(super) fn fell(&self, node: &str) {
        self.cluster.kubectl(&["annotate", "node", node, "kwok.x-k8s.io/node-"]);
        let condition = json!({
            "type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "a test",
        });
        let status = json!({ "status": { "conditions": [condition] } });
        let path = format!("/api/v1/nodes/{node}/status");
        // KWOK may be about to write what it had begun.
        wait::until("the node is not ready", WITHIN, || {
            let written = self.cluster.api().must(Call::strategic(&path, &status));
            let now = self.cluster.get(&format!("/api/v1/nodes/{node}"));
            let is_last =
                now["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"];
            let conditions = now["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_down =
                conditions.iter().any(|it| it["type"] == "Ready" && it["status"] != "True");
            if is_last && is_down { Ok(()) } else { Err(conditions) }
        });
    }

    /// Gives a node its kubelet back, and waits until the node controller has seen that.
    pub(super) fn raise(&self, node: &str) {
        self.cluster.kubectl(&["annotate", "node", node, "kwok.x-k8s.io/node=fake"]);
        wait::until("the node is ready", WITHIN, || {
            let node = self.cluster.get(&format!("/api/v1/nodes/{node}"));
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_up = conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
            if is_up && node["spec"]["taints"].is_null() { Ok(()) } else { Err(node) }
        });
    }

    /// Cordons or uncordons a node as a person does.
    pub(super) fn set_unschedulable(&self, node: &str, is: bool) {
        self.cluster.kubectl(&[if is { "cordon" } else { "uncordon" }, node]);
    }
}

/// Now, as the API writes it.
pub(super) fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    palisade_report::Moment::from_unix(i64::try_from(now).expect("a time")).to_string()
}
