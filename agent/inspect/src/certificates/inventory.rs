//! What each distribution keeps on a node: paths, by role.
//!
//! Facts about other projects, from their documentation and installers. A file is required only if
//! every node of that role has it; what depends on configuration is optional here, and required by
//! the component that names it (kubelet, static pods, kubeconfigs).

use palisade_report::section::certificates::Expectation;
use palisade_report::section::host::Distribution;
use palisade_report::section::host::Role;

use self::Place::ControlPlane;
use self::Place::Everywhere;
use self::Place::Worker;
use super::watch::Kind;

/// One line of an inventory.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// A path or pattern.
    pub path: &'static str,
    /// On which nodes.
    pub place: Place,
    /// Whether those nodes must have it.
    pub expected: Expectation,
    /// What it holds.
    pub kind: Kind,
    /// Whether its key lies beside it, with `.key` in place of `.crt`.
    pub key: KeyPlace,
    /// The bundle that it has to lead to.
    pub authority: Option<&'static str>,
}

/// On which nodes a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Control-plane nodes.
    ControlPlane,
    /// All of them.
    Everywhere,
    /// Workers.
    Worker,
}

/// Where the key of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// Beside it, named `.key`.
    Beside,
    /// In the same file, or nowhere.
    Inside,
}

impl Item {
    const fn of(path: &'static str, kind: Kind, place: Place) -> Self {
        let expected = Expectation::Required;
        Self { path, place, expected, kind, key: KeyPlace::Inside, authority: None }
    }

    const fn optional(mut self) -> Self {
        self.expected = Expectation::Optional;
        self
    }

    const fn signed_by(mut self, authority: &'static str) -> Self {
        self.authority = Some(authority);
        self
    }

    /// How far this line holds for a node of `role`; nothing if it does not. Where the role is not
    /// known, nothing is required.
    #[must_use]
    pub const fn expected(&self, role: Option<Role>) -> Option<Expectation> {
        match (self.place, role) {
            (Everywhere, Some(_))
            | (ControlPlane, Some(Role::ControlPlane))
            | (Worker, Some(Role::Worker)) => Some(self.expected),
            (Everywhere | ControlPlane | Worker, None) => Some(Expectation::Optional),
            (ControlPlane, Some(Role::Worker | Role::Plain))
            | (Worker, Some(Role::ControlPlane | Role::Plain)) => None,
        }
    }
}

/// A bundle of authorities.
const fn ca(path: &'static str, place: Place) -> Item {
    Item::of(path, Kind::Bundle, place)
}

/// A kubeconfig.
const fn conf(path: &'static str, place: Place) -> Item {
    Item::of(path, Kind::Kubeconfig, place)
}

/// A certificate with its key in the same file, or without one on this node.
const fn pem(path: &'static str, place: Place) -> Item {
    Item::of(path, Kind::Certificates, place)
}

/// A certificate with its key beside it.
const fn pair(path: &'static str, place: Place) -> Item {
    let mut item = Item::of(path, Kind::Certificates, place);
    item.key = KeyPlace::Beside;
    item
}

const KUBEADM_CA: &str = "/etc/kubernetes/pki/ca.crt";
const KUBEADM_FRONT: &str = "/etc/kubernetes/pki/front-proxy-ca.crt";
const KUBEADM_ETCD: &str = "/etc/kubernetes/pki/etcd/ca.crt";

/// Stacked etcd and its client are optional: an external etcd has none of them here.
const KUBEADM: &[Item] = &[
    ca(KUBEADM_CA, Everywhere),
    ca(KUBEADM_FRONT, ControlPlane),
    ca(KUBEADM_ETCD, ControlPlane).optional(),
    pair("/etc/kubernetes/pki/apiserver.crt", ControlPlane).signed_by(KUBEADM_CA),
    pair("/etc/kubernetes/pki/apiserver-kubelet-client.crt", ControlPlane).signed_by(KUBEADM_CA),
    pair("/etc/kubernetes/pki/front-proxy-client.crt", ControlPlane).signed_by(KUBEADM_FRONT),
    pair("/etc/kubernetes/pki/apiserver-etcd-client.crt", ControlPlane)
        .signed_by(KUBEADM_ETCD)
        .optional(),
    pair("/etc/kubernetes/pki/etcd/server.crt", ControlPlane).signed_by(KUBEADM_ETCD).optional(),
    pair("/etc/kubernetes/pki/etcd/peer.crt", ControlPlane).signed_by(KUBEADM_ETCD).optional(),
    pair("/etc/kubernetes/pki/etcd/healthcheck-client.crt", ControlPlane)
        .signed_by(KUBEADM_ETCD)
        .optional(),
    conf("/etc/kubernetes/controller-manager.conf", ControlPlane).signed_by(KUBEADM_CA),
    conf("/etc/kubernetes/scheduler.conf", ControlPlane).signed_by(KUBEADM_CA),
    // Careful people move these two off the node.
    conf("/etc/kubernetes/admin.conf", ControlPlane).signed_by(KUBEADM_CA).optional(),
    conf("/etc/kubernetes/super-admin.conf", ControlPlane).signed_by(KUBEADM_CA).optional(),
    conf("/etc/kubernetes/kubelet.conf", Everywhere).signed_by(KUBEADM_CA),
];

