//! What the components are told: their arguments and the files that these name.

use std::path::Path;

use super::Authority;
use super::Component;
use super::Directory;
use super::Port;
use super::Release;
use crate::cluster::pki::Pair;
use crate::cluster::pki::YEAR;

/// The file with the cluster's authority.
pub(super) const AUTHORITY: &str = "pki/ca.crt";

/// The file with the audit events, one JSON object a line.
pub(super) const AUDIT_LOG: &str = "audit.log";

/// Services live here; the first address is the API server's own service.
pub(in crate::cluster) const SERVICES: &str = "10.96.0.0/16";

/// What the API server is called by clients: here, in pods, in virtual machines with QEMU's user
/// network, and as its own service.
const NAMES: [&str; 8] = [
    "127.0.0.1",
    "localhost",
    "10.0.2.2",
    "10.96.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Every request is one line, watches two; what the API server asks itself is left out. What becomes
/// of nodes and of requests for reboots is there in full.
const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver"]
- level: None
  nonResourceURLs: ["/readyz*", "/livez*", "/healthz*"]
- level: RequestResponse
  verbs: [create, update, patch, delete]
  resources:
  - {group: "", resources: [nodes]}
  - {group: palisade.dev, resources: [rebootrequests, rebootrequests/status]}
- level: Metadata
"#;

/// Which component holds the API server of a release.
pub(super) const fn component(release: Release) -> Component {
    match release {
        Release::Newest => Component::Kubernetes,
        Release::Oldest => Component::KubernetesOldest,
    }
}

/// Writes all that the arguments below name.
pub(super) fn write_pki(directory: &Directory, authority: &Authority, names: &[String]) {
    let write = |name: &str, pair: &Pair, certificate: &str| {
        directory.write(&format!("pki/{name}.{certificate}"), &pair.certificate);
        directory.write(&format!("pki/{name}.key"), &pair.key);
    };
    let served: Vec<String> =
        NAMES.into_iter().map(str::to_owned).chain(names.iter().cloned()).collect();
    let proxy_authority = Authority::new("front-proxy-ca");
    let kubelet_client =
        authority.client("kube-apiserver-kubelet-client", &["system:masters"], YEAR);
    write("ca", &authority.pair(), "crt");
    write("apiserver", &authority.server("kube-apiserver", &served), "crt");
    write("apiserver-kubelet-client", &kubelet_client, "crt");
    write("front-proxy-ca", &proxy_authority.pair(), "crt");
    write("front-proxy-client", &proxy_authority.client("front-proxy-client", &[], YEAR), "crt");
    write("sa", &Pair::signing_key(), "pub");
    directory.write("audit-policy.yaml", AUDIT_POLICY);
}

pub(super) fn etcd(directory: &Path, port: &Port, peer_port: &Port) -> Vec<String> {
    let client = format!("http://{}", port.address());
    let peer = format!("http://{}", peer_port.address());
    vec![
        "--name=test".to_owned(),
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=test={peer}"),
        "--socket-reuse-port=true".to_owned(),
        // The data lives as long as the test.
        "--unsafe-no-fsync=true".to_owned(),
        "--logger=zap".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

pub(super) fn api_server(directory: &Path, port: &Port, etcd_port: &Port) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let pki = |name: &str| file(&format!("pki/{name}"));
    vec![
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", port.number()),
        "--permit-port-sharing=true".to_owned(),
        format!("--etcd-servers=http://{}", etcd_port.address()),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--endpoint-reconciler-type=none".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--enable-bootstrap-token-auth=true".to_owned(),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet-client.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet-client.key")),
        format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--proxy-client-cert-file={}", pki("front-proxy-client.crt")),
        format!("--proxy-client-key-file={}", pki("front-proxy-client.key")),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        format!("--audit-policy-file={}", file("audit-policy.yaml")),
        format!("--audit-log-path={}", file(AUDIT_LOG)),
        // Never rotated while a test reads it.
        "--audit-log-maxsize=100000".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

pub(super) fn controllers(directory: &Path, kubeconfig: &Path) -> Vec<String> {
    let pki = |name: &str| directory.join("pki").join(name).display().to_string();
    let mut arguments = client(kubeconfig);
    arguments.extend([
        "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", pki("sa.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
    ]);
    arguments
}

pub(super) fn scheduler(kubeconfig: &Path) -> Vec<String> {
    client(kubeconfig)
}

/// What controllers and scheduler have in common. They serve nothing, so they need no port.
fn client(kubeconfig: &Path) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        // Thousands of nodes at once; the defaults (20 and 30) are for sharing a server.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ]
}
