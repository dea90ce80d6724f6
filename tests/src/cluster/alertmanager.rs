//! Real Alertmanagers on loopback: one that notifies nobody, one that notifies a receiver, or two that
//! do so together.
//!
//! ```text
//! test ── /api/v2/alerts ──> Alertmanager ── webhook, version 4 ──> Receiver
//!                              │ gossip: silences, notification log
//!                            Alertmanager ── only if the other one does not
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::SystemTime;

use hyper::Method;
use hyper::body::Bytes;
use palisade_report::Moment;
use serde_json::Value;
use serde_json::json;

use super::components::Component;
use super::components::binary;
use super::launch::Daemon;
use crate::directory::Directory;
use crate::http::Answer;
use crate::http::Client;
use crate::wait;

/// It starts in a second, and two of them find one another in five.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// While `ClusterDown` fires, no critical alert with the same label `cluster` is worth a word.
const CONFIG: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\ninhibit_rules:\n\
    - source_matchers: ['alertname=\"ClusterDown\"']\n  \
    target_matchers: ['severity=\"critical\"']\n  equal: [cluster]\n";

/// Alertmanager's name for how long it collects alerts of a new group, for alerts whose names begin
/// with `Slow`: long enough that a test can change its mind before.
pub const SLOW_GROUP_WAIT: Duration = Duration::from_secs(5);

/// The rules that palisade ships for every Alertmanager.
const QUIETER: &str = include_str!("../../../manifests/prometheus/inhibit_rules.yaml");

/// Before and after anything that a test does.
const ALWAYS: [&str; 2] = ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"];

/// How long a second member leaves the first one to notify and to say so: gossip takes a tenth of a
/// second on an idle machine.
const PEER_TIMEOUT: &str = "5s";

/// Names the binary of another version, such as Debian's.
const ANOTHER: &str = "PALISADE_ALERTMANAGER";

/// An Alertmanager that runs until it is dropped.
#[derive(Debug)]
pub struct Alertmanager {
    address: SocketAddr,
    daemon: Option<Daemon>,
    company: Company,
    files: Directory,
}

/// With whom it notifies.
#[derive(Clone, Copy, Debug)]
enum Company {
    Alone,
    Together { own: SocketAddr, peer: Option<SocketAddr> },
}

impl Alertmanager {
    /// Starts one without any alert, on a port that the kernel chooses, and waits until it is ready.
    ///
    /// # Panics
    /// If it is not in time.
    #[must_use]
    pub fn start() -> Self {
        Self::configured(CONFIG, Company::Alone)
    }

    /// The same, which posts webhooks to this address after a second, and again whenever a group
    /// changes. Groups are by alertname, cluster and pool.
    ///
    /// # Panics
    /// If it is not ready in time.
    #[must_use]
    pub fn telling(url: &str) -> Self {
        Self::configured(&config(url), Company::Alone)
    }

    /// Two that do so together, as one highly available Alertmanager; returns when each knows the
    /// other.
    ///
    /// # Panics
    /// If that takes too long.
    #[must_use]
    pub fn pair_telling(url: &str) -> [Self; 2] {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut first = Self::configured(&config(url), Company::Together { own: any, peer: None });
        let own = first.gossips_at();
        let second = Company::Together { own: any, peer: Some(own) };
        let second = Self::configured(&config(url), second);
        // For its next start.
        first.company = Company::Together { own, peer: Some(second.gossips_at()) };
        let mut pair = [first, second];
        let own = pair[1].gossips_at();
        pair[1].company = Company::Together { own, peer: Some(pair[0].gossips_at()) };
        for member in &pair {
            member.until_knows(1);
        }
        pair
    }

    fn configured(config: &str, company: Company) -> Self {
        let files = Directory::new("alertmanager");
        files.write("config.yml", config);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut this = Self { address: any, daemon: None, company, files };
        this.restart();
        this
    }