/// k3s and RKE2 share one tree below different directories.
macro_rules! rancher {
    ($base:literal, $conf:literal) => {
        &[
            ca(concat!($base, "/server/tls/server-ca.crt"), ControlPlane),
            ca(concat!($base, "/server/tls/client-ca.crt"), ControlPlane),
            ca(concat!($base, "/server/tls/request-header-ca.crt"), ControlPlane),
            pair(concat!($base, "/server/tls/serving-kube-apiserver.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/server-ca.crt")),
            pair(concat!($base, "/server/tls/client-kube-apiserver.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/client-ca.crt")),
            pair(concat!($base, "/server/tls/client-admin.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/client-ca.crt")),
            pair(concat!($base, "/server/tls/client-controller.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/client-ca.crt")),
            pair(concat!($base, "/server/tls/client-scheduler.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/client-ca.crt")),
            pair(concat!($base, "/server/tls/client-kube-proxy.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/client-ca.crt")),
            pair(concat!($base, "/server/tls/client-auth-proxy.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/request-header-ca.crt")),
            // Embedded etcd only; the default store is SQLite.
            ca(concat!($base, "/server/tls/etcd/server-ca.crt"), ControlPlane).optional(),
            ca(concat!($base, "/server/tls/etcd/peer-ca.crt"), ControlPlane).optional(),
            pair(concat!($base, "/server/tls/etcd/server-client.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/etcd/server-ca.crt"))
                .optional(),
            pair(concat!($base, "/server/tls/etcd/client.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/etcd/server-ca.crt"))
                .optional(),
            pair(concat!($base, "/server/tls/etcd/peer-server-client.crt"), ControlPlane)
                .signed_by(concat!($base, "/server/tls/etcd/peer-ca.crt"))
                .optional(),
            // Newer releases only.
            pem(concat!($base, "/server/tls/kube-scheduler/*.crt"), ControlPlane).optional(),
            pem(concat!($base, "/server/tls/kube-controller-manager/*.crt"), ControlPlane)
                .optional(),
            // A server may run without an agent.
            ca(concat!($base, "/agent/client-ca.crt"), Worker),
            ca(concat!($base, "/agent/server-ca.crt"), Worker),
            pair(concat!($base, "/agent/client-kubelet.crt"), Worker)
                .signed_by(concat!($base, "/agent/client-ca.crt")),
            pair(concat!($base, "/agent/serving-kubelet.crt"), Worker)
                .signed_by(concat!($base, "/agent/server-ca.crt")),
            pair(concat!($base, "/agent/client-kube-proxy.crt"), Worker)
                .signed_by(concat!($base, "/agent/client-ca.crt")),
            ca(concat!($base, "/agent/client-ca.crt"), ControlPlane).optional(),
            ca(concat!($base, "/agent/server-ca.crt"), ControlPlane).optional(),
            pair(concat!($base, "/agent/client-kubelet.crt"), ControlPlane)
                .signed_by(concat!($base, "/agent/client-ca.crt"))
                .optional(),
            pair(concat!($base, "/agent/serving-kubelet.crt"), ControlPlane)
                .signed_by(concat!($base, "/agent/server-ca.crt"))
                .optional(),
            pair(concat!($base, "/agent/client-kube-proxy.crt"), ControlPlane)
                .signed_by(concat!($base, "/agent/client-ca.crt"))
                .optional(),
            conf($conf, ControlPlane).optional(),
        ]
    };
}

const K3S: &[Item] = rancher!("/var/lib/rancher/k3s", "/etc/rancher/k3s/k3s.yaml");
const RKE2: &[Item] = rancher!("/var/lib/rancher/rke2", "/etc/rancher/rke2/rke2.yaml");

const K0S: &[Item] = &[
    ca("/var/lib/k0s/pki/ca.crt", Everywhere),
    pem("/var/lib/k0s/pki/*.crt", ControlPlane).optional(),
    pem("/var/lib/k0s/pki/etcd/*.crt", ControlPlane).optional(),
    conf("/var/lib/k0s/pki/admin.conf", ControlPlane).optional(),
    pem("/var/lib/k0s/kubelet/pki/kubelet-client-current.pem", Everywhere).optional(),
];

