//! Nodes by the thousand without machines: KWOK keeps their objects Ready, renews their leases and
//! runs their pods in name only.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::ControlPlane;
use super::api::Call;
use super::components::Component;
use super::components::binary;
use super::launch::Daemon;
use crate::wait;

/// What nodes and pods go through; ours, so that the module cache is not needed when tests run.
const STAGES: &str = include_str!("kwok/stages.yaml");

/// KWOK manages nodes with this annotation and no other, so that real nodes can stand beside.
const ANNOTATION: &str = "kwok.x-k8s.io/node";

/// Whose nodes were made together.
const POOL: &str = "palisade-tests/pool";

/// KWOK renews a lease four times in its life. The node controller waits 50 s for a renewal.
const LEASE_SECONDS: u32 = 120;

/// Five thousand nodes take half a minute.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// KWOK on a control plane.
#[derive(Debug)]
pub struct Kwok<'a> {
    cluster: &'a ControlPlane,
}

impl ControlPlane {
    /// Starts KWOK, if it does not run yet.
    pub fn kwok(&self) -> Kwok<'_> {
        self.kwok_with_lease(LEASE_SECONDS)
    }

    /// The same with another life of node leases. Thousands of nodes cost less with 3600, but the
    /// node controller, where it runs, takes such nodes for dead.
    pub fn kwok_with_lease(&self, seconds: u32) -> Kwok<'_> {
        self.start_other("kwok", |this| {
            let stages = this.directory().join("stages.yaml");
            std::fs::write(&stages, STAGES).expect("write the stages of KWOK");
            let kubeconfig = this.kubeconfig_for("kwok", &["system:masters"]);
            let mut command = Command::new(binary(Component::Runtime, "kwok"));
            command
                .arg(format!("--kubeconfig={}", kubeconfig.display()))
                .arg(format!("--config={}", stages.display()))
                .arg(format!("--manage-nodes-with-annotation-selector={ANNOTATION}=fake"))
                .arg("--manage-all-nodes=false")
                .arg(format!("--node-lease-duration-seconds={seconds}"))
                .arg("--node-ip=127.0.0.1")
                // It reads settings of its own from there otherwise.
                .env("HOME", this.directory());
            Daemon::start("kwok", &command, this.directory())
        });
        Kwok { cluster: self }
    }
}

impl Kwok<'_> {
    /// Makes the nodes `POOL-0` to `POOL-(count-1)` and waits until all are Ready; their names.
    ///
    /// They carry a taint against ordinary pods. What tolerates everything is scheduled to them.
    ///
    /// # Panics
    /// If one cannot be made, or is not Ready in time.
    #[must_use]
    pub fn nodes(&self, pool: &str, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|number| format!("{pool}-{number}")).collect();
        let calls: Vec<Call> =
            names.iter().map(|name| Call::post("/api/v1/nodes", &node(pool, name))).collect();
        for (answer, name) in self.cluster.api().send_all(&calls).iter().zip(&names) {
            assert_eq!(answer.status, 201, "make node {name}: {}", answer.text());
        }
        self.wait_until_ready(pool, count);
        names
    }

    /// Makes one more node of a pool, without the taint, and returns its UID.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn node(&self, pool: &str, name: &str) -> String {
        let mut object = node(pool, name);
        object["spec"] = json!({});
        let made = self.cluster.api().must(Call::post("/api/v1/nodes", &object));
        made["metadata"]["uid"].as_str().expect("a UID").to_owned()
    }

    /// Waits until so many nodes of a pool are Ready.
    ///
    /// # Panics
    /// If they are not in time.
    pub fn wait_until_ready(&self, pool: &str, count: usize) {
        wait::until("all fake nodes are Ready", READY_WITHIN, || {
            let ready = self.ready(pool);
            if ready == count { Ok(()) } else { Err(format!("{ready} of {count}")) }
        });
    }

    /// Deletes nodes. Their pods stay until the pod garbage collector takes them.
    ///
    /// # Panics
    /// If one cannot be deleted.
    pub fn delete(&self, names: &[String]) {
        let calls: Vec<Call> =
            names.iter().map(|name| Call::delete(format!("/api/v1/nodes/{name}"))).collect();
        for (answer, name) in self.cluster.api().send_all(&calls).iter().zip(names) {
            assert_eq!(answer.status, 200, "delete node {name}: {}", answer.text());
        }
    }

    /// How many nodes of a pool are Ready, from what the server would print as a table.
    fn ready(&self, pool: &str) -> usize {
        const STATUS: usize = 1;
        let path = format!(
            "/api/v1/nodes?labelSelector={POOL}%3D{pool}&resourceVersion=0&includeObject=None"
        );
        let table = self.cluster.api().must(Call::table(path));
        let rows = table["rows"].as_array().expect("a table has rows");
        let ready = |row: &&Value| {
            let status = row["cells"][STATUS].as_str().expect("the status of a node");
            status.split(',').any(|word| word == "Ready")
        };
        rows.iter().filter(ready).count()
    }
}

fn node(pool: &str, name: &str) -> Value {
    json!({
        "metadata": {
            "name": name,
            "annotations": { ANNOTATION: "fake" },
            "labels": {
                POOL: pool,
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
            },
        },
        "spec": { "taints": [{ "key": ANNOTATION, "value": "fake", "effect": "NoSchedule" }] },
    })
}
