//! palisade's rights in a control plane, as the manifests give them, and collectors that serve it
//! from this machine.
//!
//! For tests that need the collector's own account and identity, and no kubelet that starts it.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::json;

use super::ControlPlane;
use super::api::Call;
use super::proxy::Proxy;
use crate::fleet::Server;
use crate::http::Client;
use crate::http::Trust;
use crate::process::Collector;
use crate::wait;

/// The namespace of the manifests.
pub const NAMESPACE: &str = "palisade-system";

/// The agents' ServiceAccount.
pub const AGENT: &str = "palisade-agent";

/// The collector's user name, as its ServiceAccount token would say.
pub const COLLECTOR: &str = "system:serviceaccount:palisade-system:palisade-collector";

/// How long a collector may take to lead, or to hand over.
const LEADS_WITHIN: Duration = Duration::from_secs(120);

/// Seconds that the token of a collector lives: longer than any test takes.
const TOKEN_SECS: u32 = 7200;

/// Lines of each log that are shown when nobody leads.
const LAST_LINES: usize = 10;

/// Kinds that tell what is allowed and what exists; workloads and their network are left out.
const KINDS: [&str; 12] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CustomResourceDefinition",
    "Namespace",
    "PodTemplate",
    "Role",
    "RoleBinding",
    "Secret",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

impl ControlPlane {
    /// Applies the rights, accounts and policies below `manifests/DIRECTORY`, for instance `base` or
    /// `overlays/kubeadm`.
    pub fn install(&self, directory: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let path = root.join("manifests").join(directory);
        let rendered = self.kubectl(&["kustomize", path.to_str().expect("a UTF-8 path")]);
        let is_wanted = |document: &&str| {
            let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
            kind.is_some_and(|kind| KINDS.contains(&kind))
        };
        let wanted: Vec<_> = rendered.split("\n---\n").filter(is_wanted).collect();
        assert!(wanted.len() > 10, "hardly anything to apply in {}", path.display());
        self.apply(&wanted.join("\n---\n"));
    }

    /// Starts a collector over `state` with the account and the rights of the manifests, which must
    /// be there. It may lead or stand by: see [`ControlPlane::leading`].
    #[must_use]
    pub fn collector(&self, identity: &str, state: &Path, more: &[&str]) -> Collector {
        let more = [&["--identity", identity, "--serving-name", "127.0.0.1"], more].concat();
        collector_by(&self.collector_kubeconfig(), state, &more)
    }

    /// The way of a collector to the API server, with the account of the manifests.
    #[must_use]
    pub fn collector_kubeconfig(&self) -> PathBuf {
        let groups = ["system:serviceaccounts", "system:serviceaccounts:palisade-system"];
        self.kubeconfig_for(COLLECTOR, &groups)
    }

    /// The same through a proxy, by a token of that account, which must be there.
    #[must_use]
    pub fn collector_kubeconfig_through(&self, proxy: &Proxy) -> PathBuf {
        proxy.kubeconfig(&self.token(NAMESPACE, "palisade-collector", "", TOKEN_SECS, None))
    }

    /// Waits until one of these collectors leads, and returns its address.
    ///
    /// # Panics
    /// If none does in time, with the end of their logs.
    #[must_use]
    pub fn leading(&self, collectors: &[&Collector]) -> SocketAddr {
        wait::until("a collector leads", LEADS_WITHIN, || {
            let ready = self.trust().and_then(|trust| {
                collectors.iter().find(|collector| is_ready(collector.address, &trust))
            });
            ready.map(|collector| collector.address).ok_or_else(|| {
                let end = |log: Vec<String>| log[log.len().saturating_sub(LAST_LINES)..].to_vec();
                let logs: Vec<_> = collectors.iter().map(|it| end(it.process.log())).collect();
                format!("nobody is ready: {logs:#?}")
            })
        })
    }

    /// The authorities that the collector has published; `None` before it did.
    #[must_use]
    pub fn trust(&self) -> Option<Trust> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/palisade-trust");
        let published = self.get(&path);
        let pem = published["data"]["ca.crt"].as_str().filter(|pem| !pem.is_empty())?;
        Some(Trust::new(pem, "127.0.0.1"))
    }

    /// Where agents find a collector at `address`.
    ///
    /// # Panics
    /// If the collector has published no authority yet.
    #[must_use]
    pub fn server(&self, address: SocketAddr) -> Server {
        Server { address, trust: Some(self.trust().expect("a published authority")) }
    }

    /// A token of a person who may do what `role`, a ClusterRole of the manifests, allows.
    #[must_use]
    pub fn person(&self, name: &str, role: &str) -> String {
        let account = json!({ "metadata": { "name": name } });
        self.api().must(Call::post("/api/v1/namespaces/default/serviceaccounts", &account));
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": "default" }],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        self.api().must(Call::post(path, &binding));
        self.token("default", name, "", 3600, None)
    }
}

/// Starts a collector over `state` that reaches the API server by this kubeconfig, with these further
/// flags.
#[must_use]
pub fn collector_by(kubeconfig: &Path, state: &Path, more: &[&str]) -> Collector {
    let kubeconfig = kubeconfig.to_str().expect("a UTF-8 path");
    let arguments = [&["--kubernetes", "--kubeconfig", kubeconfig], more].concat();
    Collector::start(state, &arguments)
}

/// Whether the collector at `address` says that it is ready: that it leads.
fn is_ready(address: SocketAddr, trust: &Trust) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut client = Client::new(address).with_trust(trust);
        let answer = client.try_send(Method::GET, "/readyz", &[], Bytes::new()).await;
        answer.is_ok_and(|answer| answer.status.is_success())
    })
}