const TALOS: &[Item] = &[
    pem("/system/secrets/kubernetes/kube-apiserver/*.crt", ControlPlane).optional(),
    ca("/system/secrets/etcd/ca.crt", ControlPlane),
    pair("/system/secrets/etcd/server.crt", ControlPlane).signed_by("/system/secrets/etcd/ca.crt"),
    pair("/system/secrets/etcd/peer.crt", ControlPlane).signed_by("/system/secrets/etcd/ca.crt"),
    pair("/system/secrets/etcd/admin.crt", ControlPlane)
        .signed_by("/system/secrets/etcd/ca.crt")
        .optional(),
    ca("/etc/kubernetes/pki/ca.crt", Everywhere),
    pem("/var/lib/kubelet/pki/kubelet-client-current.pem", Everywhere),
];

const MICROK8S_CA: &str = "/var/snap/microk8s/current/certs/ca.crt";

const MICROK8S: &[Item] = &[
    ca(MICROK8S_CA, Everywhere),
    pair("/var/snap/microk8s/current/certs/server.crt", ControlPlane).signed_by(MICROK8S_CA),
    ca("/var/snap/microk8s/current/certs/front-proxy-ca.crt", ControlPlane),
    pair("/var/snap/microk8s/current/certs/front-proxy-client.crt", ControlPlane)
        .signed_by("/var/snap/microk8s/current/certs/front-proxy-ca.crt"),
    pair("/var/snap/microk8s/current/certs/kubelet.crt", Everywhere).optional(),
];

const OPENSHIFT: &[Item] = &[
    ca("/etc/kubernetes/kubelet-ca.crt", Everywhere),
    conf("/etc/kubernetes/kubeconfig", Everywhere),
    pem("/var/lib/kubelet/pki/kubelet-client-current.pem", Everywhere),
    pem("/var/lib/kubelet/pki/kubelet-server-current.pem", Everywhere),
    pem("/etc/kubernetes/static-pod-resources/*/secrets/*/*.crt", ControlPlane).optional(),
    pem("/etc/kubernetes/static-pod-resources/*/configmaps/*/*.crt", ControlPlane).optional(),
];

const AKS: &[Item] = &[
    ca("/etc/kubernetes/certs/ca.crt", Everywhere),
    pair("/etc/kubernetes/certs/kubeletserver.crt", Everywhere).optional(),
    conf("/var/lib/kubelet/kubeconfig", Everywhere),
    conf("/var/lib/kubelet/bootstrap-kubeconfig", Everywhere).optional(),
];

/// kOps, and kubelets that nothing explains.
const OTHER: &[Item] = &[
    pem("/srv/kubernetes/*.crt", Everywhere).optional(),
    pem("/srv/kubernetes/*/*.crt", Everywhere).optional(),
    pem("/etc/kubernetes/pki/*/*.crt", Everywhere).optional(),
    conf("/var/lib/kubelet/kubeconfig", Everywhere).optional(),
    conf("/var/lib/kube-proxy/kubeconfig", Everywhere).optional(),
    conf("/var/lib/kube-controller-manager/kubeconfig", ControlPlane).optional(),
    conf("/var/lib/kube-scheduler/kubeconfig", ControlPlane).optional(),
];

/// The inventory of a distribution and its name.
///
/// Nothing for EKS, GKE and Bottlerocket: what they keep on a node is what their kubelet names, and
/// paths of other distributions must not be expected there.
#[must_use]
pub const fn of(distribution: Distribution) -> (&'static str, &'static [Item]) {
    match distribution {
        Distribution::Aks => ("AKS inventory", AKS),
        Distribution::Bottlerocket => ("Bottlerocket inventory", &[]),
        Distribution::Eks => ("EKS inventory", &[]),
        Distribution::Gke => ("GKE inventory", &[]),
        Distribution::K0s => ("k0s inventory", K0S),
        Distribution::K3s => ("k3s inventory", K3S),
        Distribution::Kubeadm => ("kubeadm inventory", KUBEADM),
        Distribution::Microk8s => ("MicroK8s inventory", MICROK8S),
        Distribution::Openshift => ("OpenShift inventory", OPENSHIFT),
        Distribution::Other => ("inventory of unknown installers", OTHER),
        Distribution::Rke2 => ("RKE2 inventory", RKE2),
        Distribution::Talos => ("Talos inventory", TALOS),
    }
}
