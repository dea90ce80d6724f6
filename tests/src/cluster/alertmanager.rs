//! A real Alertmanager on loopback, which notifies nobody: alerts, silences and inhibition as they are.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;
use serde_json::json;

use super::components::Component;
use super::components::binary;
use super::launch::Daemon;
use crate::directory::Directory;
use crate::http::Answer;
use crate::http::Client;
use crate::wait;

/// It starts in a second.
const READY_WITHIN: Duration = Duration::from_secs(600);

/// While `ClusterDown` fires, no critical alert with the same label `cluster` is worth a word.
const CONFIG: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\ninhibit_rules:\n\
    - source_matchers: ['alertname=\"ClusterDown\"']\n  \
    target_matchers: ['severity=\"critical\"']\n  equal: [cluster]\n";

/// Before and after anything that a test does.
const ALWAYS: [&str; 2] = ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"];

/// An Alertmanager that runs until it is dropped.
#[derive(Debug)]
pub struct Alertmanager {
    address: SocketAddr,
    _daemon: Daemon,
    _files: Directory,
}

impl Alertmanager {
    /// Starts one without any alert, on a port that the kernel chooses, and waits until it is ready.
    ///
    /// # Panics
    /// If it is not in time.
    #[must_use]
    pub fn start() -> Self {
        let files = Directory::new("alertmanager");
        files.write("config.yml", CONFIG);
        let path = |name: &str| files.path().join(name).display().to_string();
        let mut command = Command::new(binary(Component::Alertmanager, "alertmanager"));
        command
            .arg(format!("--config.file={}", path("config.yml")))
            .arg(format!("--storage.path={}", path("data")))
            .arg("--web.listen-address=127.0.0.1:0")
            // No peers.
            .arg("--cluster.listen-address=");
        let mut daemon = Daemon::start("alertmanager", &command, files.path());
        let log = files.path().join("alertmanager.log");
        let mut address = None;
        daemon.wait_until("Alertmanager listens", READY_WITHIN, || {
            address = std::fs::read_to_string(&log).ok().as_deref().and_then(listens);
            address.is_some()
        });
        let address = address.expect("an address");
        let this = Self { address, _daemon: daemon, _files: files };
        wait::until("Alertmanager is ready", READY_WITHIN, || {
            let answer = this.says(Method::GET, "/-/ready", &Value::Null);
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
        this
    }

    /// Its address as a policy has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let json = [("content-type", "application/json")];
        runtime.expect("a runtime").block_on(async {
            let mut client = Client::new(self.address);
            client.send(method, path, &json, body).await.expect("an answer")
        })
    }
}

/// Where a server of the Prometheus project says that it listens, once the line is whole.
pub(super) fn listens(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("msg=\"Listening on\" ")?;
    let (line, _) = rest.split_once('\n')?;
    let (_, address) = line.split_once("address=")?;
    address.trim().parse().ok()
}
