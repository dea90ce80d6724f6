//! What the collector writes for others to see, against the real API server: Node conditions, Events
//! and ClusterReports. Writes are counted in the API server's audit log, and time by renewals of the
//! collector's Lease, so that a slow machine only makes the tests longer.

use std::time::Duration;

use palisade_report::Report;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::installation::COLLECTOR;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use palisade_tests::worker;
use rcgen::CertificateParams;
use rcgen::KeyPair;
use serde_json::Value;
use serde_json::json;

mod follow;
mod refused;
mod reports;
mod silent;

/// Far more than anything here takes.
const WITHIN: Duration = Duration::from_secs(240);

/// Renewals of the Lease that make up a quiet time, two seconds apart on an idle machine: three looks
/// of the collector at its fleet.
const RENEWALS: usize = 8;

/// One rule for each condition, so that a report decides each of them alone.
const PROFILE: &str = "name: few\ninclude:\n- rules: \
    [reboot.needed, certificate.kubelet-expiry, kubelet.anonymous-auth]\n";

const REBOOT: &str = "palisade.dev/RebootRequired";
const CERTIFICATE: &str = "palisade.dev/CertificateExpiring";
const DRIFT: &str = "palisade.dev/HardeningDrift";

/// What is wrong with a machine.
#[derive(Clone, Copy)]
enum Wrong {
    Nothing,
    Reboot,
    Everything,
}

/// A cluster with the manifests' rights, some nodes and their agents.
struct Bench {
    cluster: ControlPlane,
    files: Directory,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn start() -> Self {
        let cluster = ControlPlane::start();
        cluster.install("base");
        let files = Directory::new("conditions");
        files.write("profile.yaml", PROFILE);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        Self { cluster, files, runtime }
    }

    fn collector(&self, state: &str, more: &[&str]) -> Collector {
        self.collector_every("60", state, more)
    }

    /// The same with another interval, in seconds.
    fn collector_every(&self, interval: &str, state: &str, more: &[&str]) -> Collector {
        let path = |name: &str| self.files.path().join(name);
        let profile = path("profile.yaml");
        let profile = profile.to_str().expect("UTF-8");
        let own = ["--interval", interval, "--lease-seconds", "6", "--profile", profile];
        let collector =
            self.cluster.collector("collector-0", &path(state), &[&own[..], more].concat());
        assert_eq!(self.cluster.leading(&[&collector]), collector.address);
        collector
    }

    /// Agents on nodes of their own, each with its report and the token of its pod.
    fn agents(&self, reports: &[Report]) -> Vec<Node> {
        let mut agents = fleet::nodes(reports, reports.len());
        for agent in &agents {
            self.cluster.node(&agent.name);
        }
        self.cluster.equip(&mut agents);
        agents
    }

    fn settle(&self, collector: &Collector, agents: Vec<Node>) -> Vec<Node> {
        let server = self.cluster.server(collector.address);
        self.runtime.block_on(fleet::settle(server, agents, 50)).0
    }

    fn condition(&self, node: &str, kind: &str) -> Value {
        let node = self.cluster.get(&format!("/api/v1/nodes/{node}"));
        let conditions = node["status"]["conditions"].as_array();
        let found = conditions.and_then(|list| list.iter().find(|it| it["type"] == kind));
        found.cloned().unwrap_or(Value::Null)
    }

    /// What a node is said to be: reboot, certificate and drift.
    fn conditions(&self, node: &str) -> [Value; 3] {
        [REBOOT, CERTIFICATE, DRIFT].map(|kind| self.condition(node, kind))
    }

    /// Waits until a node has these statuses of reboot, certificate and drift, and returns them.
    fn until(&self, what: &str, node: &str, statuses: [&str; 3]) -> [Value; 3] {
        wait::until(what, WITHIN, || {
            let is = self.conditions(node);
            let fits = is.iter().zip(statuses).all(|(is, status)| is["status"] == status);
            if fits { Ok(is) } else { Err(is) }
        })
    }

    /// Events about a node: type and reason, sorted.
    fn events(&self, node: &str) -> Vec<(String, String)> {
        let list = self.cluster.get("/apis/events.k8s.io/v1/namespaces/default/events");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut events: Vec<_> = list["items"]
            .as_array()
            .expect("events")
            .iter()
            .filter(|it| it["regarding"]["kind"] == "Node" && it["regarding"]["name"] == node)
            .map(|it| (text(&it["type"]), text(&it["reason"])))
            .collect();
        events.sort();
        events
    }

    /// What the collector asked for so far: verb, resource and name of each request.
    fn requests(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = self.cluster.audit_log();
        let ours = events.iter().filter(|it| it["user"]["username"] == COLLECTOR);
        ours.map(|event| {
            let object = &event["objectRef"];
            let resource = match object["subresource"].as_str() {
                Some(sub) => format!("{}/{sub}", text(&object["resource"])),
                None => text(&object["resource"]),
            };
            (text(&event["verb"]), resource, text(&object["name"]))
        })
        .collect()
    }

    /// How often the collector asked to write this resource.
    fn writes(&self, resource: &str) -> usize {
        let writes = ["create", "update", "patch", "delete"];
        let requests = self.requests();
        requests.iter().filter(|it| writes.contains(&it.0.as_str()) && it.1 == resource).count()
    }

    /// Writes to all that is for others to see.
    fn all_writes(&self) -> [usize; 4] {
        ["nodes", "nodes/status", "events", "clusterreports"].map(|it| self.writes(it))
    }

    /// Lets several renewals of the Lease go by.
    fn quiet(&self) {
        let goal = self.writes("leases") + RENEWALS;
        wait::until("the Lease is renewed", WITHIN, || {
            let renewals = self.writes("leases");
            if renewals >= goal { Ok(()) } else { Err(renewals) }
        });
    }
}

/// What an agent reports of such a machine.
fn report(wrong: Wrong) -> Report {
    let root = Directory::new("node");
    worker::write(&root, 0);
    match wrong {
        Wrong::Nothing => {}
        Wrong::Reboot => root.write("/run/reboot-required", ""),
        Wrong::Everything => {
            root.write("/run/reboot-required", "");
            root.write(
                "/var/lib/kubelet/config.yaml",
                "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
                 authentication:\n  anonymous:\n    enabled: true\n",
            );
            let path = "/var/lib/kubelet/pki/kubelet-client-current.pem";
            root.write(path, expired());
            worker::set_mode(root.path(), path, 0o600);
        }
    }
    worker::inspect(root.path())
}

/// A certificate whose end is past, and its key.
fn expired() -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["worker".to_owned()]).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = params.self_signed(&key).expect("a certificate");
    format!("{}{}", certificate.pem(), key.serialize_pem())
}

/// A report that could not tell anything about the kubelet.
fn blind() -> Report {
    let why = Why::new(WhyKind::OutOfTime, "the kubelet's files took too long");
    Report { kubelet: Some(Section::Unknown { why }), ..Report::default() }
}

/// Names of events, each with its type.
fn told(events: &[(&str, &str)]) -> Vec<(String, String)> {
    events.iter().map(|(kind, reason)| ((*kind).to_owned(), (*reason).to_owned())).collect()
}
