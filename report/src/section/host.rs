//! Host: what this machine is, as far as its pool has it in common.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::reading::Reading;

/// Facts about the machine that a node pool has in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The operating system. Source: `/etc/os-release`, else `/usr/lib/os-release`, os-release(5).
    pub os: Reading<OperatingSystem>,
    /// The machine's architecture as the kernel names it: `x86_64`, `aarch64`.
    pub architecture: Reading<String>,
    /// How Kubernetes was installed here; absent when nothing of Kubernetes was found.
    pub distribution: Reading<Distribution>,
    /// Whether control-plane components run from here.
    pub role: Reading<Role>,
    /// Logical CPUs online. Source: `/sys/devices/system/cpu/online`.
    pub cpus: Reading<u32>,
    /// Usable memory in MiB, rounded down. Source: `MemTotal` of `/proc/meminfo`.
    pub memory_mib: Reading<u64>,
    /// The init program: the name of PID 1. Source: `/proc/1/comm`.
    pub init: Reading<String>,
    /// Active swap areas; an empty list is swap off. Source: `/proc/swaps`.
    pub swap: Reading<Vec<String>>,
    /// The control group hierarchy. Source: the type of the mount at `/sys/fs/cgroup`.
    pub cgroup: Reading<CgroupVersion>,
    /// Mounts of PID 1 at the places that rules ask about; the last mount on a path counts.
    /// Source: `/proc/1/mountinfo`.
    pub mounts: Reading<BTreeMap<String, Mount>>,
}

/// The operating system's own description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatingSystem {
    /// `ID`: `debian`, `ubuntu`, `rhel`.
    pub id: String,
    /// `ID_LIKE`, split at white space; empty when not given.
    pub id_like: Vec<String>,
    /// `VERSION_ID`: `12`, `24.04`; empty for rolling releases.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
    /// `VARIANT_ID`, when given: `coreos`, `aws-k8s-1.31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// How Kubernetes was installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Azure Kubernetes Service.
    Aks,
    /// Bottlerocket.
    Bottlerocket,
    /// Amazon Elastic Kubernetes Service.
    Eks,
    /// Google Kubernetes Engine.
    Gke,
    /// k0s.
    K0s,
    /// k3s.
    K3s,
    /// kubeadm, or a layout like its own.
    Kubeadm,
    /// MicroK8s.
    Microk8s,
    /// OpenShift or OKD.
    Openshift,
    /// RKE2.
    Rke2,
    /// Talos.
    Talos,
    /// A kubelet that none of the others explains, or one named by a newer agent.
    #[serde(other)]
    Other,
}

/// What a node does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs an API server, a controller manager, a scheduler or etcd.
    ControlPlane,
    /// Runs a kubelet only.
    Worker,
    /// Runs no kubelet: a plain host.
    Plain,
}

/// Control group hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupVersion {
    /// Version 1 only, or version 2 beside it (hybrid): pods live in version 1.
    V1,
    /// The unified hierarchy.
    V2,
}

/// A mount point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// File system type: `ext4`, `tmpfs`.
    pub kind: String,
    /// Per-mount and per-superblock options together, without sizes and ids: `rw`, `nodev`.
    pub options: BTreeSet<String>,
}