    /// Starts it once more, at the same address with what it stored, if it has been stopped.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn restart(&mut self) {
        let path = |name: &str| self.files.path().join(name).display().to_string();
        let program = std::env::var_os(ANOTHER).map(PathBuf::from);
        let program = program.unwrap_or_else(|| binary(Component::Alertmanager, "alertmanager"));
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", path("config.yml")))
            .arg(format!("--storage.path={}", path("data")))
            .arg(format!("--web.listen-address={}", self.address));
        match self.company {
            Company::Alone => {
                command.arg("--cluster.listen-address=");
            }
            Company::Together { own, peer } => {
                command
                    .arg(format!("--cluster.listen-address={own}"))
                    .arg(format!("--cluster.peer-timeout={PEER_TIMEOUT}"))
                    .arg("--cluster.gossip-interval=100ms")
                    .arg("--cluster.reconnect-interval=1s");
                if let Some(peer) = peer {
                    command.arg(format!("--cluster.peer={peer}"));
                }
            }
        }
        // What an earlier start said is no news.
        let log = self.files.path().join("alertmanager.log");
        let said = std::fs::metadata(&log).map_or(0, |it| it.len());
        let mut daemon = Daemon::start("alertmanager", &command, self.files.path());
        let mut address = None;
        daemon.wait_until("Alertmanager listens", READY_WITHIN, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let news = usize::try_from(said).ok().and_then(|said| text.get(said..));
            address = news.and_then(listens);
            address.is_some()
        });
        self.address = address.expect("an address");
        self.daemon = Some(daemon);
        wait::until("Alertmanager is ready", READY_WITHIN, || {
            let answer = self.says(Method::GET, "/-/ready", &Value::Null);
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
    }

    /// `SIGKILL`. What it has written to its disk stays; what it only remembers is gone.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// `SIGTERM`: it writes what it remembers, but for the alerts, which it never writes.
    ///
    /// # Panics
    /// If it has been stopped already.
    pub fn stop(&mut self) {
        let daemon = self.daemon.take().expect("it runs");
        daemon.terminate(READY_WITHIN);
    }

    /// Its address as a policy has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its resident memory, in KiB.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn memory_kib(&self) -> u64 {
        let pid = self.daemon.as_ref().expect("it runs").pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("its memory")
    }

    /// Lets an alert with these labels fire until the test is over.
    ///
    /// # Panics
    /// If it is not taken.
    pub fn fire(&self, labels: &Value) {
        let [from, to] = ALWAYS;
        let alerts = json!([{ "labels": labels, "startsAt": from, "endsAt": to }]);
        self.must("/api/v2/alerts", &alerts);
    }

    /// Says that the alert with these labels is over.
    ///
    /// # Panics
    /// If it is not taken.
    pub fn resolve(&self, labels: &Value) {
        let [from, _] = ALWAYS;
        let now = after(Duration::ZERO);
        self.must(
            "/api/v2/alerts",
            &json!([{ "labels": labels, "startsAt": from, "endsAt": now }]),
        );
    }

    /// Posts this as alerts, and returns what it says.
    #[must_use]
    pub fn post(&self, content_type: &str, body: &str) -> Answer {
        let type_ = [("content-type", content_type)];
        self.send(Method::POST, "/api/v2/alerts", &type_, Bytes::from(body.to_owned()))
    }

    /// The alerts that it knows, also those that are silenced or inhibited.
    ///
    /// # Panics
    /// If it does not say.
    #[must_use]
    pub fn alerts(&self) -> Vec<Value> {
        let answer = self.says(Method::GET, "/api/v2/alerts", &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.parse()
    }

    /// Those of this name.
    #[must_use]
    pub fn alerts_called(&self, name: &str) -> Vec<Value> {
        let mut alerts = self.alerts();
        alerts.retain(|it| it["labels"]["alertname"] == name);
        alerts
    }

    /// A figure without labels of its metrics.
    ///
    /// # Panics
    /// If it has none of this name.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.says(Method::GET, "/metrics", &Value::Null).text();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(known, _)| *known == name);
        found.and_then(|(_, value)| value.parse().ok()).expect("a figure")
    }

    /// Waits until it knows so many others.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn until_knows(&self, others: usize) {
        wait::until("the members of the cluster", READY_WITHIN, || {
            let status = self.says(Method::GET, "/api/v2/status", &Value::Null).json();
            let members = status["cluster"]["peers"].as_array().map_or(0, Vec::len);
            let is_ready = status["cluster"]["status"] == "ready";
            if is_ready && members == others + 1 { Ok(()) } else { Err(status["cluster"].clone()) }
        });
    }

    fn gossips_at(&self) -> SocketAddr {
        let status = self.says(Method::GET, "/api/v2/status", &Value::Null).json();
        let name = &status["cluster"]["name"];
        let peers = status["cluster"]["peers"].as_array().expect("members");
        let own = peers.iter().find(|it| it["name"] == *name).expect("itself");
        own["address"].as_str().and_then(|it| it.parse().ok()).expect("an address")
    }

    /// Silences every alert of this name.
    ///
    /// # Panics
    /// If it is not taken.
    pub fn silence(&self, alert: &str) {
        let [from, to] = ALWAYS;
        let matcher = json!({ "name": "alertname", "value": alert, "isRegex": false });
        self.must(
            "/api/v2/silences",
            &json!({
                "matchers": [matcher], "startsAt": from, "endsAt": to, "createdBy": "a test",
                "comment": "it is known",
            }),
        );
    }

    fn must(&self, path: &str, body: &Value) {
        let answer = self.says(Method::POST, path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    fn says(&self, method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.send(method, path, &[("content-type", "application/json")], body)
    }

    fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut client = Client::new(self.address);
            client.send(method, path, headers, body).await.expect("an answer")
        })
    }
}

/// The moment so long from now, as Alertmanager has moments; whole seconds, rounded down.
///
/// # Panics
/// If the clock is before 1970.
#[must_use]
pub fn after(ahead: Duration) -> String {
    let since = (SystemTime::now() + ahead).duration_since(SystemTime::UNIX_EPOCH);
    let secs = since.expect("a moment after 1970").as_secs();
    Moment::from_unix(i64::try_from(secs).expect("a moment before the end of time")).to_string()
}

/// Webhooks to this address, quickly, once for each change.
fn config(url: &str) -> String {
    let slow = SLOW_GROUP_WAIT.as_secs();
    format!(
        "route:\n  receiver: hook\n  group_by: [alertname, cluster, pool]\n  group_wait: 1s\n  \
         group_interval: 1s\n  repeat_interval: 4h\n  routes:\n  \
         - matchers: ['alertname=~\"Slow.*\"']\n    group_wait: {slow}s\n\
         receivers:\n- name: hook\n  webhook_configs:\n  - url: {url}\n    send_resolved: true\n\
         inhibit_rules:\n{QUIETER}"
    )
}

/// Where a server of the Prometheus project says that it listens, once the line is whole.
pub(super) fn listens(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("msg=\"Listening on\" ")?;
    let (line, _) = rest.split_once('\n')?;
    let (_, address) = line.split_once("address=")?;
    address.trim().parse().ok()
}
